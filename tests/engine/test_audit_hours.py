"""Audit: attempts outside their calling window (P3), and attempts of batches that were stopped (P4)."""

from datetime import date, time
from typing import Any

import pendulum
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialer.domain.calling_hours import CallingHours
from dialer.domain.window import CallingWindow
from support.ledger_rows import TERMS, Ledger, audit_violations
from support.world import MONDAY, World

# Europe/Berlin is an hour ahead of UTC on that Monday; clocks go forward on 2026-03-29.
BERLIN = {"timezones": ["Europe/Berlin"]}


@pytest.mark.parametrize(
    ("at", "window"),
    [
        pytest.param("2026-03-02T07:59:59", {"start_time": "09:00"}, id="before the start"),
        pytest.param("2026-03-02T16:00:00", {"end_time": "17:00"}, id="at the end"),
        pytest.param("2026-03-07T12:00:00", {"working_days": [1, 2, 3, 4, 5]}, id="on a day off"),
        pytest.param("2026-03-01T23:30:00", {"excluded_dates": ["2026-03-02"]}, id="on an excluded date"),
        pytest.param("2026-03-02T21:00:00", {"start_time": "23:00", "end_time": "03:00"}, id="before the night"),
        pytest.param(
            "2026-03-02T00:00:00",
            {"start_time": "23:00", "end_time": "03:00", "working_days": [1]},
            id="in the night that began on a day off",
        ),
        pytest.param("2026-03-30T06:30:00", {"end_time": "08:30"}, id="after clocks went forward"),
        pytest.param(
            "2026-03-02T20:30:00",
            {"timezones": ["UTC", "Asia/Tokyo"], "start_time": "08:00", "end_time": "21:00"},
            id="in one zone of two",
        ),
    ],
)
def test_an_attempt_outside_its_window_is_found(world: World, at: str, window: dict[str, Any]) -> None:
    assert _found_at(world, at, BERLIN | window) == {"P3 outside_window"}


@pytest.mark.parametrize(
    ("at", "window"),
    [
        pytest.param("2026-03-02T08:00:00", {"start_time": "09:00"}, id="at the start"),
        pytest.param("2026-03-02T15:59:59", {"end_time": "17:00"}, id="before the end"),
        pytest.param(
            "2026-03-02T22:59:59", {"start_time": "09:00", "end_time": "00:00"}, id="until the end of the day"
        ),
        pytest.param(
            "2026-03-03T00:00:00",
            {"start_time": "23:00", "end_time": "03:00", "working_days": [1], "excluded_dates": ["2026-03-03"]},
            id="in the night that began on a working day",
        ),
        pytest.param("2026-03-30T06:29:00", {"end_time": "08:30"}, id="after clocks went forward"),
        pytest.param(
            "2026-07-01T15:30:00",
            {"timezones": ["CET"], "start_time": "17:30"},
            id="in a zone named like an abbreviation",
        ),
    ],
)
def test_an_attempt_inside_its_window_is_not(world: World, at: str, window: dict[str, Any]) -> None:
    assert _found_at(world, at, BERLIN | window) == set()


def _found_at(world: World, at: str, window: dict[str, Any]) -> set[str]:
    created_at = pendulum.parse(at)
    ledger = Ledger(world, 1)
    ledger.attempt(0, 0, 200 * 86_400, created_at=created_at, **window)
    ledger.write()
    return set(audit_violations(world))


HOURS = [
    {"6": [["22:00", "02:30"]], "7": [["02:45", "03:00"], ["03:15", "24:00"]], "1": [["00:00", "24:00"]]},
    {"7": [["01:00", "02:15"], ["02:30", "03:30"]], "2": [["23:00", "22:00"]]},
]
TIMES = st.none() | st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 30]))


@st.composite
def _windows(draw: st.DrawFn) -> CallingWindow:
    hours = draw(st.none() | st.sampled_from(HOURS))
    times = (
        (None, None)
        if hours
        else draw(st.tuples(TIMES, TIMES).filter(lambda both: both[0] is None or both[0] != both[1]))
    )
    return CallingWindow(
        draw(st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "EET", "Pacific/Apia"])),
        *times,
        draw(st.frozensets(st.integers(1, 7), min_size=1)),
        draw(st.frozensets(st.dates(date(2026, 3, 28), date(2026, 4, 6)), max_size=3)),
        CallingHours.read(hours) if hours else None,
    )


@given(st.lists(st.tuples(st.integers(0, 9 * 86_400), _windows()), min_size=10, max_size=20))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_and_the_window_agree_around_the_changes_of_the_clock(
    world: World, calls: list[tuple[int, CallingWindow]]
) -> None:
    ledger = Ledger(world, len(calls))
    outside = set()
    for contact, (seconds, window) in enumerate(calls):
        created_at = pendulum.datetime(2026, 3, 28).add(seconds=seconds)
        terms: dict[str, Any] = {
            "timezones": [window.timezone],
            "start_time": window.start_time and f"{window.start_time:%H:%M}",
            "end_time": window.end_time and f"{window.end_time:%H:%M}",
            "working_days": sorted(window.working_days),
            "excluded_dates": sorted(day.isoformat() for day in window.excluded_dates),
            "max_concurrent_calls": 99,
        }
        if window.calling_hours:
            terms["calling_hours"] = window.calling_hours.written()
        attempt_id = ledger.attempt(contact, 0, 90 * 86_400, created_at=created_at, allowed_by={**TERMS, **terms})
        if not window.is_open(created_at):
            outside.add(attempt_id)
    ledger.write()
    assert set(ledger.violations().get("P3 outside_window", ())) == outside


def test_a_zone_that_postgres_does_not_know_is_found_and_hides_nothing_else(world: World) -> None:
    ledger = Ledger(world)
    lost = {
        ledger.attempt(0, begin=0, end=30, timezones=["UTC", "Mars/Olympus"]),
        ledger.attempt(1, begin=1, end=30, day_timezone="Mars+5"),
    }
    late = ledger.attempt(2, begin=2, end=30, end_time="08:00")
    silent = ledger.attempt(3, begin=3, end=30, allowed_by={})
    ledger.write()
    assert (
        audit_violations(world)
        == ledger.violations()
        == {
            "P2 limits_not_stored": (silent,),
            "P3 outside_window": (late,),
            "P3 unknown_zone": tuple(sorted(lost)),
        }
    )


def test_nothing_is_created_while_a_batch_is_stopped(world: World) -> None:
    ledger = Ledger(world)
    _change(world, ledger, 10, "paused")
    _change(world, ledger, 20, "active")
    _change(world, ledger, 30, "paused")
    _change(world, ledger, 40, "cancelled")
    ledger.attempt(0, begin=10, end=15)
    stopped = [ledger.attempt(contact, begin, end=60) for contact, begin in ((1, 15), (3, 40), (4, 50))]
    ledger.attempt(2, begin=20, end=25)
    ledger.write()
    assert audit_violations(world) == {"P4 created_while_stopped": tuple(stopped)}


def _change(world: World, ledger: Ledger, seconds: int, status: str) -> None:
    world.clock.now = MONDAY.add(seconds=seconds)
    world.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=ledger.batch_id)


def test_nothing_is_sent_while_a_batch_is_stopped(world: World) -> None:
    ledger = Ledger(world)
    _change(world, ledger, 10, "paused")
    _change(world, ledger, 20, "active")
    for contact, seconds in ((0, 9), (1, 10), (2, 20)):
        ledger.attempt(contact, begin=5, end=60, sent_at=MONDAY.add(seconds=seconds))
    late = ledger.attempt(3, begin=5, end=60, sent_at=MONDAY.add(seconds=11))
    ledger.write()
    assert audit_violations(world) == {"P4 sent_while_stopped": (late,)}
