"""The OpenAPI document: what FastAPI derives from the routes, and the bodies that the services read."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> None:
    """Complete the document with the bodies of the routes that use `body_of`."""
    derived = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            _add_bodies(app, derived())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _add_bodies(app: FastAPI, document: dict[str, Any]) -> None:
    bodies = list(_bodies(app))
    _, schemas = models_json_schema([(take.body_model, "validation") for *_, take in bodies], ref_template=REF)
    document["components"]["schemas"] |= schemas["$defs"]
    for path, method, take in bodies:
        content = {"application/json": {"schema": {"$ref": REF.format(model=take.body_model.__name__)}}}
        document["paths"][path][method]["requestBody"] = {"required": not take.optional, "content": content}


def _bodies(app: FastAPI) -> Iterator[tuple[str, str, Any]]:
    """Find path, method and the dependency that takes the body."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        for take in _takers(dependant) if dependant else ():
            for method in route.methods or ():
                yield str(route.path_format), method.lower(), take


def _takers(dependant: Dependant) -> Iterator[Any]:
    for dependency in dependant.dependencies:
        if hasattr(dependency.call, "body_model"):
            yield dependency.call
