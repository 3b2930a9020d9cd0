"""Random draws that the standard library does not have in all supported releases of Python."""

from collections.abc import Sequence
from itertools import accumulate
from math import floor, lgamma, log, log2, sqrt
from random import Random

# Below this many expected successes, counting the gaps between successes is faster than rejection.
FEW = 10.0


def binomial(rng: Random, trials: int, chance: float) -> int:
    """Draw how many of these independent trials succeed; exact.

    Few successes are counted by the geometric gaps between them (Devroye 1980), many are drawn by transformed
    rejection (Hoermann 1993, BTRS).
    """
    if chance <= 0.0 or trials <= 0:
        return 0
    if chance >= 1.0:
        return trials
    if chance > 0.5:
        return trials - binomial(rng, trials, 1.0 - chance)
    return _by_gaps(rng, trials, chance) if trials * chance < FEW else _by_rejection(rng, trials, chance)


def _by_gaps(rng: Random, trials: int, chance: float) -> int:
    successes = position = 0
    per_gap = log2(1.0 - chance)
    if not per_gap:
        return 0
    while True:
        position += floor(log2(1.0 - rng.random()) / per_gap) + 1
        if position > trials:
            return successes
        successes += 1


def _by_rejection(rng: Random, trials: int, chance: float) -> int:
    spread = sqrt(trials * chance * (1.0 - chance))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * chance
    middle = trials * chance + 0.5
    v_r = 0.92 - 4.2 / b
    alpha = (2.83 + 5.1 / b) * spread
    odds = log(chance / (1.0 - chance))
    mode = floor((trials + 1) * chance)
    at_mode = lgamma(mode + 1) + lgamma(trials - mode + 1)
    while True:
        u = rng.random() - 0.5
        us = 0.5 - abs(u)
        if us <= 0.0:
            continue
        drawn = floor((2.0 * a / us + b) * u + middle)
        if not 0 <= drawn <= trials:
            continue
        v = 1.0 - rng.random()
        if us >= 0.07 and v <= v_r:
            return drawn
        v *= alpha / (a / (us * us) + b)
        if log(v) <= at_mode - lgamma(drawn + 1) - lgamma(trials - drawn + 1) + (drawn - mode) * odds:
            return drawn


def multinomial(rng: Random, trials: int, shares: Sequence[float]) -> list[int]:
    """Draw how many trials fall to each share; the shares add up to 1."""
    counts, left = [0] * len(shares), 1.0
    for index, share in enumerate(shares[:-1]):
        drawn = binomial(rng, trials, min(1.0, share / left)) if left > 0.0 else 0
        counts[index], trials, left = drawn, trials - drawn, left - share
        if not trials:
            return counts
    counts[-1] = trials
    return counts


def dirichlet(rng: Random, weights: Sequence[float]) -> list[float]:
    """Draw shares that add up to 1; a share whose weight is 0 is 0. At least one weight is above 0."""
    drawn = [rng.gammavariate(weight, 1.0) if weight > 0.0 else 0.0 for weight in weights]
    total = sum(drawn)
    if not total:
        # Weights near 0 put everything on one share.
        drawn[rng.choices(range(len(weights)), weights)[0]] = total = 1.0
    return [value / total for value in drawn]


def cumulated(shares: Sequence[float]) -> list[float]:
    """Sum up the shares, so that bisection finds where a number between 0 and 1 falls; the last is above any."""
    return [*list(accumulate(shares))[:-1], 2.0]
