"""The times of the console's pages: written in a zone, whatever time an operator has set."""

import pendulum
import pytest
from pendulum import DateTime

from dialer.console.formats import typed, when


@pytest.mark.parametrize(
    ("at", "written", "in_field"),
    [
        (pendulum.datetime(2030, 1, 31, 12), "Thu 31 Jan 2030 13:00 CET", "2030-01-31T13:00"),
        (pendulum.datetime(9999, 12, 31, 23, 59, 59), "Fri 31 Dec 9999 23:59 UTC", "9999-12-31T23:59"),
    ],
)
def test_a_time_is_written_in_its_zone_if_it_has_one_there(at: DateTime, written: str, in_field: str) -> None:
    assert f">{written}<" in when(at, "Europe/Berlin")
    assert typed(at, "Europe/Berlin") == in_field
