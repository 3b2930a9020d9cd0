"""How batches share a trunk: whose call is next when more of them want to call than there is room for.

Max-min fairness weighted by priority: `dispatch_plan` puts all slot requests of a dispatch into this order, and Redis
grants them in it. Nothing is reserved for a batch, so unused shares go to the others.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Demand:
    """The calls a batch has in progress, and how many more it wants. A `weight` of 2 entitles to twice the share."""

    in_progress: int
    wanted: int
    weight: int = 1


def weight_of(priority: int) -> int:
    """Return the weight of a batch: 10 for priority 1, the highest, down to 1 for priority 10."""
    return 11 - priority


def fair_order(demands: Mapping[Name, Demand]) -> list[Name]:
    """Put the wanted calls of all batches in the order in which a shared trunk should take them.

    Each place goes to the batch with the smallest share in progress, places already given included. Whatever the number
    of places is, the first ones of this order come to the max-min fair share of them over the batches' demands.
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
