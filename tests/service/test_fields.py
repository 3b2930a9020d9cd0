"""Fields that people write: what is wrong is named once, by its path in what was given, and never without bounds."""

import json
from typing import Any
from uuid import UUID

import pendulum
import pytest

from dialer.domain.validation import MAX_ERRORS, MAX_NAMED_ERRORS
from dialer.errors import MAX_FIELD, FieldError, InvalidInput
from dialer.service.agents import NewAgent
from dialer.service.batch_settings import ChangedSettings
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


@pytest.mark.parametrize(
    ("model", "field", "value", "reason"),
    [
        (NewBatch, "max_concurent_calls", 5, "is no field of a batch; did you mean max_concurrent_calls?"),
        (NewBatch, "nobody", 5, "is no field of a batch"),
        (ChangedSettings, "prioriti", 5, "is no field of settings; did you mean priority?"),
        (NewAgent, "nam", "x", "is no field of an agent; did you mean name?"),
        (NewContacts, "contacts", [{"phone_number": "1", "nam": "x"}], "is no field of a contact; did you mean name?"),
        (NewAgent, "connection", {"asterisk": {"app": "x", "contex": "y"}}, "is no field here; did you mean context?"),
        (NewAgent, "name", None, "must be text"),
        (NewAgent, "name", "", "must not be empty"),
        (NewAgent, "name", "x" * 256, "must have at most 255 characters"),
        (NewBatch, "labels", ["x" * 51], "must have at most 50 characters"),
        (NewBatch, "labels", ["x"] * 21, "must have at most 20 entries"),
        (NewBatch, "agent_id", "5", "must be a UUID"),
        (NewBatch, "phone_rotation_strategy", "x", "must be random, sequential or round_robin"),
        (NewBatch, "schedule_type", "x", "must be immediate or scheduled"),
        (NewBatch, "max_concurrent_calls", "5", "must be a whole number"),
        (NewBatch, "max_concurrent_calls", 101, "must be at most 100"),
        (NewBatch, "max_concurrent_calls", 0, "must be at least 1"),
        (NewBatch, "retry_delays", {"busy": 1e400}, "must be at most 10,080"),
        (NewBatch, "retry_failed", 1, "must be true or false"),
        (NewBatch, "working_days", 1, "must be a list"),
        (NewBatch, "metadata", [], "must be an object"),
        (NewBatch, "expires_at", "2026-02-30T09:00", "2026-02-30 does not exist"),
        (NewBatch, "excluded_dates", ["2027-02-29"], "2027-02-29 does not exist"),
        (NewBatch, "expires_at", "2026-03-30T25:00", "must be written as in 2030-01-31T18:00+01:00"),
    ],
)
def test_a_wrong_value_is_refused_in_plain_words(
    model: type[InputModel], field: str, value: object, reason: str
) -> None:
    errors = errors_of(model, {"name": "x", "agent_id": str(UUID(int=1))} | {field: value})
    assert [error.reason for error in errors if error.field.partition(".")[0] == field] == [reason]


def test_a_field_that_is_absent_is_named() -> None:
    assert errors_of(NewAgent, {}) == [FieldError("name", "is required")]
