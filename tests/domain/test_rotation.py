"""The order in which numbers are tried; the choice itself is proved where slots are granted, in the tests of leases."""

from collections import Counter
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.rotation import order
from dialer.domain.rotation_strategy import RotationStrategy

COUNTS = st.integers(0, 30)
SEEDS = st.integers(0, 2**32)


@given(COUNTS, SEEDS)
def test_sequential_tries_the_numbers_as_they_are_listed(count: int, seed: int) -> None:
    assert order(RotationStrategy.SEQUENTIAL, count, Random(seed)) == tuple(range(count))


@given(COUNTS, SEEDS)
def test_round_robin_leaves_the_order_to_the_cursor(count: int, seed: int) -> None:
    assert order(RotationStrategy.ROUND_ROBIN, count, Random(seed)) == ()


@given(COUNTS, SEEDS)
def test_random_tries_each_number_once(count: int, seed: int) -> None:
    assert sorted(order(RotationStrategy.RANDOM, count, Random(seed))) == list(range(count))


def test_random_is_uniform_over_all_orders() -> None:
    rng, draws = Random(20260302), 24_000
    seen = Counter(order(RotationStrategy.RANDOM, 4, rng) for _ in range(draws))
    assert set(seen) == set(permutations(range(4)))
    # 1,000 are expected of each of the 24 orders; seven standard deviations are 220.
    assert all(abs(count - draws / 24) < 220 for count in seen.values())


@pytest.mark.parametrize("with_room", [{0, 1, 2, 3, 4}, {1, 4}, {0, 2, 3}])
def test_the_first_number_with_room_is_uniform_over_those_that_have_room(with_room: set[int]) -> None:
    draws = 6_000
    orders = (order(RotationStrategy.RANDOM, 5, Random(seed)) for seed in range(draws))
    chosen = Counter(next(index for index in tried if index in with_room) for tried in orders)
    expected = draws / len(with_room)
    assert set(chosen) == with_room
    assert all(abs(count - expected) < 0.15 * expected for count in chosen.values())


def test_the_same_seed_gives_the_same_order() -> None:
    assert order(RotationStrategy.RANDOM, 20, Random(5)) == order(RotationStrategy.RANDOM, 20, Random(5))
