"""When a trunk's circuit breaker opens, and for how long."""

import pytest

from dialer.domain.breaker import BREAK_AFTER, FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, next_pause
from dialer.domain.timeouts import GRANT_SECONDS


@pytest.mark.parametrize(
    ("failures", "pause_seconds", "is_probe", "expected"),
    [
        (1, 0, False, None),
        (BREAK_AFTER - 1, 0, False, None),
        (BREAK_AFTER, 0, False, FIRST_PAUSE_SECONDS),
        # Calls that were under way when it opened.
        (BREAK_AFTER + 5, FIRST_PAUSE_SECONDS, False, None),
        (BREAK_AFTER + 1, FIRST_PAUSE_SECONDS, True, 2 * FIRST_PAUSE_SECONDS),
        (BREAK_AFTER + 9, LAST_PAUSE_SECONDS, True, LAST_PAUSE_SECONDS),
    ],
)
def test_it_opens_after_ten_failures_in_a_row_and_each_failed_probe_doubles_the_pause(
    failures: int, pause_seconds: float, is_probe: bool, expected: float | None
) -> None:
    assert next_pause(failures, pause_seconds, is_probe=is_probe) == expected


def test_no_grant_from_before_it_opened_is_good_when_it_is_probed() -> None:
    assert FIRST_PAUSE_SECONDS > GRANT_SECONDS
