"""Calling hours, drawn as a week in their zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime

from dialer.domain.calling_hours import CallingHours
from dialer.domain.public_holidays import PublicHolidays
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
    closes_at: DateTime | None  #: If it is open; None: never.
    opens_at: DateTime | None  #: When it opens next, after it has closed; None: never.

    def words(self) -> list[tuple[str, str]]:
        """Return the hours of each day as text."""
        return [(name, ", ".join(map(_span, spans)) or "closed") for name, spans in zip(DAYS, self.days, strict=True)]


def week_of(settings: Mapping[str, Any], now: DateTime) -> Week | None:
    """Draw the calling hours of a batch, or of one to be made; None where the zone is not known to this system."""
    if not is_known_zone(settings["timezone"]):
        return None
    written, holidays = settings["calling_hours"], settings["holidays"]
    days = frozenset(settings["working_days"])
    window = CallingWindow(
        timezone=settings["timezone"],
        start_time=settings["start_time"],
        end_time=settings["end_time"],
        working_days=days,
        excluded_dates=frozenset(settings["excluded_dates"]),
        calling_hours=CallingHours.read(written) if written else None,
        holidays=PublicHolidays(holidays["country"], holidays["region"]) if holidays else None,
    )
    hours = window.calling_hours or CallingHours.daily(window.start_time, window.end_time, days)
    local = now.in_timezone(settings["timezone"])
    closes_at = window.closes_at(now) if window.is_open(now) else None
    return Week(
        _days(hours),
        (local.isoweekday() - 1, local.hour * 60 + local.minute),
        window.is_open(now),
        closes_at,
        None if window.is_open(now) and closes_at is None else window.next_open(closes_at or now),
    )


def _days(hours: CallingHours) -> list[list[tuple[int, int]]]:
    """Return the open spans of each weekday. An interval that crosses midnight goes on on the next day."""
    days: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    for day, intervals in enumerate(hours.by_weekday):
        for start, length in intervals:
            begin, end = start // 60, (start + length) // 60
            days[day].append((begin, min(end, DAY_MINUTES)))
            if end > DAY_MINUTES:
                days[(day + 1) % 7].append((0, end - DAY_MINUTES))
    return [sorted(spans) for spans in days]


def _span(span: tuple[int, int]) -> str:
    return " to ".join(f"{minute // 60:02}:{minute % 60:02}" for minute in span)
