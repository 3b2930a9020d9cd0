"""How batches share a trunk: compared with a water-filling algorithm, which is written in another way."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.fairness import Demand, fair_order

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
