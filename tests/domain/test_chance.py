"""The draws that the standard library lacks, compared with the exact distributions."""

from collections import Counter
from math import comb, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.forecast.chance import binomial, dirichlet, multinomial

DRAWS = 20_000
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda weights: sum(weights) > 0.01)


def probability(trials: int, chance: float, successes: int) -> float:
    return comb(trials, successes) * chance**successes * (1 - chance) ** (trials - successes)


@pytest.mark.parametrize(
    ("trials", "chance"), [(1, 0.3), (7, 0.5), (40, 0.02), (40, 0.9), (60, 0.4), (1_000, 0.03), (400, 0.77)]
)
def test_a_binomial_draw_has_the_exact_distribution(trials: int, chance: float) -> None:
    rng = Random(f"{trials} {chance}")
    drawn = Counter(binomial(rng, trials, chance) for _ in range(DRAWS))
    assert min(drawn) >= 0
    assert max(drawn) <= trials
    for successes in range(trials + 1):
        expected = DRAWS * probability(trials, chance, successes)
        # Five standard deviations, and one count for what is nearly impossible.
        assert abs(drawn[successes] - expected) <= 5 * sqrt(expected) + 1, successes


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_a_binomial_draw_without_chance_is_certain(chance: float) -> None:
    assert binomial(Random(1), 12, chance) == 12 * chance


@given(st.integers(0, 500), SHARES, st.integers())
def test_a_multinomial_draw_gives_each_trial_to_one_share_and_none_to_a_share_of_nothing(
    trials: int, weights: list[float], seed: int
) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = multinomial(Random(seed), trials, shares)
    assert sum(counts) == trials
    assert all(not count for count, share in zip(counts, shares, strict=True) if not share)


@given(SHARES, st.integers())
def test_dirichlet_shares_add_up_to_one(weights: list[float], seed: int) -> None:
    shares = dirichlet(Random(seed), weights)
    assert sum(shares) == pytest.approx(1)
    assert all(not share for share, weight in zip(shares, weights, strict=True) if not weight)


def test_a_dirichlet_share_has_the_mean_and_the_width_of_its_weight() -> None:
    rng = Random(3)
    drawn = [dirichlet(rng, [3, 7])[0] for _ in range(DRAWS)]
    mean = sum(drawn) / DRAWS
    assert mean == pytest.approx(0.3, abs=0.01)
    assert sum((share - mean) ** 2 for share in drawn) / DRAWS == pytest.approx(0.3 * 0.7 / 11, rel=0.05)
