"""The body from which a batch is created: every field of the public contract, its bounds and its default."""

import json
from datetime import date, time
from typing import Any
from uuid import UUID

import pendulum
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dialer.domain.outcomes import Outcome
from dialer.errors import InvalidInput
from dialer.service.fields import PersonLimit
from dialer.service.new_batch import NewBatch

NOW = pendulum.datetime(2026, 3, 2, 8)
AGENT = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
NUMBER = "019cad8f-ac00-7103-8386-bbc4cd613e30"
LATER = "2026-03-03T09:00:00+01:00"
LATER_UTC = pendulum.datetime(2026, 3, 3, 8)
NOT_TEXT: list[Any] = [None, 5, True, [], {}]


def read(**fields: Any) -> NewBatch:
    return NewBatch.read({"name": "Spring", "agent_id": AGENT} | fields, NOW)


def refused(**fields: Any) -> dict[str, str]:
    """Which fields are refused, and why."""
    with pytest.raises(InvalidInput) as caught:
        read(**fields)
    assert len({error.field for error in caught.value.errors}) == len(caught.value.errors)
    assert all(error.reason for error in caught.value.errors)
    return {error.field: error.reason for error in caught.value.errors}


def test_name_and_agent_are_enough_and_all_else_has_its_default() -> None:
    assert read().columns() | {"phone_number_ids": read().phone_number_ids} == {
        "name": "Spring",
        "agent_id": UUID(AGENT),
        "phone_number_ids": [],
        "phone_rotation_strategy": "random",
        "contact_source": "csv",
        "contact_folder_id": None,
        "schedule_type": "immediate",
        "scheduled_at": None,
        "timezone": "UTC",
        "start_time": None,
        "end_time": None,
        "working_days": [1, 2, 3, 4, 5],
        "max_concurrent_calls": 10,
        "max_calls_per_day": None,
        "ring_timeout_seconds": None,
        "max_call_seconds": None,
        "retry_failed": False,
        "max_retry_attempts": 0,
        "retry_delays": {},
        "retry_machine": False,
        "respect_contact_timezone": False,
        "sticky_caller_id": False,
        "expires_at": None,
        "excluded_dates": [],
        "priority": 5,
        "default_region": None,
        "metadata": {},
        "labels": [],
        "person_limits": [],
        "calling_hours": None,
        "holidays": None,
    }


@pytest.mark.parametrize(
    ("field", "given_value", "value"),
    [
        ("name", "x", "x"),
        ("name", "ü" * 255, "ü" * 255),
        ("agent_id", NUMBER, UUID(NUMBER)),
        ("phone_number_ids", [NUMBER, AGENT], [UUID(NUMBER), UUID(AGENT)]),
        *[("phone_rotation_strategy", strategy, strategy) for strategy in ("random", "sequential", "round_robin")],
        *[("contact_source", source, source) for source in ("csv", "manual")],
        ("timezone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("start_time", "00:00", time(0)),
        ("start_time", None, None),
        ("end_time", "23:59", time(23, 59)),
        ("end_time", "00:00", time(0)),
        ("working_days", [7], [7]),
        ("working_days", [7, 6, 5, 4, 3, 2, 1], [7, 6, 5, 4, 3, 2, 1]),
        ("max_concurrent_calls", 1, 1),
        ("max_concurrent_calls", 100, 100),
        ("max_calls_per_day", 1, 1),
        ("max_calls_per_day", 2_147_483_647, 2_147_483_647),
        ("max_calls_per_day", None, None),
        ("ring_timeout_seconds", 5, 5),
        ("ring_timeout_seconds", 120, 120),
        ("max_call_seconds", 10, 10),
        ("max_call_seconds", 14_400, 14_400),
        ("retry_failed", True, True),
        ("max_retry_attempts", 3, 3),
        ("retry_delays", {"busy": 1, "machine": 10_080}, {Outcome.BUSY: 1, Outcome.MACHINE: 10_080}),
        ("retry_delays", {"no_answer": 0.5}, {Outcome.NO_ANSWER: 0.5}),
        ("retry_machine", True, True),
        ("respect_contact_timezone", True, True),
        ("sticky_caller_id", True, True),
        ("expires_at", LATER, LATER_UTC),
        ("excluded_dates", ["2026-12-25"], [date(2026, 12, 25)]),
        ("priority", 1, 1),
        ("priority", 10, 10),
        ("default_region", "de", "DE"),
        ("metadata", {"crm": {"id": [1, None, "ü"]}}, {"crm": {"id": [1, None, "ü"]}}),
        ("metadata", {"path": "C:\\u0000"}, {"path": "C:\\u0000"}),
        (
            "person_limits",
            [{"attempts": 1, "hours": 720}, {"attempts": 100, "hours": 1}],
            [PersonLimit(attempts=1, hours=720), PersonLimit(attempts=100, hours=1)],
        ),
    ],
)
def test_a_field_is_taken_up_to_its_bounds(field: str, given_value: Any, value: Any) -> None:
    assert getattr(read(**{field: given_value}), field) == value


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "x" * 256, "\0", "half a pair: \ud800", *NOT_TEXT]),
        ("agent_id", ["demo", "", *NOT_TEXT]),
        ("phone_number_ids", [[NUMBER, NUMBER], [NUMBER, NUMBER.upper()], NUMBER, None, 5]),
        ("phone_rotation_strategy", ["RANDOM", "", *NOT_TEXT]),
        ("contact_source", ["xlsx", "", *NOT_TEXT]),
        ("schedule_type", ["later", "", *NOT_TEXT]),
        ("scheduled_at", ["", "soon", "2026-03-03", "1893456000", 1893456000, 1e300, True, [], {}]),
        ("scheduled_at", ["2026-03-02T08:00:00Z", "2026-03-02T08:59:59+01:00", "1999-01-01T00:00:00Z"]),
        ("scheduled_at", ["9999-12-31T23:59:00-10:00", "0001-01-01T00:00:00+10:00", "2026-13-01T00:00:00Z"]),
        ("timezone", ["", "Europe/berlin", "CEST", "+01:00", "localtime", "../etc/passwd", *NOT_TEXT]),
        (
            "start_time",
            [
                "9:00",
                "09:00:00",
                "09:00:30",
                "0900",
                "24:00",
                "09:60",
                "09:00Z",
                "",
                "noon",
                "\u0660\u0669:\u0660\u0660",
            ],
        ),
        ("start_time", [0, 32_400, 9.5, True, [], {}]),
        ("end_time", ["9:00", "09:00:00", "17:00:01", "24:00", "17:00+01:00", "", 61_200, False]),
        ("working_days", [[], [1, 1], 1, None, "1,2"]),
        ("excluded_dates", [None, "2026-12-25", {}]),
        ("max_concurrent_calls", [0, 101, -1, 1.5, True, None, "many", 10**30]),
        ("max_calls_per_day", [0, -1, 2_147_483_648, 1.5, True, "many"]),
        ("ring_timeout_seconds", [0, 4, 121, 5.5, True]),
        ("max_call_seconds", [0, 9, 14_401, True]),
        ("retry_failed", ["yes", 1, None, []]),
        ("max_retry_attempts", [-1, 4, 1.5, True, None]),
        ("retry_delays", [None, [], "busy", 5]),
        ("retry_machine", ["yes", 1, None]),
        ("respect_contact_timezone", ["yes", 1, None]),
        ("sticky_caller_id", ["yes", 1, None]),
        ("expires_at", ["2026-03-02T08:00:00Z", "2026-03-03", "", 1893456000, "9999-12-31T23:59:00-10:00"]),
        ("priority", [0, 11, 5.5, True, None]),
        ("default_region", ["", "D", "Germany", "ZZ", "+49", 49]),
        ("person_limits", [None, {}, 5, [{"attempts": 1, "hours": 1}] * 2]),
        ("person_limits", [[{"attempts": n, "hours": 24} for n in range(1, 12)]]),
        ("metadata", [None, [], "text", 5, {"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, {"a": float("nan")}]),
        ("metadata", [{"a": float("inf")}, {"a": {1, 2}}, {"a": 10**5000}, {"a": "x" * 16_384}, {"a": "ü" * 8_190}]),
    ],
)
def test_a_value_outside_its_bounds_or_of_another_type_is_refused_by_the_name_of_its_field(
    field: str, values: list[Any]
) -> None:
    for value in values:
        assert list(refused(**{field: value})) == [field], value


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"phone_number_ids": [NUMBER, "x"]}, {"phone_number_ids.1"}),
        ({"phone_number_ids": 1001 * [NUMBER]}, {"phone_number_ids"}),
        (
            {"person_limits": [{"attempts": 0, "hours": 721}, {"attempts": 101}, {"attempts": 1, "hours": 1.5}]},
            {f"person_limits.{field}" for field in ("0.attempts", "0.hours", "1.attempts", "1.hours", "2.hours")},
        ),
        ({"working_days": [0, 1, 8, True]}, {"working_days.0", "working_days.2", "working_days.3"}),
        (
            {"excluded_dates": ["2026-12-25", 0, "2026-02-30", "2026-12-26T00:00"]},
            {f"excluded_dates.{n}" for n in (1, 2, 3)},
        ),
        (
            {
                "retry_delays": {
                    "busy": -1,
                    "no_answer": 10_081,
                    "failed": True,
                    "answered": 5,
                    "unknown": 5,
                    "tired": 5,
                }
            },
            {f"retry_delays.{outcome}" for outcome in ("busy", "no_answer", "failed", "answered", "unknown", "tired")},
        ),
    ],
)
def test_a_wrong_entry_is_named_by_its_place(fields: dict[str, Any], wrong: set[str]) -> None:
    assert set(refused(**fields)) == wrong


def test_every_wrong_field_is_named_at_once() -> None:
    wrong = {
        "name": "",
        "schedule_type": "scheduled",
        "scheduled_at": "2020-01-01T00:00:00Z",
        "start_time": "09:00",
        "end_time": "09:00",
        "working_days": [1, 1],
        "retry_failed": "no",
        "expires_at": "2020-01-01T00:00:00Z",
        "default_region": "ZZ",
        "metadata": {"a": float("nan")},
        "max_concurent_calls": 5,
    }
    assert set(refused(**wrong)) == wrong.keys() - {"schedule_type", "start_time"}
    assert set(refused(timezone="Mars/Olympus", expires_at="2020-01-01T00:00", priority=0)) == {
        "timezone",
        "priority",
    }


def test_a_field_that_nobody_knows_is_refused_so_that_no_typo_is_ignored() -> None:
    assert refused(max_retries=3)["max_retries"] == "is not a known field"


def test_name_and_agent_are_required() -> None:
    with pytest.raises(InvalidInput) as caught:
        NewBatch.read({}, NOW)
    assert {str(error) for error in caught.value.errors} == {"name: is required", "agent_id: is required"}


@pytest.mark.parametrize("fields", [{}, {"scheduled_at": None}])
def test_a_scheduled_batch_needs_its_time(fields: dict[str, None]) -> None:
    assert refused(schedule_type="scheduled", **fields) == {
        "scheduled_at": "is required when schedule_type is scheduled"
    }


@pytest.mark.parametrize(
    ("timezone", "written", "instant"),
    [
        ("UTC", "2026-03-03T09:00", pendulum.datetime(2026, 3, 3, 9)),
        ("America/New_York", "2026-03-02T04:00:00", pendulum.datetime(2026, 3, 2, 9)),
        ("Asia/Kolkata", "2026-03-02 14:00", pendulum.datetime(2026, 3, 2, 8, 30)),
        # In the hour that is missing in spring: never earlier than was meant. In the repeated one: the first pass.
        ("Europe/Berlin", "2026-03-29T02:30", pendulum.datetime(2026, 3, 29, 1, 30)),
        ("Europe/Berlin", "2026-10-25T02:30", pendulum.datetime(2026, 10, 25, 0, 30)),
        # An offset goes before the zone.
        ("America/New_York", "2026-03-02T09:00+00:00", pendulum.datetime(2026, 3, 2, 9)),
    ],
)
def test_a_time_without_an_offset_is_read_in_the_zone_of_the_batch(
    timezone: str, written: str, instant: pendulum.DateTime
) -> None:
    new = read(timezone=timezone, schedule_type="scheduled", scheduled_at=written, expires_at=written)
    columns = new.columns()
    assert (columns["scheduled_at"], columns["expires_at"]) == (instant, instant)
    assert {columns[name].utcoffset().total_seconds() for name in ("scheduled_at", "expires_at")} == {0}


def test_whether_a_time_lies_ahead_is_judged_in_the_zone_of_the_batch() -> None:
    assert read(timezone="America/New_York", expires_at="2026-03-02T03:01").expires_at
    assert refused(timezone="Asia/Tokyo", expires_at="2026-03-02T16:59") == {"expires_at": "must lie ahead"}


def test_a_time_to_start_is_refused_where_the_batch_would_start_at_once() -> None:
    assert list(refused(scheduled_at=LATER)) == ["scheduled_at"]
    assert read(scheduled_at=LATER, schedule_type="scheduled").scheduled_at == LATER_UTC


def test_a_folder_is_named_exactly_when_contacts_come_from_one() -> None:
    assert list(refused(contact_source="folder")) == ["contact_folder_id"]
    assert list(refused(contact_folder_id=NUMBER)) == ["contact_folder_id"]
    assert read(contact_source="folder", contact_folder_id=NUMBER).contact_folder_id == UUID(NUMBER)


@pytest.mark.parametrize("size", [16_383, 16_384, 16_385])
def test_metadata_may_be_as_large_as_sixteen_kibibytes_of_json(size: int) -> None:
    metadata = {"a": "x" * (size - len('{"a": ""}'))}
    assert len(json.dumps(metadata)) == size
    if size <= 16_384:
        assert read(metadata=metadata).metadata == metadata
    else:
        assert refused(metadata=metadata) == {"metadata": "is larger than 16 KiB as JSON"}


def test_endless_nesting_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert list(refused(metadata={"a": nested})) == ["metadata"]


TEXTS = st.text(max_size=20) | st.sampled_from(
    [AGENT, LATER, "2026-03-03T09:00", "09:00", "2026-12-25", "Europe/Berlin", "busy", "\ud800", "\0", "random", "DE"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.datetimes().map(str) | st.dates().map(str)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))
FIELDS = st.sampled_from(sorted(NewBatch.model_fields)) | TEXTS


def taken_or_refused(body: dict[str, Any]) -> NewBatch | InvalidInput:
    try:
        return NewBatch.read(body, NOW)
    except InvalidInput as error:
        return error


@settings(max_examples=150)
@given(st.dictionaries(FIELDS, VALUES, max_size=6), st.booleans())
@example({"scheduled_at": "0001-01-01T00:00", "timezone": "Asia/Tokyo"}, True)
@example({"expires_at": "9999-12-31T23:59", "timezone": "America/New_York"}, True)
@example({"metadata": {"\ud800": 1}}, True)
@example({"\ud800": 1}, True)
def test_any_json_body_becomes_a_batch_or_is_refused_field_by_field(fields: dict[str, Any], is_complete: bool) -> None:
    body = fields | ({"name": "x", "agent_id": AGENT} if is_complete else {})
    came_of_it = taken_or_refused(body)
    if isinstance(came_of_it, InvalidInput):
        assert came_of_it.errors
        assert all(error.field and error.reason for error in came_of_it.errors)
    else:
        assert json.dumps(came_of_it.columns(), default=str, allow_nan=False).isprintable()


@pytest.mark.parametrize("body", [[], "text", 5, None, True])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInput, match="body: "):
        NewBatch.read(body, NOW)
