"""Lanes: written as text and read back, and when all their zones are open at once."""

from datetime import time, timedelta
from uuid import UUID

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.ids import NumberId
from dialer.domain.lane import Lane, zones_lane
from dialer.domain.window import CallingWindow

ZONES = ("America/New_York", "America/Chicago", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Etc/GMT+5")
NINE_TO_FIVE = CallingWindow("UTC", time(9), time(17))
MONDAY = pendulum.datetime(2026, 3, 2)


def test_no_text_asks_for_nothing_beyond_the_batch() -> None:
    assert Lane.parse("") == Lane()
    assert Lane().windows(NINE_TO_FIVE) == [NINE_TO_FIVE]


@given(st.lists(st.sampled_from(ZONES), unique=True), st.none() | st.uuids().map(NumberId))
def test_a_lane_is_read_as_it_was_written(zones: list[str], number: NumberId | None) -> None:
    text = zones_lane(zones) + (f"|{number}" if number else "")
    assert Lane.parse(text) == Lane(tuple(zones), number)
    assert str(Lane(tuple(zones), number)) == text


def test_the_window_is_read_in_each_zone_of_the_lane_and_not_in_the_batch_s_own() -> None:
    windows = Lane.parse("Europe/Berlin,Asia/Kolkata").windows(NINE_TO_FIVE)
    assert [window.timezone for window in windows] == ["Europe/Berlin", "Asia/Kolkata"]
    assert {(window.start_time, window.end_time) for window in windows} == {(time(9), time(17))}


def test_a_number_alone_leaves_the_window_to_the_batch() -> None:
    assert Lane.parse(f"|{UUID(int=1)}").windows(NINE_TO_FIVE) == [NINE_TO_FIVE]


@pytest.mark.parametrize(
    ("lane", "opens_at"),
    [
        ("", MONDAY.add(hours=9)),
        (f"|{UUID(int=1)}", MONDAY.add(hours=9)),
        ("Asia/Kolkata", MONDAY.add(hours=3, minutes=30)),
        ("America/New_York", MONDAY.add(hours=14)),
        ("America/New_York,America/Chicago", MONDAY.add(hours=15)),
        ("Europe/Berlin,America/Chicago", MONDAY.add(hours=15)),
        ("Asia/Tokyo,America/New_York", None),
    ],
)
def test_the_next_opening_is_the_first_moment_at_which_all_zones_are_open(lane: str, opens_at: DateTime | None) -> None:
    assert Lane.parse(lane).next_open(NINE_TO_FIVE, MONDAY) == opens_at


@given(st.lists(st.sampled_from(ZONES), min_size=1, max_size=3, unique=True), st.integers(0, 60 * 24 * 200))
def test_the_next_opening_is_what_a_walk_by_quarters_of_an_hour_finds(zones: list[str], minutes: int) -> None:
    at = pendulum.datetime(2026, 1, 1).add(minutes=minutes)
    windows = [CallingWindow(zone, time(9), time(17)) for zone in zones]
    week = range(8 * 24 * 4)
    walked = (at + timedelta(minutes=15 * step) for step in week)
    opening = Lane(tuple(zones)).next_open(NINE_TO_FIVE, at)
    first = next((moment for moment in walked if all(window.is_open(moment) for window in windows)), None)
    if first is None:
        assert opening is None or opening > at.add(days=7)
    else:
        assert opening is not None
        assert first - timedelta(minutes=15) < opening <= first
        assert all(window.is_open(opening) for window in windows)
