"""The calling window: at which instants may a call start?

In come a window as an operator writes it (times of the day, working days, a time zone) and instants; out go instants
in UTC and local dates. Local time exists in this module alone; the clock is never read here.

How it reckons: instants are whole seconds since the epoch, for a window's edges and UTC offsets never fall between
two seconds. Instant + UTC offset = the wall clock, here in seconds since 1970-01-01 00:00 on that wall. On the wall
clock a window is plain arithmetic, as a wall clock knows no daylight saving. What daylight saving does is to let the
instants run along the wall in *stretches* of constant offset, with a jump (forward: the gap; backward: the repeated
hour) from each to the next. So the next opening is the first one that some stretch really shows.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pendulum import UTC, DateTime, from_timestamp

from dialer.domain.calling_hours import DAY, CallingHours
from dialer.domain.public_holidays import PublicHolidays
from dialer.domain.timezones import is_known_zone
from dialer.errors import FieldError, InvalidInput

HORIZON = timedelta(days=400)
"""How far ahead the next opening or closing is looked for: "never" means not within this time."""

LAST_YEAR = 9997
"""From the next year on every window is closed: no date is left to look ahead to."""

BLOCK = 32 * DAY
# The two closest changes of offset that ever were are four days apart (Freetown, 1939).
PROBE = DAY // 4
HORIZON_SECONDS = int(HORIZON.total_seconds())
ALL_WEEK = frozenset(range(1, 8))
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Stretch(NamedTuple):
    """The instants [begin, end) have this UTC offset; all three in seconds."""

    begin: int
    end: int
    offset: int


@dataclass(frozen=True, slots=True)
class CallingWindow:
    """Open iff the local wall clock is in [start, end) and the window starts on a working day that is not excluded.

    `calling_hours`: the intervals of each weekday, in place of start, end and working days. `start_time` None: the
    start of the day. `end_time` None or 00:00: the end of the day. An end before the start crosses midnight and belongs
    to the day on which it starts. Days are ISO weekdays; excluded dates are local ones, `holidays` more of them. In a
    repeated hour both passes count; a window that would open inside a gap opens at the first moment after it.
    """

    timezone: str
    start_time: time | None = None
    end_time: time | None = None
    working_days: frozenset[int] = frozenset({1, 2, 3, 4, 5})
    excluded_dates: frozenset[date] = frozenset()
    calling_hours: CallingHours | None = None
    holidays: PublicHolidays | None = None
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _hours: CallingHours = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if errors := list(self._errors()):
            raise InvalidInput(errors)
        hours = self.calling_hours or CallingHours.daily(self.start_time, self.end_time, self.working_days)
        object.__setattr__(self, "_zone", ZoneInfo(self.timezone))
        object.__setattr__(self, "_hours", hours)

    def is_open(self, at: DateTime) -> bool:
        """Say whether a call may start at this instant."""
        return at.year <= LAST_YEAR and self._covers(self._wall(at.int_timestamp))

    def is_excluded(self, at: DateTime) -> bool:
        """Say whether the window is closed at this instant only because its date is excluded."""
        if not (self.excluded_dates or self.holidays) or self.is_open(at):
            return False
        return replace(self, excluded_dates=frozenset(), holidays=None).is_open(at)

    def next_open(self, at: DateTime) -> DateTime | None:
        """Find the least instant from `at` on that is open; None: there is none within HORIZON."""
        return next_open_all([self], at)

    def closes_at(self, at: DateTime) -> DateTime | None:
        """Find the least instant after the open `at` that is not open; None: there is none within HORIZON.

        Raises ValueError if `at` is not open.
        """
        now = at.int_timestamp
        if not self._covers(self._wall(now)):
            raise ValueError(f"the calling window is closed at {at}")
        return _moment(at, self._first_closed(now, now + HORIZON_SECONDS))

    def open_span(self, at: DateTime) -> tuple[DateTime, DateTime | None]:
        """Find the interval [opened, closes) without a break that the open `at` lies in.

        `opened` is looked for no further back than the start of the local day before. `closes` and errors are those
        of `closes_at`.
        """
        closes = self.closes_at(at)
        now = at.int_timestamp
        today, _ = self._day(now)
        yesterday, _ = self._day(today - 1)
        opened = self._first_open(yesterday, now + 1)
        while (closed := self._first_closed(opened, now + 1)) <= now:
            opened = self._first_open(closed, now + 1)
        return from_timestamp(opened), closes

    def local_day(self, at: DateTime) -> date:
        """Name the calendar day that `at` falls on in the window's zone."""
        return _date(self._wall(at.int_timestamp) // DAY)

    def excluded_around(self, at: DateTime) -> list[date]:
        """List the excluded dates, of the holidays those within two days of this moment."""
        today = self.local_day(at)
        nearby = {today + timedelta(days=days) for days in range(-2, 3)}
        return sorted(self.excluded_dates | {day for day in nearby if self._is_excluded(day)})

    def day_span(self, at: DateTime) -> tuple[DateTime, DateTime]:
        """Find the first instant of the local calendar day that `at` is in, and the first one after its last.

        Where clocks were set back from just after midnight, the day before is torn in two by some minutes of the next
        (Newfoundland until 2011). Its span holds those minutes as well: a cap that counts them can only be too strict.
        """
        begin, end = self._day(at.int_timestamp)
        return from_timestamp(begin), from_timestamp(end)

    def _errors(self) -> Iterator[FieldError]:
        if not is_known_zone(self.timezone):
            yield FieldError("timezone", "must be an IANA time zone that this system knows, such as Europe/Berlin")
        times = {"start_time": self.start_time, "end_time": self.end_time}
        for name, value in times.items():
            if value is not None and (value.second or value.microsecond or value.tzinfo is not None):
                yield FieldError(name, "must be HH:MM, without seconds and without an offset")
        if self.start_time is not None and self.start_time == self.end_time:
            yield FieldError("end_time", "must not equal start_time")
        if not self.working_days:
            yield FieldError("working_days", "must name at least one day")
        if not self.working_days <= ALL_WEEK:
            yield FieldError("working_days", "must be days from 1 (Monday) to 7 (Sunday)")
        # A datetime passes for a date, but is never equal to one: the day would silently stay a working day.
        if any(isinstance(day, datetime) for day in self.excluded_dates):
            yield FieldError("excluded_dates", "must be dates without a time of day")

    def _wall(self, instant: int) -> int:
        return instant + _offset(self._zone, instant)

    def _day(self, instant: int) -> tuple[int, int]:
        """Find the span of the local day; it reaches two days at most, for a whole day may be repeated."""
        midnight = self._wall(instant) // DAY * DAY
        nearby = _stretches(self._zone, instant - 2 * DAY, instant + 2 * DAY)
        parts = [(max(begin, midnight - offset), min(end, midnight + DAY - offset)) for begin, end, offset in nearby]
        shown = [(begin, end) for begin, end in parts if begin < end]
        return shown[0][0], shown[-1][1]

    def _first_open(self, since: int, until: int) -> int:
        return self._first(self._opening, since, until)

    def _first_closed(self, since: int, until: int) -> int:
        if self._hours.has_no_break and not self.excluded_dates and self.holidays is None:
            return until
        return self._first(self._closing, since, until)

    def _first(self, on_wall: Callable[[int, int], int], since: int, until: int) -> int:
        """Find the first instant in [since, until) that shows what `on_wall` looks for; `until`: there is none."""
        for begin, end, offset in _stretches(self._zone, since, until):
            opening = on_wall(begin + offset, end + offset) - offset
            if opening < end:
                return opening
        return until

    def _covers(self, wall: int) -> bool:
        return self._end(wall) is not None

    def _end(self, wall: int) -> int | None:
        """Return where the interval ends that the wall clock is in; None: it is in none."""
        day = wall // DAY
        # An interval that began on the day before may go on after midnight.
        ends = (end for of_day in (day - 1, day) for begin, end in self._spans(of_day) if begin <= wall < end)
        return next(ends, None)

    def _opening(self, wall: int, limit: int) -> int:
        """Find the least wall clock from `wall` on that is open, or `limit`: there is none before."""
        if self._covers(wall):
            return wall
        days = range(wall // DAY, limit // DAY + 1)
        return next((begin for day in days for begin, _ in self._spans(day) if begin > wall), limit)

    def _closing(self, wall: int, limit: int) -> int:
        """Find the least wall clock from `wall` on that is closed, or some wall clock past `limit`."""
        while wall < limit and (end := self._end(wall)) is not None:
            wall = end
        return wall

    def _spans(self, day: int) -> Iterator[tuple[int, int]]:
        """Yield the intervals that start on this day, unless it is excluded."""
        if not (self.excluded_dates or self.holidays) or not self._is_excluded(_date(day)):
            yield from self._hours.spans(day)

    def _is_excluded(self, day: date) -> bool:
        return day in self.excluded_dates or (self.holidays is not None and day in self.holidays)


def next_open_all(windows: Sequence[CallingWindow], at: DateTime) -> DateTime | None:
    """Find the least instant from `at` on at which all windows are open; None: there is none within HORIZON."""
    if at.year > LAST_YEAR:
        return None
    instant, agreed = at.int_timestamp, None
    until = instant + HORIZON_SECONDS
    while instant != agreed:
        agreed = instant
        for window in windows:
            instant = window._first_open(instant, until)  # noqa: SLF001
    return _moment(at, instant)


def _moment(asked: DateTime, instant: int) -> DateTime | None:
    """Turn what was found from `asked` on into an instant; found at once means `asked` itself, fractions kept."""
    ahead = instant - asked.int_timestamp
    if ahead == 0:
        return asked.in_timezone(UTC)
    return from_timestamp(instant) if ahead < HORIZON_SECONDS else None


def _date(day: int) -> date:
    return date.fromordinal(EPOCH_ORDINAL + day)


def _offset(zone: ZoneInfo, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, zone).utcoffset() or timedelta()
    return offset.days * DAY + offset.seconds


def _stretches(zone: ZoneInfo, since: int, until: int) -> Iterator[Stretch]:
    """Cut [since, until) into stretches; neighbours may share their offset."""
    for block in range(since // BLOCK, until // BLOCK + 1):
        for begin, end, offset in _stretches_of_block(zone, block):
            if begin < until and since < end:
                yield Stretch(max(begin, since), min(end, until), offset)


@lru_cache(maxsize=16_384)
def _stretches_of_block(zone: ZoneInfo, block: int) -> tuple[Stretch, ...]:
    """Cut one block of time where the offset changes: zoneinfo keeps these instants to itself, so they are searched."""
    edges = [block * BLOCK, *_changes(zone, block * BLOCK, (block + 1) * BLOCK), (block + 1) * BLOCK]
    return tuple(Stretch(begin, end, _offset(zone, begin)) for begin, end in pairwise(edges))


def _changes(zone: ZoneInfo, begin: int, end: int) -> Iterator[int]:
    """Find the instants within (begin, end) at which the offset changes."""
    for low in range(begin, end, PROBE):
        before = _offset(zone, low)
        inside = range(low + 1, min(low + PROBE + 1, end))
        if _offset(zone, inside[-1]) != before:
            yield inside[bisect_left(inside, True, key=lambda instant: _offset(zone, instant) != before)]
