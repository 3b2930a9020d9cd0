"""Which outbound number an attempt uses: the order in which the numbers of a batch are tried.

The first number of the order that has room under its own limits and its trunk's is taken; that choice is made where
the slot is granted, so that it is exact across workers. For the same reason the cursor of `round_robin` lives there.
"""

from enum import StrEnum
from random import Random


class RotationStrategy(StrEnum):
    RANDOM = "random"
    SEQUENTIAL = "sequential"
    ROUND_ROBIN = "round_robin"


def order(strategy: RotationStrategy, count: int, rng: Random) -> tuple[int, ...]:
    """Say in which order to try `count` numbers, by index. Empty: from the number after the one used last.

    `random` tries a uniform permutation, so the first number with room is uniform over those that have room.
    `sequential` is linear hunting: one number is used up before the next is touched.
    """
    match strategy:
        case RotationStrategy.RANDOM:
            return tuple(rng.sample(range(count), count))
        case RotationStrategy.SEQUENTIAL:
            return tuple(range(count))
        case RotationStrategy.ROUND_ROBIN:
            return ()
