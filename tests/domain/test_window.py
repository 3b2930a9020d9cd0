"""The calling window: cases with their reasons, and what is refused."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pendulum
import pytest
from pendulum import DateTime

from dialer.domain.window import HORIZON, CallingWindow, next_open_all
from dialer.errors import InvalidInput

EVERY_DAY = frozenset(range(1, 8))
DAY = timedelta(days=1)


def at(text: str) -> DateTime:
    """Read an instant, written as a local wall clock with its offset."""
    return pendulum.instance(datetime.fromisoformat(text))


def window(
    zone: str, hours: str = "", days: frozenset[int] = EVERY_DAY, excluded: frozenset[date] = frozenset()
) -> CallingWindow:
    """Make a window from hours such as 09:00-18:00; a side that is left out is None."""
    start, end = (time.fromisoformat(side) if side else None for side in (hours or "-").split("-"))
    return CallingWindow(zone, start, end, days, excluded)


def case(reason: str, *values: object) -> Any:
    return pytest.param(*values, id=reason)


WEEKDAYS = frozenset({1, 2, 3, 4, 5})
OFFICE = window("Europe/Berlin", "09:00-18:00", WEEKDAYS)
FRIDAY_NIGHT = window("Europe/Berlin", "22:00-06:00", frozenset({5}))
NEW_YORK_SMALL_HOURS = window("America/New_York", "01:15-01:45")
SPRING_GAP = window("Europe/Berlin", "02:30-05:00")
INSIDE_THE_GAP = window("Europe/Berlin", "02:10-02:50")
CAIRO_AFTER_MIDNIGHT = window("Africa/Cairo", "00:15-03:00")
HAVANA_WHOLE_SUNDAY = window("America/Havana", "", frozenset({7}))
LORD_HOWE = window("Australia/Lord_Howe", "01:40-02:15")
TROLL = window("Antarctica/Troll", "01:30-02:00")
CASABLANCA = window("Africa/Casablanca", "02:30-04:00")
APIA = window("Pacific/Apia", "09:00-17:00")
APIA_THURSDAY_NIGHT = window("Pacific/Apia", "22:00-06:00", frozenset({4}))
HOLIDAY = window("Europe/Berlin", "22:00-06:00", excluded=frozenset({date(2026, 12, 24)}))
OLD_PARIS = window("Europe/Paris", "09:00-18:00")


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        case("the start belongs to the window", OFFICE, "2026-06-01T09:00+02:00", True),
        case("the second before the start does not", OFFICE, "2026-06-01T08:59:59+02:00", False),
        case("the microsecond before the end does", OFFICE, "2026-06-01T17:59:59.999999+02:00", True),
        case("the end does not", OFFICE, "2026-06-01T18:00+02:00", False),
        case("no window on a day off", OFFICE, "2026-06-06T12:00+02:00", False),
        case("the offset of the instant is not the zone's", OFFICE, "2026-06-01T02:30-05:00", True),
        case("a night begins on its own weekday", FRIDAY_NIGHT, "2026-06-05T23:00+02:00", True),
        case("and goes on into a day off", FRIDAY_NIGHT, "2026-06-06T05:59+02:00", True),
        case("but not on the next evening", FRIDAY_NIGHT, "2026-06-06T23:00+02:00", False),
        case("nor after midnight of its weekday", FRIDAY_NIGHT, "2026-06-05T01:00+02:00", False),
        case("the first pass of a repeated hour counts", NEW_YORK_SMALL_HOURS, "2026-11-01T01:30-04:00", True),
        case("and the second", NEW_YORK_SMALL_HOURS, "2026-11-01T01:30-05:00", True),
        case("but not the time between", NEW_YORK_SMALL_HOURS, "2026-11-01T01:00-05:00", False),
        case("after the gap a window begun inside it is open", SPRING_GAP, "2026-03-29T03:00+02:00", True),
        case("before the gap it is not", SPRING_GAP, "2026-03-29T01:59:59+01:00", False),
        case("a window that the gap swallows does not open", INSIDE_THE_GAP, "2026-03-29T03:00+02:00", False),
        case("an excluded date has no evening", HOLIDAY, "2026-12-24T23:00+01:00", False),
        case("nor the small hours after it", HOLIDAY, "2026-12-25T01:00+01:00", False),
        case("but those of the evening before", HOLIDAY, "2026-12-24T01:00+01:00", True),
        case("midnight as the end is the end of the day", window("UTC", "18:00-00:00"), "2026-06-01T23:59+00:00", True),
        case("no end is the end of the day as well", window("UTC", "18:00-"), "2026-06-02T00:00+00:00", False),
        case("no start is the start of the day", window("UTC", "-08:00"), "2026-06-01T00:00+00:00", True),
        case("no hours are the whole day", window("UTC", "", frozenset({1})), "2026-06-01T23:59:59+00:00", True),
        case("from midnight without an end too", window("UTC", "00:00-", frozenset({1})), "2026-06-01T12:00Z", True),
        case("to midnight without a start too", window("UTC", "-00:00", frozenset({1})), "2026-06-01T12:00Z", True),
        case("a clock before there were zones", OLD_PARIS, "1850-06-01T12:00+00:00", True),
        case("the last year with days to look ahead to", window("UTC", ""), "9997-12-31T12:00Z", True),
        case("the year after it", window("UTC", ""), "9998-01-01T00:00Z", False),
        case("the last moment of all", OFFICE, "9999-12-31T23:59:59Z", False),
    ],
)
def test_a_window_is_open_by_the_wall_clock_and_its_starting_day(
    hours: CallingWindow, moment: str, expected: bool
) -> None:
    assert hours.is_open(at(moment)) is expected


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        case("later today", OFFICE, "2026-06-01T07:00+02:00", "2026-06-01T09:00+02:00"),
        case("over the weekend", OFFICE, "2026-06-05T18:00+02:00", "2026-06-08T09:00+02:00"),
        case("an open instant answers itself", OFFICE, "2026-06-01T09:30:00.25+02:00", "2026-06-01T09:30:00.25+02:00"),
        case("fractions do not come before the start", OFFICE, "2026-06-01T08:59:59.9+02:00", "2026-06-01T09:00+02:00"),
        case("a gap delays to its end", SPRING_GAP, "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
        case("a gap swallows a whole window", INSIDE_THE_GAP, "2026-03-29T01:00+01:00", "2026-03-30T02:10+02:00"),
        case("the second pass", NEW_YORK_SMALL_HOURS, "2026-11-01T01:45-04:00", "2026-11-01T01:15-05:00"),
        case("no midnight in spring", CAIRO_AFTER_MIDNIGHT, "2026-04-23T23:00+02:00", "2026-04-24T01:00+03:00"),
        case("a Sunday without midnight", HAVANA_WHOLE_SUNDAY, "2026-03-07T23:00-05:00", "2026-03-08T01:00-04:00"),
        case("half an hour again", LORD_HOWE, "2026-04-05T01:30+10:30", "2026-04-05T01:40+10:30"),
        case("half an hour missing", window("Australia/Lord_Howe", "02:10-03:00"), "2026-10-04T01:00+10:30",
             "2026-10-04T02:30+11:00"),
        case("two hours missing", TROLL, "2026-03-29T00:00+00:00", "2026-03-30T01:30+02:00"),
        case("Ramadan ends", CASABLANCA, "2026-03-22T01:59+00:00", "2026-03-22T03:00+01:00"),
        case("a day is missing", APIA, "2011-12-29T17:00-10:00", "2011-12-31T09:00+14:00"),
        case("an excluded date is passed over", HOLIDAY, "2026-12-24T06:00+01:00", "2026-12-25T22:00+01:00"),
        case("forty minutes back for four days", window("Africa/Freetown", "09:00-10:00"), "1939-09-03T12:00-00:40",
             "1939-09-04T09:00-00:40"),
        case("summer time for a week", window("America/Recife", "09:00-10:00"), "2000-10-10T12:00-02:00",
             "2000-10-11T09:00-02:00"),
    ],
)  # fmt: skip
def test_the_next_opening_is_the_first_instant_that_the_wall_shows(
    hours: CallingWindow, moment: str, expected: str
) -> None:
    opening = hours.next_open(at(moment))

    assert opening == at(expected)
    assert opening is not None
    assert opening.timezone_name == "UTC"


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        case("today", OFFICE, "2026-06-01T09:30:00.5+02:00", "2026-06-01T18:00+02:00"),
        case("tomorrow morning", FRIDAY_NIGHT, "2026-06-05T23:00+02:00", "2026-06-06T06:00+02:00"),
        case("the first pass ends", NEW_YORK_SMALL_HOURS, "2026-11-01T01:30-04:00", "2026-11-01T01:45-04:00"),
        case("the second pass ends", NEW_YORK_SMALL_HOURS, "2026-11-01T01:30-05:00", "2026-11-01T01:45-05:00"),
        case("clocks go back before the end", window("America/New_York", "01:30-02:30"), "2026-11-01T01:59-04:00",
             "2026-11-01T01:00-05:00"),
        case("half an hour back to before the start", LORD_HOWE, "2026-04-05T01:45+11:00", "2026-04-05T01:30+10:30"),
        case("half an hour back to after it", window("Australia/Lord_Howe", "01:20-02:15"), "2026-04-05T01:45+11:00",
             "2026-04-05T02:15+10:30"),
        case("a gap cuts the end off", window("Europe/Berlin", "01:00-02:30"), "2026-03-29T01:30+01:00",
             "2026-03-29T03:00+02:00"),
        case("a missing day takes a night's end with it", APIA_THURSDAY_NIGHT, "2011-12-29T23:00-10:00",
             "2011-12-31T00:00+14:00"),
        case("whole days join", window("UTC", "", WEEKDAYS), "2026-06-01T12:00+00:00", "2026-06-06T00:00+00:00"),
        case("until an excluded date", window("UTC", excluded=frozenset({date(2026, 9, 1)})), "2026-06-01T12:00+00:00",
             "2026-09-01T00:00+00:00"),
        case("midnight falls back to 23:00 of a working day", window("Asia/Beirut", "", frozenset({6})),
             "2026-10-24T23:30+03:00", "2026-10-25T00:00+02:00"),
    ],
)  # fmt: skip
def test_a_window_closes_at_the_first_instant_that_is_not_open(
    hours: CallingWindow, moment: str, expected: str
) -> None:
    closing = hours.closes_at(at(moment))

    assert closing == at(expected)
    assert closing is not None
    assert closing.timezone_name == "UTC"


def test_a_window_of_all_hours_never_closes() -> None:
    assert window("America/New_York").closes_at(at("2026-06-01T12:00+00:00")) is None


def test_a_closing_behind_the_horizon_is_not_reported() -> None:
    now = at("2026-06-01T00:00+00:00")
    last_in_sight, first_behind = (frozenset({(now + HORIZON - ago).date()}) for ago in (DAY, 0 * DAY))

    assert window("UTC", excluded=last_in_sight).closes_at(now) == now + HORIZON - DAY
    assert window("UTC", excluded=first_behind).closes_at(now) is None


def test_a_window_whose_every_day_is_excluded_never_opens() -> None:
    now = at("2026-06-01T00:00+00:00")
    days = [now.date() + DAY * ahead for ahead in range(HORIZON.days)]

    assert window("UTC", excluded=frozenset(days)).next_open(now) is None
    assert window("UTC", excluded=frozenset(days[:-1])).next_open(now) == now + HORIZON - DAY


@pytest.mark.parametrize("ask", [CallingWindow.closes_at, CallingWindow.open_span])
def test_a_closed_window_is_not_asked_when_it_closes(ask: Any) -> None:
    with pytest.raises(ValueError, match="the calling window is closed at 2026-06-06"):
        ask(OFFICE, at("2026-06-06T12:00+02:00"))


@pytest.mark.parametrize(
    ("zone", "moment", "begin", "end"),
    [
        case("a plain day", "Asia/Tokyo", "2026-06-01T12:00+09:00", "2026-06-01T00:00+09:00", "2026-06-02T00:00+09:00"),
        case("its first instant", "Asia/Tokyo", "2026-06-01T00:00+09:00", "2026-06-01T00:00+09:00",
             "2026-06-02T00:00+09:00"),
        case("23 hours", "Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        case("25 hours", "Europe/Berlin", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        case("midnight is missing", "Africa/Cairo", "2026-04-24T12:00+03:00", "2026-04-24T01:00+03:00",
             "2026-04-25T00:00+03:00"),
        case("before a missing midnight", "Africa/Cairo", "2026-04-23T12:00+02:00", "2026-04-23T00:00+02:00",
             "2026-04-24T01:00+03:00"),
        case("midnight comes twice", "America/Havana", "2026-11-01T12:00-05:00", "2026-11-01T00:00-04:00",
             "2026-11-02T00:00-05:00"),
        case("23:00 comes twice", "Asia/Beirut", "2026-10-24T12:00+03:00", "2026-10-24T00:00+03:00",
             "2026-10-25T00:00+02:00"),
        case("before a missing day", "Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-29T00:00-10:00",
             "2011-12-31T00:00+14:00"),
        case("after a missing day", "Pacific/Apia", "2011-12-31T12:00+14:00", "2011-12-31T00:00+14:00",
             "2012-01-01T00:00+14:00"),
        case("a day of 47 hours", "Pacific/Kwajalein", "1969-09-30T12:00-12:00", "1969-09-30T00:00+11:00",
             "1969-10-01T00:00-12:00"),
        case("a torn day is spanned whole", "America/St_Johns", "2006-10-28T12:00-02:30", "2006-10-28T00:00-02:30",
             "2006-10-29T00:00-03:30"),
        case("and so is the day that tore it", "America/St_Johns", "2006-10-29T12:00-03:30", "2006-10-29T00:00-02:30",
             "2006-10-30T00:00-03:30"),
    ],
)  # fmt: skip
def test_the_span_of_a_local_day_is_all_of_it(zone: str, moment: str, begin: str, end: str) -> None:
    assert window(zone).day_span(at(moment)) == (at(begin), at(end))


def test_the_local_day_is_the_one_in_the_windows_zone() -> None:
    moment = at("2026-06-01T23:30+00:00")

    assert window("Asia/Tokyo").local_day(moment) == date(2026, 6, 2)
    assert window("America/New_York").local_day(moment) == date(2026, 6, 1)


@pytest.mark.parametrize(
    ("hours", "moment", "opened", "closes"),
    [
        case("a working day", OFFICE, "2026-06-01T12:00+02:00", "2026-06-01T09:00+02:00", "2026-06-01T18:00+02:00"),
        case("its first instant", OFFICE, "2026-06-01T09:00+02:00", "2026-06-01T09:00+02:00", "2026-06-01T18:00+02:00"),
        case("a night", FRIDAY_NIGHT, "2026-06-06T01:00+02:00", "2026-06-05T22:00+02:00", "2026-06-06T06:00+02:00"),
        case("the second pass only", NEW_YORK_SMALL_HOURS, "2026-11-01T01:30-05:00", "2026-11-01T01:15-05:00",
             "2026-11-01T01:45-05:00"),
        case("no further back than the day before", window("UTC", "", WEEKDAYS), "2026-06-04T12:00+00:00",
             "2026-06-03T00:00+00:00", "2026-06-06T00:00+00:00"),
    ],
)  # fmt: skip
def test_the_open_span_is_the_interval_without_a_break(
    hours: CallingWindow, moment: str, opened: str, closes: str
) -> None:
    assert hours.open_span(at(moment)) == (at(opened), at(closes))


def test_several_windows_open_together_when_the_last_of_them_does() -> None:
    coasts = [window("America/New_York", "09:00-17:00"), window("America/Los_Angeles", "09:00-17:00")]

    assert next_open_all(coasts, at("2026-06-01T09:00-04:00")) == at("2026-06-01T12:00-04:00")
    assert next_open_all(coasts, at("2026-06-01T16:00-04:00")) == at("2026-06-01T16:00-04:00")
    assert next_open_all(coasts, at("2026-06-01T17:00-04:00")) == at("2026-06-02T12:00-04:00")


def test_windows_that_never_meet_never_open_together() -> None:
    coasts = [window("America/New_York", "09:00-11:00"), window("America/Los_Angeles", "09:00-11:00")]

    assert next_open_all(coasts, at("2026-06-01T09:00-04:00")) is None


def test_without_windows_everything_is_open() -> None:
    moment = at("2026-06-01T09:00:00.5-04:00")

    assert next_open_all([], moment) == moment


NOT_ZONES = [
    "", " ", ".", "..", "../etc/passwd", "/etc/passwd", "UTC\0", "UTC ", "Europe", "Europe/", "Mars/Olympus",
    "localtime", "zone.tab", "tzdata.zi", "é", "\ud800", "A" * 100_000, "+02:00",
]  # fmt: skip


@pytest.mark.parametrize("zone", NOT_ZONES, ids=lambda zone: ascii(zone[:20]))
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        CallingWindow(zone)

    assert [error.field for error in refusal.value.errors] == ["timezone"]
    assert "IANA" in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "reason", "values"),
    [
        case("equal times", "end_time", "must not equal start_time", {"start_time": time(9), "end_time": time(9)}),
        case("midnight twice", "end_time", "must not equal start_time", {"start_time": time(0), "end_time": time(0)}),
        case("seconds", "start_time", "HH:MM", {"start_time": time(9, 0, 1)}),
        case("fractions", "end_time", "HH:MM", {"end_time": time(9, 0, 0, 1)}),
        case("an offset", "start_time", "HH:MM", {"start_time": time(9, tzinfo=timezone(timedelta(hours=2)))}),
        case("UTC as an offset", "end_time", "HH:MM", {"end_time": time(9, tzinfo=UTC)}),
        case("no days", "working_days", "at least one", {"working_days": frozenset()}),
        case("day 0", "working_days", "from 1 (Monday)", {"working_days": frozenset({0, 1})}),
        case("day 8", "working_days", "from 1 (Monday)", {"working_days": frozenset({8})}),
        case("a datetime", "excluded_dates", "without a", {"excluded_dates": frozenset({at("2026-01-01T00:00Z")})}),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_used_is_named_with_its_reason(field: str, reason: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        CallingWindow("UTC", **values)

    assert [error.field for error in refusal.value.errors] == [field]
    assert reason in refusal.value.errors[0].reason


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refusal:
        CallingWindow("Mars/Olympus", time(9, 0, 1), time(9, 0, 1), frozenset())

    assert [error.field for error in refusal.value.errors] == [
        "timezone",
        "start_time",
        "end_time",
        "end_time",
        "working_days",
    ]


def test_an_instant_without_an_offset_is_not_guessed() -> None:
    with pytest.raises(TypeError):
        OFFICE.is_open(pendulum.naive(2026, 6, 1, 12))


def test_windows_of_the_same_settings_are_equal() -> None:
    assert window("UTC", "09:00-18:00") == window("UTC", "09:00-18:00")
    assert hash(window("UTC", "09:00-18:00")) == hash(window("UTC", "09:00-18:00"))
    assert window("UTC", "09:00-18:00") != window("UTC", "09:00-17:00")
