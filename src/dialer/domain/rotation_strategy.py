"""The strategies by which a batch chooses its outbound numbers. What they do is in `rotation`."""

from enum import StrEnum


class RotationStrategy(StrEnum):
    """How an outbound number is chosen for each attempt of a batch."""

    RANDOM = "random"  #: Any number that has room, all with the same probability.
    SEQUENTIAL = "sequential"  #: The first number that has room: one is used up before the next.
    ROUND_ROBIN = "round_robin"  #: The number after the one that the batch used last.
