"""Compares the calling window with two independent implementations, around each clock change of each timezone.

The first (the walk) lists all open minutes in local time: from the start of each day's window until the clock shows its
end. Then it looks up the local time of each instant. The second, for the property tests at the end, checks whether the
window of any day contains the local time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.window import HORIZON, CallingWindow, next_open_all

pytestmark = pytest.mark.proof

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AROUND = timedelta(hours=26)

WEEKDAYS = frozenset({1, 2, 3, 4, 5})
WEEKEND = frozenset({6, 7})
EVERY_DAY = WEEKDAYS | WEEKEND

WINDOWS = {
    "daytime": CallingWindow("UTC", time(9), time(18), WEEKDAYS),
    "overnight on weekdays": CallingWindow("UTC", time(22), time(6), WEEKDAYS),
    "overnight, Saturdays only": CallingWindow("UTC", time(20), time(4), frozenset({6})),
    "evening to midnight": CallingWindow("UTC", time(18), time(0), EVERY_DAY),
    "midnight to morning, weekends": CallingWindow("UTC", None, time(8), WEEKEND),
    "whole days, Saturday to Monday": CallingWindow("UTC", None, None, frozenset({6, 7, 1})),
    "opens in the usual gaps": CallingWindow("UTC", time(2, 30), time(5), EVERY_DAY),
    "ends in the usual repeated hours": CallingWindow("UTC", time(0, 30), time(1, 45), EVERY_DAY),
    "short, inside the usual gaps": CallingWindow("UTC", time(2, 10), time(2, 20), EVERY_DAY),
    "short, across midnight": CallingWindow("UTC", time(23, 50), time(0, 10), EVERY_DAY),
    "closed for one minute a day": CallingWindow("UTC", time(1, 31), time(1, 30), EVERY_DAY),
    "overnight, one date excluded": CallingWindow("UTC", time(21), time(2, 30), EVERY_DAY),
}

HARD_ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
]

HARD_MOMENTS = {
    "a day is missing": ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    "another day is missing": ("Pacific/Kwajalein", datetime(1993, 8, 21, 12, tzinfo=UTC)),
    "most of a day comes twice": ("Pacific/Kwajalein", datetime(1969, 9, 30, 13, tzinfo=UTC)),
    "midnight is missing": ("America/Asuncion", datetime(2024, 10, 6, 4, tzinfo=UTC)),
    "midnight falls back to 23:00": ("America/Asuncion", datetime(2024, 3, 24, 3, tzinfo=UTC)),
    "a minute past midnight falls back": ("America/St_Johns", datetime(2006, 10, 29, 2, 31, tzinfo=UTC)),
    "23:30 jumps to midnight": ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),
    "three hours back across midnight": ("Antarctica/Casey", datetime(2010, 3, 4, 15, tzinfo=UTC)),
    "two hours of summer time": ("America/St_Johns", datetime(1988, 10, 30, 1, 31, tzinfo=UTC)),
}


@dataclass(frozen=True)
class Walk:
    """The minutes around a moment: each instant with its local time."""

    zone: str
    middle: datetime
    moments: list[DateTime]
    walls: list[datetime]

    def windows(self) -> Iterator[tuple[str, CallingWindow]]:
        excluded = frozenset({self.walls[len(self.walls) // 2].date()})
        for name, window in WINDOWS.items():
            days_off = excluded if "excluded" in name else frozenset[date]()
            yield name, replace(window, timezone=self.zone, excluded_dates=days_off)


def walk_around(zone: str, middle: datetime) -> Walk:
    instants = [middle + MINUTE * step for step in range(-(AROUND // MINUTE), AROUND // MINUTE)]
    walls = [instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for instant in instants]
    return Walk(zone, middle, [pendulum.instance(instant) for instant in instants], walls)


@lru_cache(maxsize=1024)
def open_walls(start: time, end: time, days: frozenset[date]) -> frozenset[datetime]:
    """Return all open minutes in local time, for a window that starts on these weekdays."""
    minutes = set()
    for day in days:
        wall = datetime.combine(day, start)
        minutes.add(wall)
        while (wall := wall + MINUTE).time() != end:
            minutes.add(wall)
    return frozenset(minutes)


def walked(window: CallingWindow, walk: Walk) -> list[bool]:
    """Return for each minute whether its local time is an open minute."""
    first = min(walk.walls).date()
    days = [first + DAY * ahead for ahead in range(-1, (max(walk.walls).date() - first).days + 1)]
    starts = frozenset(d for d in days if d.isoweekday() in window.working_days and d not in window.excluded_dates)
    walls = open_walls(window.start_time or time(0), window.end_time or time(0), starts)
    return [wall in walls for wall in walk.walls]


def disagreements(window: CallingWindow, walk: Walk, asked: range | list[int]) -> Iterator[str]:
    """Compare `is_open` at each minute, and the next opening and closing at some minutes, with the walk."""
    opens = walked(window, walk)
    ahead: dict[bool, DateTime | None] = {True: None, False: None}
    chosen = set(asked)
    for index in reversed(range(len(opens))):
        moment, expected = walk.moments[index], opens[index]
        ahead[expected] = moment
        if window.is_open(moment) != expected:
            yield f"is_open({moment}) is not {expected}"
        if index in chosen and not leads_to(window.next_open(moment), ahead[True], walk):
            yield f"next_open({moment}) is {window.next_open(moment)}, not {ahead[True]}"
        if index in chosen and expected and not leads_to(window.closes_at(moment), ahead[False], walk):
            yield f"closes_at({moment}) is {window.closes_at(moment)}, not {ahead[False]}"


def leads_to(opening: DateTime | None, expected: DateTime | None, walk: Walk) -> bool:
    """Say whether an answer is that of the walk; where the walk ended too early to know, it must lie behind its end."""
    return opening == expected if expected else opening is None or opening > walk.moments[-1]


def tricky_minutes(window: CallingWindow, walk: Walk) -> list[int]:
    """Choose the minutes around each opening and closing, those next to the middle, and some others."""
    opens = walked(window, walk)
    flips = [i for i in range(1, len(opens)) if opens[i] != opens[i - 1]]
    beside = {i + d for i in flips for d in (-2, -1, 0, 1) if 0 <= i + d < len(opens)}
    middle = len(opens) // 2
    return sorted(beside | set(range(0, len(opens), 29)) | set(range(middle - 5, middle + 5)))


def changes_of_offset(zone: str, first_year: int, last_year: int) -> Iterator[datetime]:
    """Find the changes of the UTC offset: step by hours, and by minutes in each hour with a change."""
    there = ZoneInfo(zone)
    hour, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    before = hour.astimezone(there).utcoffset()
    while hour < end:
        after = (hour + HOUR).astimezone(there).utcoffset()
        if after != before:
            minutes = (hour + MINUTE * step for step in range(1, 61))
            yield next(minute for minute in minutes if minute.astimezone(there).utcoffset() != before)
        hour, before = hour + HOUR, after


def complaints_of_tricky_minutes(walk: Walk) -> list[str]:
    return [
        f"{walk.zone}, {name}: {complaint}"
        for name, window in walk.windows()
        for complaint in disagreements(window, walk, tricky_minutes(window, walk))
    ]


@pytest.mark.parametrize("zone", HARD_ZONES)
def test_a_hard_zone_agrees_with_the_walk_around_each_change_of_a_year(zone: str) -> None:
    middles = list(changes_of_offset(zone, 2026, 2026)) or [datetime(2026, 3, 29, 1, tzinfo=UTC)]

    assert [text for middle in middles for text in complaints_of_tricky_minutes(walk_around(zone, middle))] == []


@pytest.mark.parametrize(("zone", "middle"), HARD_MOMENTS.values(), ids=HARD_MOMENTS.keys())
def test_a_hard_moment_of_the_past_agrees_with_the_walk(zone: str, middle: datetime) -> None:
    there = ZoneInfo(zone)
    assert (middle - MINUTE).astimezone(there).utcoffset() != middle.astimezone(there).utcoffset()

    assert complaints_of_tricky_minutes(walk_around(zone, middle)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_zone_agrees_with_the_walk_at_every_minute_around_each_change_of_2026_and_2027() -> None:
    walks = 0
    for zone, middles in one_of_each_behaviour().items():
        for middle in middles or [datetime(2026, 3, 29, 1, tzinfo=UTC)]:
            walk = walk_around(zone, middle)
            every_minute = range(len(walk.moments))
            for name, window in walk.windows():
                assert list(disagreements(window, walk, every_minute)) == [], f"{zone}, {name}"
            walks += 1
    assert walks > 100


def one_of_each_behaviour() -> dict[str, list[datetime]]:
    """Choose one timezone, with its changes, of each group with the same local times in 2026 and 2027."""
    chosen: dict[tuple[object, ...], tuple[str, list[datetime]]] = {}
    for zone in sorted(available_timezones() - {"localtime"}):
        changes = list(changes_of_offset(zone, 2026, 2027))
        first = datetime(2026, 1, 1, tzinfo=UTC)
        offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in [first, *changes]]
        chosen.setdefault((*changes, *offsets), (zone, changes))
    return dict(chosen.values())


HARD_TURNS = [(zone, change) for zone in HARD_ZONES for change in changes_of_offset(zone, 2026, 2026)]
TURNS = [*HARD_TURNS, *HARD_MOMENTS.values(), ("Asia/Kolkata", datetime(2026, 6, 1, tzinfo=UTC))]
# Their clocks were set back across midnight, to the previous day.
TORN = {"America/St_Johns", "Antarctica/Casey"}

Drawn = tuple[CallingWindow, DateTime]


@st.composite
def hard_moments(draw: st.DrawFn) -> Drawn:
    """Draw a window, and an instant within three days of a clock change in its timezone."""
    zone, turn = draw(st.sampled_from(TURNS))
    moment = (
        turn + draw(st.integers(-3 * 86_400, 3 * 86_400)) * SECOND + timedelta(microseconds=draw(st.integers(0, 1)))
    )
    clock = st.none() | st.integers(0, 1439).map(lambda minutes: time(*divmod(minutes, 60)))
    start = draw(clock)
    end = draw(clock.filter(lambda value: value is None or value != start))
    days = draw(st.frozensets(st.integers(1, 7), min_size=1))
    excluded = draw(st.frozensets(st.integers(-4, 4).map(lambda ahead: turn.date() + DAY * ahead), max_size=3))
    return CallingWindow(zone, start, end, days, excluded), pendulum.instance(moment)


def open_by_the_rule(window: CallingWindow, moment: DateTime) -> bool:
    wall = datetime.fromtimestamp(moment.timestamp(), ZoneInfo(window.timezone)).replace(tzinfo=None)
    start, end = window.start_time or time(0), window.end_time or time(0)
    for day in (wall.date(), wall.date() - DAY):
        opens = datetime.combine(day, start)
        closes = datetime.combine(day if end > start else day + DAY, end)
        if opens <= wall < closes and day.isoweekday() in window.working_days and day not in window.excluded_dates:
            return True
    return False


def between(begin: DateTime, end: DateTime) -> Iterator[DateTime]:
    """Sample the minutes of [begin, end), at most some hundreds of them, and its last second."""
    seconds = int((end - begin).total_seconds())
    yield from (begin + SECOND * ahead for ahead in range(0, seconds, max(60, seconds // 400)))
    if seconds:
        yield end - SECOND


@given(hard_moments())
@settings(max_examples=300)
def test_openness_is_what_the_rule_says(drawn: Drawn) -> None:
    window, moment = drawn

    assert window.is_open(moment) == open_by_the_rule(window, moment)


@given(hard_moments())
@settings(max_examples=150)
def test_nothing_is_open_before_the_next_opening(drawn: Drawn) -> None:
    window, moment = drawn
    opening = window.next_open(moment)

    assert opening is not None
    assert opening >= moment
    assert open_by_the_rule(window, opening)
    assert window.next_open(opening) == opening
    assert not any(open_by_the_rule(window, sample) for sample in between(moment, opening))


@given(hard_moments())
@settings(max_examples=150)
def test_all_is_open_before_the_closing_and_nothing_at_it(drawn: Drawn) -> None:
    window, moment = drawn
    opening = window.next_open(moment)
    assert opening is not None
    closing = window.closes_at(opening)

    assert all(open_by_the_rule(window, sample) for sample in between(opening, closing or opening + HORIZON))
    assert closing is None or (closing > opening and not open_by_the_rule(window, closing))


@given(hard_moments())
@settings(max_examples=150)
def test_the_open_span_holds_its_instant_and_has_no_break(drawn: Drawn) -> None:
    window, moment = drawn
    opening = window.next_open(moment)
    assert opening is not None
    opened, closes = window.open_span(opening)
    day_before, _ = window.day_span(window.day_span(opening)[0] - SECOND)

    assert closes == window.closes_at(opening)
    assert day_before <= opened <= opening
    assert opened == day_before or not open_by_the_rule(window, opened - SECOND)
    assert all(open_by_the_rule(window, sample) for sample in between(opened, opening))


@given(hard_moments())
@settings(max_examples=80)
def test_the_day_span_reaches_from_the_first_to_the_last_instant_of_its_local_day(drawn: Drawn) -> None:
    window, moment = drawn
    begin, end = window.day_span(moment)
    day = window.local_day(moment)

    assert begin <= moment < end
    assert window.local_day(begin) == day == window.local_day(end - SECOND)
    assert day not in {window.local_day(sample) for sample in between(begin - 2 * DAY, begin)}
    assert day not in {window.local_day(sample) for sample in between(end, end + 2 * DAY)}
    assert window.timezone in TORN or {window.local_day(sample) for sample in between(begin, end)} == {day}


@given(st.lists(hard_moments(), min_size=1, max_size=3))
@settings(max_examples=40)
def test_windows_open_together_when_a_naive_search_says_so(drawn: list[Drawn]) -> None:
    windows = [window for window, _ in drawn]
    moment = drawn[0][1].start_of("minute")
    minutes = (moment + MINUTE * step for step in range(2 * 24 * 60))
    naive = next((minute for minute in minutes if all(open_by_the_rule(window, minute) for window in windows)), None)
    opening = next_open_all(windows, moment)

    assert opening == naive if naive else opening is None or opening >= moment + 2 * DAY
