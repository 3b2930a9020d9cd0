"""How many calls may start now, in which order batches that share a trunk take them, and when to look again.

Everything here is arithmetic on what was read; who grants is Redis, and the ledger has the last word.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from dialer.domain.ids import TrunkId

Name = TypeVar("Name")


# Departures are planned this much further apart than the rate allows. So one that is late by less than a hundredth of
# the window does not move those behind it: where the window is always full, every delay would be kept.
SPREAD = 1.02


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` call starts in any `window_ms` milliseconds on one trunk, as its network sees them."""

    trunk_id: TrunkId
    limit: int
    window_ms: int

    @property
    def interval_ms(self) -> float:
        """How far apart departures are planned."""
        return self.window_ms * SPREAD / self.limit

    @classmethod
    def per_second(cls, trunk_id: TrunkId, calls_per_second: float) -> "RateLimit":
        """Read a rate as a whole number of calls in a sliding window: 10 = 10 in 1 s, 0.5 = 1 in 2 s, 2.5 = 2 in 0.8 s.

        A sliding window, not a token bucket: a bucket with a burst lets twice the rate through in its first second.
        """
        rate = Fraction(str(calls_per_second))
        limit = max(1, int(rate))
        return cls(trunk_id, limit, -int(-1000 * limit // rate))


def free_slots(limit: int, in_progress: int, wanted: int, day_cap: int | None, today: int) -> int:
    """Say how many calls a batch may start: within its concurrency, its day's cap, and what it has to call."""
    allowance = wanted if day_cap is None else min(wanted, day_cap - today)
    return max(0, min(limit - in_progress, allowance))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a batch has in progress and how many more it wants now. A `weight` of 2 entitles to twice the share."""

    in_progress: int
    wanted: int
    weight: int = 1


def fair_order(demands: Mapping[Name, Demand]) -> list[Name]:
    """Put the wanted calls of all batches in the order in which a shared trunk should take them.

    Each place goes to the batch with the smallest share in progress, counting those already given. Whatever number of
    places there is, the first ones of this order come to the max-min fair share of them over the batches' demands.
    """
    heap = [
        (Fraction(demand.in_progress, demand.weight), position, name, demand)
        for position, (name, demand) in enumerate(demands.items())
        if demand.wanted > 0
    ]
    heapq.heapify(heap)
    order: list[Name] = []
    given: dict[Name, int] = dict.fromkeys(demands, 0)
    while heap:
        _, position, name, demand = heapq.heappop(heap)
        order.append(name)
        given[name] += 1
        if given[name] < demand.wanted:
            share = Fraction(demand.in_progress + given[name], demand.weight)
            heapq.heappush(heap, (share, position, name, demand))
    return order
