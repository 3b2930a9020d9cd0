"""How many calls may start, and who takes a shared trunk: compared with a water-filling that is written another way."""

from collections import Counter
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.ids import TrunkId
from dialer.domain.pacing import Demand, RateLimit, fair_order, free_slots

TRUNK = TrunkId(UUID(int=1))
DEMANDS = st.lists(
    st.builds(Demand, in_progress=st.integers(0, 8), wanted=st.integers(0, 8), weight=st.integers(1, 10)), max_size=6
)


def shares(demands: list[Demand], places: int) -> tuple[list[int], set[int]]:
    """Fill with water: what each demand gets below the surface, and which ones at the surface may get one more.

    The surface is the highest level, in calls per weight, that all who still want more can be raised to.
    """
    levels = {Fraction(n, demand.weight) for demand in demands for n in range(17)} | {Fraction(0)}
    poured = {level: [_up_to(demand, level) for demand in demands] for level in levels}
    surface = max(level for level in levels if sum(poured[level]) <= places)
    got = poured[surface]
    at_surface = {
        index
        for index, demand in enumerate(demands)
        if got[index] < demand.wanted and Fraction(demand.in_progress + got[index], demand.weight) == surface
    }
    return got, at_surface


def _up_to(demand: Demand, level: Fraction) -> int:
    whole = -int(-level * demand.weight // 1)
    return min(demand.wanted, max(0, whole - demand.in_progress))


@given(DEMANDS)
def test_each_prefix_of_the_order_is_the_max_min_fair_share_of_so_many_places(demands: list[Demand]) -> None:
    order = fair_order(dict(enumerate(demands)))
    for places in range(len(order) + 1):
        given_to = Counter(order[:places])
        got, at_surface = shares(demands, places)
        more = {index for index in range(len(demands)) if given_to[index] != got[index]}
        assert more <= at_surface
        assert all(given_to[index] == got[index] + 1 for index in more)
        assert sum(got) + len(more) == places


@given(DEMANDS)
def test_everyone_gets_all_that_is_wanted_when_there_is_room_for_all(demands: list[Demand]) -> None:
    assert Counter(fair_order(dict(enumerate(demands)))) == Counter(
        {index: demand.wanted for index, demand in enumerate(demands) if demand.wanted}
    )


@pytest.mark.parametrize(
    ("demands", "order"),
    [
        ({}, ""),
        ({"a": Demand(0, 0)}, ""),
        ({"a": Demand(0, 2), "b": Demand(0, 2)}, "abab"),
        ({"a": Demand(2, 2), "b": Demand(0, 3)}, "bbaba"),
        ({"a": Demand(0, 1), "b": Demand(0, 4)}, "abbbb"),
        ({"a": Demand(0, 2, weight=1), "b": Demand(0, 4, weight=2)}, "abbabb"),
        ({"a": Demand(9, 1), "b": Demand(0, 2)}, "bba"),
    ],
)
def test_the_batch_with_the_smallest_share_goes_first(demands: dict[str, Demand], order: str) -> None:
    assert fair_order(demands) == list(order)


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
