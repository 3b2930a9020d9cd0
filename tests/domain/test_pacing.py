"""How many calls may start: the free slots of a batch, and the rate of a trunk."""

from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.ids import TrunkId
from dialer.domain.pacing import RateLimit, free_slots

TRUNK = TrunkId(UUID(int=1))


@given(
    limit=st.integers(0, 100),
    in_progress=st.integers(0, 200),
    wanted=st.integers(0, 1000),
    day_cap=st.none() | st.integers(0, 500),
    today=st.integers(0, 600),
)
def test_free_slots_are_never_negative_never_over_and_never_fewer_than_allowed(
    limit: int, in_progress: int, wanted: int, day_cap: int | None, today: int
) -> None:
    free = free_slots(limit, in_progress, wanted, day_cap, today)

    def is_allowed(calls: int) -> bool:
        within_cap = day_cap is None or today + calls <= day_cap
        return in_progress + calls <= limit and calls <= wanted and within_cap

    assert free >= 0
    assert free == 0 or is_allowed(free)
    assert not is_allowed(free + 1)


@pytest.mark.parametrize(
    ("calls_per_second", "limit", "window_ms"),
    [(10, 10, 1000), (1, 1, 1000), (0.5, 1, 2000), (2.5, 2, 800), (0.001, 1, 1_000_000), (0.3, 1, 3334), (1.5, 1, 667)],
)
def test_a_rate_is_a_whole_number_of_calls_in_a_window(calls_per_second: float, limit: int, window_ms: int) -> None:
    assert RateLimit.per_second(TRUNK, calls_per_second) == RateLimit(TRUNK, limit, window_ms)


@given(st.integers(1, 99_999))
def test_a_whole_rate_is_so_many_calls_in_a_second(calls_per_second: int) -> None:
    assert RateLimit.per_second(TRUNK, float(calls_per_second)) == RateLimit(TRUNK, calls_per_second, 1000)


@given(st.integers(1, 99_999_999).map(lambda thousandths: thousandths / 1000))
def test_a_window_never_allows_more_than_the_rate_and_hardly_less(calls_per_second: float) -> None:
    rate, asked = RateLimit.per_second(TRUNK, calls_per_second), Fraction(str(calls_per_second))
    assert Fraction(rate.limit * 1000, rate.window_ms) <= asked
    assert rate.limit >= 1
    assert Fraction(rate.limit * 1000, rate.window_ms - 1) > asked
