"""The OpenAPI document is valid, and has what the linters Redocly and Spectral ask for."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from openapi_spec_validator import validate

from api.conftest import routes
from dialer.api import descriptions


@cache
def document() -> dict[str, Any]:
    return routes().openapi()


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object below `node`."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from schemas(child)


def test_the_document_is_valid() -> None:
    validate(document())


def test_the_document_says_where_the_api_is_who_makes_it_and_under_which_license() -> None:
    assert document()["servers"] == [{"url": "/"}]
    assert document()["info"]["contact"]["name"]
    assert document()["info"]["license"]["identifier"] == "Apache-2.0"


def test_every_operation_has_its_key_its_tag_and_a_response_for_wrong_requests() -> None:
    tags, schemes = {tag["name"] for tag in document()["tags"]}, set(document()["components"]["securitySchemes"])
    without_key = set()
    for name, operation in operations():
        assert set(operation["tags"]) <= tags, name
        assert any(status.startswith("4") for status in operation["responses"]), name
        assert {scheme for requirement in operation["security"] for scheme in requirement} <= schemes, name
        if not operation["security"]:
            without_key.add(name.partition(" ")[2])
    assert without_key == {
        "/v1/providers/{provider}/{trunk_id}/events",
        "/v1/providers/{provider}/{trunk_id}/events/{attempt_id}",
        "/healthz",
        "/readyz",
    }


def test_no_two_forms_of_a_schema_fit_the_same_object() -> None:
    """Forms of objects are told apart by a field that each of them requires, with another value."""
    for schema in schemas(document()["components"]["schemas"]):
        forms = [form for form in schema.get("oneOf", ()) if "properties" in form]
        shared = set.intersection(*(set(form.get("required", ())) for form in forms)) if forms else set()
        assert len(forms) < 2 or shared, schema


@pytest.mark.parametrize("word", ["New", "Changed", "Refusal", "_"])
def test_components_have_the_names_of_other_apis(word: str) -> None:
    assert not [name for name in document()["components"]["schemas"] if word in name]
    assert {"BatchCallCreate", "BatchCallUpdate", "AgentCreate", "AgentUpdate", "AgentResponse", "Error"} <= set(
        document()["components"]["schemas"]
    )


def test_operations_that_change_a_resource_are_named_update() -> None:
    for name, operation in operations():
        assert not operation["operationId"].startswith("change_")
        assert operation["operationId"].startswith("update_") == name.startswith("PATCH ")


def properties() -> set[tuple[str, str]]:
    """Model and name of each field."""
    components = document()["components"]["schemas"]
    return {(model, name) for model, schema in components.items() for name in schema.get("properties", {})}


def test_every_field_and_every_parameter_is_described() -> None:
    components = document()["components"]["schemas"]
    assert [of for of in properties() if not components[of[0]]["properties"][of[1]].get("description")] == []
    parameters = [parameter for _, operation in operations() for parameter in operation.get("parameters", ())]
    assert [parameter for parameter in parameters if not parameter.get("description")] == []


def test_every_description_is_one_of_a_field_or_a_parameter() -> None:
    assert set(descriptions.OF_MODEL) <= properties()
    assert set(descriptions.FIELDS) == {
        name for model, name in properties() if (model, name) not in descriptions.OF_MODEL
    }
    in_path = {
        parameter["name"]
        for _, operation in operations()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "path"
    }
    assert set(descriptions.PARAMETERS) == in_path


def test_every_duration_names_its_unit_and_every_moment_its_zone() -> None:
    components = document()["components"]["schemas"]
    for model, name in properties():
        description = components[model]["properties"][name]["description"]
        unit = name.rpartition("_")[2]
        assert unit not in ("seconds", "minutes") or unit in description, (model, name)
        assert not name.endswith("_at") or "UTC" in description or "time zone" in description, (model, name)
