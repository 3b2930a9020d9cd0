"""Calling hours: several intervals a weekday, written by operators, through every change of daylight saving."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.calling_hours import CallingHours, WrittenHours
from dialer.domain.public_holidays import PublicHolidays
from dialer.domain.window import CallingWindow
from dialer.errors import InvalidInput

MINUTE = timedelta(minutes=1)
# Around changes of the clock by an hour, half an hour, two hours, at midnight, and of a whole day.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Tokyo", datetime(2026, 6, 1, tzinfo=UTC)),
]


def clock(minute: int) -> str:
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


@st.composite
def hours(draw: st.DrawFn) -> WrittenHours:
    """Draw intervals of a whole week that do not overlap: cuts of the week, every other piece of it, a day at most."""
    cuts = sorted(draw(st.sets(st.integers(0, 7 * 24 * 4 - 1), min_size=2, max_size=16)))
    written: dict[str, list[list[str]]] = {}
    for begin, end in list(pairwise(cuts))[::2]:
        if end - begin < 24 * 4:
            written.setdefault(str(begin // 96 + 1), []).append([clock(begin * 15), clock(end * 15)])
    return written or {"3": [["22:00", "06:00"]]}


def is_open_by_hand(written: WrittenHours, excluded: set[date], wall: datetime) -> bool:
    """Say whether this minute of the wall clock is in an interval of its own day or of the day before."""
    for ago in (0, 1):
        day = (wall - timedelta(days=ago)).date()
        for begin, end in written.get(str(day.isoweekday()), []):
            start = datetime.combine(day, time.fromisoformat(begin))
            until = datetime.combine(day, time.fromisoformat(end))
            until += timedelta(days=until <= start)
            if day not in excluded and start <= wall < until:
                return True
    return False


@given(hours(), st.sampled_from(CHANGES), st.booleans(), st.integers(0, 2 * 24 * 60))
def test_hours_open_and_close_as_a_walk_from_minute_to_minute_finds(
    written: WrittenHours, change: tuple[str, datetime], excludes: bool, minute: int
) -> None:
    zone, moment = change
    excluded = {moment.astimezone(ZoneInfo(zone)).date()} if excludes else set()
    window = CallingWindow(zone, excluded_dates=frozenset(excluded), calling_hours=CallingHours.read(written))
    since = moment - timedelta(days=1) + minute * MINUTE
    walk = [since + n * MINUTE for n in range(2 * 24 * 60)]
    walls = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in walk]
    is_open = [is_open_by_hand(written, excluded, wall) for wall in walls]
    asked = pendulum.instance(since)
    assert window.is_open(asked) == is_open[0]
    other = next((at for at, now_open in zip(walk, is_open, strict=True) if now_open != is_open[0]), None)
    found = window.closes_at(asked) if is_open[0] else window.next_open(asked)
    if other is None:
        assert found is None or found > walk[-1]
    else:
        assert found == other


def test_holidays_are_excluded_dates_with_the_night_that_begins_on_them() -> None:
    window = CallingWindow("Europe/Berlin", time(20), time(4), holidays=PublicHolidays("DE"))
    christmas_eve = pendulum.datetime(2026, 12, 24, 19)
    assert window.closes_at(christmas_eve) == pendulum.datetime(2026, 12, 25, 3)
    assert window.next_open(pendulum.datetime(2026, 12, 25, 3)) == pendulum.datetime(2026, 12, 28, 19)
    all_day = CallingWindow("UTC", working_days=frozenset(range(1, 8)), holidays=PublicHolidays("DE"))
    assert all_day.closes_at(christmas_eve) == pendulum.datetime(2026, 12, 25)


@given(hours())
def test_what_is_read_is_written_as_it_was(written: WrittenHours) -> None:
    read = CallingHours.read(written)
    assert CallingHours.read(read.written()) == read
    assert read.written() == dict(sorted(written.items()))


def test_the_short_form_is_one_interval_on_each_working_day() -> None:
    short = CallingHours.daily(time(9), None, frozenset({1, 7}))
    assert short == CallingHours.read({"7": [["09:00", "24:00"]], "1": [["09:00", "00:00"]], "2": []})


@pytest.mark.parametrize(
    "written",
    [
        {"1": [["00:00", "24:00"]]},
        {"1": [["09:00", "12:00"], ["12:00", "13:00"]]},
        {"1": [["13:00", "18:00"], ["09:00", "12:00"]]},
        {"1": [["22:00", "06:00"]], "2": [["06:00", "09:00"]]},
        {"7": [["22:00", "06:00"]], "1": [["06:00", "09:00"]]},
    ],
)
def test_intervals_may_touch_and_come_in_any_order(written: WrittenHours) -> None:
    assert CallingHours.read(written)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({}, "must name at least one interval"),
        ({"1": []}, "must name at least one interval"),
        ({"0": [["09:00", "12:00"]]}, "names the day 0; days are 1 (Monday) to 7 (Sunday)"),
        ({"monday": []}, "names the day monday; days are 1 (Monday) to 7 (Sunday)"),
        ({"1": [["09:00", "09:00"]]}, "day 1: from and to are both 09:00"),
        ({"1": [["00:00", "00:00"]]}, "day 1: from and to are both 00:00"),
        ({"1": [["9:00", "12:00"]]}, "day 1: times must be written as in 09:30"),
        ({"1": [["24:00", "12:00"]]}, "day 1: times must be written as in 09:30"),
        ({"1": [["09:00", "24:01"]]}, "day 1: times must be written as in 09:30"),
        ({"1": [["09:00"]]}, "day 1: an interval is [from, to]"),
        ({"1": [["09:00", "12:00", "13:00"]]}, "day 1: an interval is [from, to]"),
        ({"2": [["00:00", "00:01"]] * 25}, "day 2 has more than 24 intervals"),
        (
            {"1": [["09:00", "12:00"], ["11:59", "13:00"]]},
            "day 1: the interval from 11:59 overlaps the one before it",
        ),
        (
            {"1": [["22:00", "06:00"]], "2": [["05:59", "09:00"]]},
            "day 2: the interval from 05:59 overlaps the one before it",
        ),
        (
            {"7": [["22:00", "06:00"]], "1": [["05:59", "09:00"]]},
            "day 1: the interval from 05:59 overlaps the one before it",
        ),
    ],
)
def test_hours_that_cannot_be_meant_are_refused_with_their_day(written: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        CallingHours.read(written)
    assert [(error.field, error.reason) for error in refusal.value.errors] == [("calling_hours", reason)]
