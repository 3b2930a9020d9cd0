"""The calling hours of a batch, drawn as a week in its zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

from pendulum import DateTime

from dialer.domain.timezones import is_known_zone
from dialer.domain.window import CallingWindow

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Week:
    """`days`: the open spans of each day from Monday on, in minutes of the day. `now`: weekday from 0, and minute."""

    days: list[list[tuple[int, int]]]
    now: tuple[int, int]
    is_open: bool
    next_change: DateTime | None  #: When it closes, if it is open; else when it opens. None: never.

    def words(self) -> list[tuple[str, str]]:
        """Return the hours of each day as text."""
        return [(name, ", ".join(map(_span, spans)) or "closed") for name, spans in zip(DAYS, self.days, strict=True)]


def week_of(batch: Mapping[str, Any], now: DateTime) -> Week | None:
    """Draw the calling hours of a batch; None where its zone is not known to this system."""
    if not is_known_zone(batch["timezone"]):
        return None
    window = CallingWindow(
        timezone=batch["timezone"],
        start_time=batch["start_time"],
        end_time=batch["end_time"],
        working_days=frozenset(batch["working_days"]),
        excluded_dates=frozenset(batch["excluded_dates"]),
    )
    local = now.in_timezone(batch["timezone"])
    is_open = window.is_open(now)
    return Week(
        _days(batch),
        (local.isoweekday() - 1, local.hour * 60 + local.minute),
        is_open,
        window.closes_at(now) if is_open else window.next_open(now),
    )


def _days(batch: Mapping[str, Any]) -> list[list[tuple[int, int]]]:
    """Return the open spans of each weekday. A span that crosses midnight ends on the next day."""
    start, end = _minute(batch["start_time"]), _minute(batch["end_time"]) or DAY_MINUTES
    days: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    for day in batch["working_days"]:
        if start < end:
            days[day - 1].append((start, end))
        else:
            days[day - 1].append((start, DAY_MINUTES))
            days[day % 7].append((0, end))
    return [sorted(spans) for spans in days]


def _minute(at: time | None) -> int:
    return at.hour * 60 + at.minute if at else 0


def _span(span: tuple[int, int]) -> str:
    return " to ".join(f"{minute // 60:02}:{minute % 60:02}" for minute in span)
