"""How moments are written."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialer.domain.timezones import in_utc, times_in_utc

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=OFFSETS).filter(lambda at: 1 < at.year < 9999))
@settings(max_examples=20)
def test_a_moment_ends_in_z_wherever_it_was_written(at: datetime) -> None:
    written = in_utc(at)
    assert written.endswith("Z")
    assert times_in_utc({"at": at.isoformat(), "ended_at": written}) == {"at": written, "ended_at": written}


@pytest.mark.parametrize("value", [None, "soon", "2030-01-31T09:00:00", "0001-01-01T00:00:00+14:00", 5])
def test_what_is_no_moment_stays_as_it_is(value: object) -> None:
    assert times_in_utc({"at": value, "name": "2030-01-31T09:00:00+00:00"}) == {
        "at": value,
        "name": "2030-01-31T09:00:00+00:00",
    }
