"""Calling hours on the wall clock: several intervals a weekday, which may go on after midnight.

In come the hours as operators write them: weekday ("1" is Monday) -> [[from, to], ...]. Out go spans on the wall, in
seconds since 1970-01-01 00:00 on that wall; it knows no daylight saving, which is in `window`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from itertools import pairwise
from typing import NamedTuple

from dialer.errors import InvalidInput

DAY = 86_400
WEEKDAYS = tuple(str(day) for day in range(1, 8))
MAX_INTERVALS = 24
_FIELD = "calling_hours"
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)

# Weekday -> [[from, to], ...], each HH:MM; `to` may be 24:00.
WrittenHours = Mapping[str, Sequence[Sequence[str]]]


class Interval(NamedTuple):
    """Seconds from the beginning of the day on which it starts, and its length: more than none, at most a day."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class CallingHours:
    """`by_weekday`: the intervals that start on each weekday from Monday on, in order."""

    by_weekday: tuple[tuple[Interval, ...], ...]

    @classmethod
    def daily(cls, start: time | None, end: time | None, working_days: frozenset[int]) -> "CallingHours":
        """Make the hours of the short form: one interval on each working day. None: the start or end of the day."""
        begin, until = _second_of_day(start), _second_of_day(end)
        interval = Interval(begin, (until - begin) % DAY or DAY)
        return cls(tuple((interval,) if day in working_days else () for day in range(1, 8)))

    @classmethod
    def read(cls, written: WrittenHours) -> "CallingHours":
        """Check written hours; InvalidInput names what is wrong: a day, a time, or two intervals that overlap."""
        if unknown := [day for day in written if day not in WEEKDAYS]:
            raise InvalidInput.of(_FIELD, f"names the day {unknown[0][:20]}; days are 1 (Monday) to 7 (Sunday)")
        by_weekday = tuple(tuple(sorted(_intervals(day, written.get(day, ())))) for day in WEEKDAYS)
        hours = cls(by_weekday)
        if not any(by_weekday):
            raise InvalidInput.of(_FIELD, "must name at least one interval")
        hours._refuse_overlaps()
        return hours

    def written(self) -> dict[str, list[list[str]]]:
        """Write the hours as operators do; 00:00 as the end is the end of the day."""
        return {
            day: [[_text(start), _text((start + length) % DAY)] for start, length in intervals]
            for day, intervals in zip(WEEKDAYS, self.by_weekday, strict=True)
            if intervals
        }

    @property
    def has_no_break(self) -> bool:
        """Say whether every day is open from its beginning to its end."""
        return all(Interval(0, DAY) in intervals for intervals in self.by_weekday)

    def spans(self, day: int) -> Iterator[tuple[int, int]]:
        """Yield the spans [begin, end) that start on this day, counted from 1970-01-01, a Thursday."""
        for start, length in self.by_weekday[(day + 3) % 7]:
            yield day * DAY + start, day * DAY + start + length

    def _refuse_overlaps(self) -> None:
        # A week and its first day again, for the night from Sunday to Monday. 1970-01-05 was a Monday.
        week = [(begin, end) for day in range(4, 12) for begin, end in self.spans(day)]
        for (_, end), (begin, _) in pairwise(week):
            if begin < end:
                weekday, start = (begin // DAY + 3) % 7 + 1, _text(begin % DAY)
                raise InvalidInput.of(_FIELD, f"day {weekday}: the interval from {start} overlaps the one before it")


def _intervals(day: str, written: Sequence[Sequence[str]]) -> Iterator[Interval]:
    if len(written) > MAX_INTERVALS:
        raise InvalidInput.of(_FIELD, f"day {day} has more than {MAX_INTERVALS} intervals")
    for interval in written:
        if len(interval) != 2:
            raise InvalidInput.of(_FIELD, f"day {day}: an interval is [from, to]")
        begin, until = _second(day, interval[0]), _second(day, interval[1], is_end=True)
        if begin == until:
            raise InvalidInput.of(_FIELD, f"day {day}: from and to are both {_text(begin)}")
        yield Interval(begin, (until - begin) % DAY or DAY)


def _second(day: str, text: str, *, is_end: bool = False) -> int:
    if is_end and text == "24:00":
        return DAY
    if not (match := _TIME.fullmatch(text)):
        raise InvalidInput.of(_FIELD, f"day {day}: times must be written as in 09:30")
    return int(match[1]) * 3600 + int(match[2]) * 60


def _second_of_day(clock: time | None) -> int:
    return clock.hour * 3600 + clock.minute * 60 if clock else 0


def _text(second: int) -> str:
    return f"{second // 3600:02}:{second % 3600 // 60:02}"
