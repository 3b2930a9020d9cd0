"""The OpenAPI document: what FastAPI derives from the routes, completed with what only the services know.

Request bodies are the services' models. Links lead from a created resource to the operations on it. The headers that
every response has are added here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema

from dialer.api import descriptions
from dialer.api.errors import MEANINGS
from dialer.service.contact_json import NewContacts
from dialer.service.suppressions import NewSuppression

DESCRIPTION = """
Calls lists of people: load contacts, set the hours and the limits, start, pause, watch.

Every request needs a key (`Authorization: Bearer …`) of a workspace and a role: *viewer* reads, *operator* reads and
writes, *admin* also manages trunks and keys. A resource of another workspace is 404, as if it did not exist. Unknown
fields are refused. Times are ISO 8601, and in UTC in responses. Every POST and
PATCH accepts `X-Idempotency-Key`, except those that create keys or change nothing.
"""
INFO = {
    "contact": {"name": "Dialer contributors"},
    "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
}
METRICS_TOKEN = "MetricsToken"  # noqa: S105  # the name of a security scheme
TAGS = {
    "Batch calls": "A list with its settings, and everything an operator does with it.",
    "Contacts": "The contacts of a batch.",
    "Calls": "The calls of all batches.",
    "Agents": "Where answered calls go.",
    "Phone numbers": "The outbound numbers.",
    "Trunks": "The connections to telephone networks. Only for admins.",
    "Contact folders": "Contacts that are kept for several batches.",
    "Suppressions": "Numbers that are not called.",
    "People": "What is held on one telephone number: export, erasure.",
    "Webhook endpoints": "Where this workspace wants to hear what happens. Only for admins.",
    "Keys": "The keys of this API. Only for admins.",
    "Quarantine": "What fails because of its own data. Only for admins.",
    "Workspace": "What holds for all batches of the workspace. Changed by admins only.",
    "Providers": "Webhooks of telephone networks, authenticated by their signatures; no key is needed.",
    "Probes": "Health checks, which need no key, and metrics.",
}
REF = "#/components/schemas/{model}"
SUFFIXES = {"Answer": "Response", "Listing": "List", "KeysetListing": "Page"}
NOUNS = {"Batch": "BatchCall", "Folder": "ContactFolder", "Settings": "BatchCallSettings"}
_TEXT = {"type": "string"}
_SECONDS = {"type": "integer", "minimum": 1}
CSV_EXAMPLE = "phone,name,plan\n+4930901820,Ada,gold\n"


def describe(app: FastAPI) -> None:
    """Make the application complete its document when it is first requested."""
    app.description = DESCRIPTION
    app.openapi_tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    derived = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = derived()
            document["info"] |= INFO
            document["servers"] = [{"url": "/"}]
            document["components"]["securitySchemes"][METRICS_TOKEN] = {
                "type": "http",
                "scheme": "bearer",
                "description": "The token in DIALER_METRICS_TOKEN.",
            }
            _add_bodies(app, document)
            operations = list(_operations(document))
            for path, _, operation in operations:
                operation.setdefault("security", [])
                _add_upload(operation)
                if "requestBody" in operation:
                    responses = operation["responses"]
                    responses["415"] = responses["413"] | {"description": MEANINGS[415]}
                _add_headers(operation)
                if operation["operationId"].startswith("create_"):
                    _add_links(operation, path, operations)
            _rename_components(document)
            _add_descriptions(document)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _add_bodies(app: FastAPI, document: dict[str, Any]) -> None:
    bodies = list(_bodies(app))
    models = [(model, "validation") for model in (*(model for *_, model, _ in bodies), NewContacts, NewSuppression)]
    _, schemas = models_json_schema(models, ref_template=REF)  # type: ignore[arg-type]
    document["components"]["schemas"] |= schemas["$defs"]
    for path, method, model, optional in bodies:
        content = {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}
        document["paths"][path][method]["requestBody"] = {"required": not optional, "content": content}


def _bodies(app: FastAPI) -> Iterator[tuple[str, str, Any, bool]]:
    """Yield path, method and model of each body that is read by a dependency made by `body_of`."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        for read in _body_readers(dependant) if dependant else ():
            for method in route.methods or ():
                yield str(route.path_format), method.lower(), read.body_model, read.optional


def _body_readers(dependant: Dependant) -> Iterator[Any]:
    for dependency in dependant.dependencies:
        if hasattr(dependency.call, "body_model"):
            yield dependency.call


def _rename_components(document: dict[str, Any]) -> None:
    """Name the components as other APIs do, in place of the names of the classes."""
    components = document["components"]
    names = {name: _component_name(schema.get("title", name)) for name, schema in components["schemas"].items()}
    components["schemas"] = {names[name]: schema for name, schema in components["schemas"].items()}
    for name, schema in components["schemas"].items():
        schema["title"] = name
    for node in _nodes(document):
        if "$ref" in node:
            node["$ref"] = REF.format(model=names[node["$ref"].rpartition("/")[2]])


def _component_name(title: str) -> str:
    """Name a component: NewAgent is AgentCreate, ChangedAgent is AgentUpdate, Answer[Agent] is AgentResponse."""
    generic, bracket, model = title.rstrip("]").partition("[")
    if bracket:
        return model + SUFFIXES[generic]
    for prefix, suffix in (("New", "Create"), ("Changed", "Update")):
        if title.startswith(prefix):
            noun = title.removeprefix(prefix)
            return NOUNS.get(noun, noun) + suffix
    return title


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object below `node`."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(child)


def _add_descriptions(document: dict[str, Any]) -> None:
    for _, _, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["description"] = descriptions.PARAMETERS[parameter["name"]]
    for model, schema in document["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            description = descriptions.OF_MODEL.get((model, name)) or descriptions.FIELDS.get(name)
            if description:
                field["description"] = description


def _add_upload(operation: dict[str, Any]) -> None:
    """Describe the bodies of an upload; `x-upload` names the JSON model that is accepted besides files."""
    model = operation.pop("x-upload", None)
    if model is None:
        return
    form = {"type": "object", "properties": {"file": _TEXT | {"format": "binary"}}, "required": ["file"]}
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REF.format(model=model)}}} if model else {}
    content["text/csv"] = {"schema": _TEXT, "example": CSV_EXAMPLE}
    content["multipart/form-data"] = {
        "schema": form | {"additionalProperties": False},
        "encoding": {"file": {"contentType": "text/csv"}},
    }
    operation["requestBody"] = {"required": True, "content": content}


def _add_headers(operation: dict[str, Any]) -> None:
    names = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    for status, response in operation["responses"].items():
        headers = {"X-Request-Id": {"description": "The id of this request, also in the logs.", "schema": _TEXT}}
        if status == "401":
            headers["WWW-Authenticate"] = {"description": "How to authenticate.", "schema": _TEXT}
        if status in ("429", "503"):
            headers["Retry-After"] = {"description": "Seconds.", "schema": _SECONDS}
        if status in ("200", "201") and "x-idempotency-key" in names:
            headers["Idempotent-Replayed"] = {
                "description": "`true`: this is the stored response of an earlier request.",
                "schema": _TEXT,
            }
        response["headers"] = headers


def _add_links(operation: dict[str, Any], path: str, operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Link a created resource to the operations that need only its id."""
    links = {}
    for other_path, _, other in operations:
        head, brace, tail = other_path.removeprefix(path).partition("{")
        parameter, _, more = tail.partition("}")
        if other_path.startswith(f"{path}/") and head == "/" and brace and "{" not in more:
            target = {"operationId": other["operationId"], "parameters": {parameter: "$response.body#/data/id"}}
            links[other["operationId"]] = target
    operation["responses"]["201"]["links"] = links
