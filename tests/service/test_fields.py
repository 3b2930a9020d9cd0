"""Fields that people write: what is wrong is named once, by its path in what was given, and never without bounds."""

import json
from typing import Any
from uuid import UUID

import pendulum
import pytest

from dialer.domain.validation import MAX_ERRORS, MAX_NAMED_ERRORS
from dialer.errors import MAX_FIELD, FieldError, InvalidInput
from dialer.service.agents import NewAgent
from dialer.service.contact_json import NewContacts
from dialer.service.fields import InputModel
from dialer.service.new_batch import NewBatch

NOW = pendulum.datetime(2026, 3, 2, 8)


def errors_of(model: type[InputModel], body: object) -> list[FieldError]:
    with pytest.raises(InvalidInput) as refused:
        model.read_json(json.dumps(body).encode(), NOW)
    return list(refused.value.errors)


@pytest.mark.parametrize(
    ("connection", "fields"),
    [
        ({"freeswitch": {"extension": "${system}"}}, ["connection.freeswitch.extension"]),
        ({"freeswitch": {"application": "a b", "data": "x"}}, ["connection.freeswitch.application"]),
        ({"freeswitch": {"application": "park", "data": "'"}}, ["connection.freeswitch.data"]),
        ({"asterisk": {"app": ""}}, ["connection.asterisk.app"]),
        ({"asterisk": {"context": "agents"}}, ["connection.asterisk.exten"]),
        ({"asterisk": {"extension": "1", "priority": 0}}, ["connection.asterisk.priority"]),
        ({"simulator": {}, "nobody": {}}, ["connection.nobody"]),
    ],
)
def test_a_mistake_in_one_of_several_forms_is_named_once_by_its_path(
    connection: dict[str, Any], fields: list[str]
) -> None:
    assert [error.field for error in errors_of(NewAgent, {"name": "x", "connection": connection})] == fields


def test_a_variable_that_is_no_scalar_is_named_once() -> None:
    wrong: list[object] = [[], {}, 2**63, 1e400]
    contacts = [{"phone_number": "+12025550101", "variables": {"plan": value}} for value in wrong]
    reason = "must be text, a number of at most 64 bits, true, false or null"
    expected = [FieldError(f"contacts.{row}.variables.plan", reason) for row in range(len(wrong))]
    assert errors_of(NewContacts, {"contacts": contacts}) == expected


def test_the_first_hundred_mistakes_are_named_and_the_others_counted() -> None:
    errors = errors_of(NewContacts, {"contacts": [{"phone_number": 1}] * 250})
    assert len(errors) == MAX_NAMED_ERRORS + 1
    assert errors[0].field == "contacts.0.phone_number"
    assert errors[-1] == FieldError("body", "has 150 more wrong fields")


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (NewBatch, {"name": "x", "working_days": [9] * (MAX_ERRORS + 1)}),
        (NewBatch, {"name": "x"} | dict.fromkeys(map(str, range(MAX_ERRORS + 1)), 1)),
        (NewContacts, {"contacts": [{"phone_number": "1", "variables": {key: [] for key in "abcdefghij"}}] * 1_001}),
    ],
    ids=["list", "unknown", "nested"],
)
def test_a_body_with_mistakes_without_end_gets_a_short_answer(model: type[InputModel], body: object) -> None:
    (error,) = errors_of(model, body)
    assert error.field == "body"
    assert error.reason.endswith("wrong values, which are too many to name")


def test_a_field_with_a_long_name_gets_a_short_answer() -> None:
    errors = errors_of(NewBatch, {"name": "x", "agent_id": str(UUID(int=1)), "k" * 100_000: 1})
    assert [(error.field[:1], len(error.field)) for error in errors] == [("k", MAX_FIELD + 1)]
