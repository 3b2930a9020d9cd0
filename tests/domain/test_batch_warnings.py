"""Warnings: about settings that have no effect, and zones that are not what their names suggest."""

from datetime import time
from typing import Any

import pendulum
import pytest

from dialer.domain.batch_warnings import warnings_about

NOW = pendulum.datetime(2026, 11, 27)
PLAIN: dict[str, Any] = {
    "retry_failed": False, "max_retry_attempts": 0, "retry_delays": {}, "retry_machine": False, "timezone": "UTC",
    "start_time": None, "end_time": None, "calling_hours": None,
}  # fmt: skip


def fields(**settings: Any) -> list[str]:
    return [warning.field for warning in warnings_about(PLAIN | settings, NOW)]


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({}, []),
        ({"max_retry_attempts": 2}, ["max_retry_attempts"]),
        ({"retry_delays": {"busy": 5}, "retry_machine": True}, ["retry_delays", "retry_machine"]),
        ({"retry_failed": True}, ["retry_failed"]),
        ({"retry_failed": True, "max_retry_attempts": 1, "retry_delays": {"busy": 5}, "retry_machine": True}, []),
        ({"timezone": "EST"}, ["timezone"]),
        ({"timezone": "EST5EDT"}, []),
        ({"timezone": "Etc/GMT+5"}, ["timezone"]),
        ({"timezone": "Etc/GMT"}, []),
        ({"timezone": "Etc/GMT+0"}, []),
        ({"timezone": "Etc/UTC"}, []),
    ],
)
def test_what_is_probably_not_meant_is_named(settings: dict[str, Any], warned: list[str]) -> None:
    assert fields(**settings) == warned


def test_the_sign_of_a_zone_is_explained() -> None:
    (east,) = warnings_about(PLAIN | {"timezone": "Etc/GMT-3"}, NOW)
    (west,) = warnings_about(PLAIN | {"timezone": "Etc/GMT+3"}, NOW)
    assert east.message.startswith("is ahead of UTC,")
    assert west.message.startswith("is behind UTC,")


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        (
            {"timezone": "Europe/Paris", "start_time": time(2, 30)},
            {},
            "start_time 02:30 does not exist on 2027-03-28 in Europe/Paris, CLOCK; the first moment after it counts",
        ),
        # Sunday: the interval of the day, and the one of Saturday that goes on after midnight.
        (
            {"timezone": "Europe/Paris", "calling_hours": {"7": [["02:15", "04:00"]]}},
            {},
            "calling_hours 02:15 does not exist on 2027-03-28 in Europe/Paris, CLOCK; the first moment after it counts",
        ),
        (
            {"timezone": "Europe/Paris", "calling_hours": {"1": [["09:00", "24:00"]], "6": [["20:00", "02:30"]]}},
            {},
            "calling_hours 02:30 does not exist on 2027-03-28 in Europe/Paris, CLOCK; the first moment after it counts",
        ),
        (
            {"timezone": "America/New_York"},
            {"scheduled_at": "2027-03-14T02:15"},
            "scheduled_at 02:15 does not exist on 2027-03-14 in America/New_York, CLOCK; 03:15 is used",
        ),
    ],
)
def test_a_time_that_the_clock_skips_is_named(settings: dict[str, Any], given: dict[str, Any], message: str) -> None:
    (warning,) = warnings_about(PLAIN | settings, NOW, given)
    assert f"{warning.field} {warning.message}" == message.replace("CLOCK", "where the clock is put forward")


@pytest.mark.parametrize(
    "given", ["2027-03-14T02:15-05:00", "2027-03-14T03:15", "9999-12-31T23:59", "0001-01-01T00:00", "x", 5, None]
)
def test_other_times_are_not_warned_of(given: object) -> None:
    settings = {"timezone": "America/New_York", "start_time": time(1, 59), "end_time": time(3)}
    settings |= {"calling_hours": {"6": [["02:30", "24:00"]], "7": [["01:59", "03:00"], ["20:00", "02:30"]]}}
    assert list(warnings_about(PLAIN | settings, NOW, {"scheduled_at": given})) == []
