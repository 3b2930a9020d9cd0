"""Warnings: about settings that have no effect, and zones that are not what their names suggest."""

from typing import Any

import pytest

from dialer.domain.batch_warnings import warnings_about

PLAIN: dict[str, Any] = {
    "retry_failed": False, "max_retry_attempts": 0, "retry_delays": {}, "retry_machine": False, "timezone": "UTC",
}  # fmt: skip


def fields(**settings: Any) -> list[str]:
    return [warning.field for warning in warnings_about(PLAIN | settings)]


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
    (east,) = warnings_about(PLAIN | {"timezone": "Etc/GMT-3"})
    (west,) = warnings_about(PLAIN | {"timezone": "Etc/GMT+3"})
    assert east.message.startswith("is ahead of UTC,")
    assert west.message.startswith("is behind UTC,")
