"""The types of ids. All of them are UUIDs of version 7 (RFC 9562, section 5.7)."""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, NewType
from uuid import UUID

# Every command needs ids, and few need times.
if TYPE_CHECKING:
    from pendulum import DateTime

WorkspaceId = NewType("WorkspaceId", UUID)
TrunkId = NewType("TrunkId", UUID)
AgentId = NewType("AgentId", UUID)
NumberId = NewType("NumberId", UUID)
BatchId = NewType("BatchId", UUID)
ContactId = NewType("ContactId", UUID)
AttemptId = NewType("AttemptId", UUID)
KeyId = NewType("KeyId", UUID)
FolderId = NewType("FolderId", UUID)
EndpointId = NewType("EndpointId", UUID)


def uuid7(now: "DateTime", rng: Random) -> UUID:
    """Make an id that sorts by its time of creation, to the millisecond; the other 74 bits come from `rng`."""
    return _uuid7(_milliseconds(now), rng.getrandbits(74))


def uuid7s(now: "DateTime", rng: Random) -> Iterator[UUID]:
    """Make ids of one moment without end, as `uuid7` makes one."""
    milliseconds = _milliseconds(now)
    while True:
        yield _uuid7(milliseconds, rng.getrandbits(74))


def first_of(now: "DateTime") -> UUID:
    """Return the smallest id that can be made in this millisecond."""
    return _uuid7(_milliseconds(now), 0)


def _milliseconds(now: "DateTime") -> int:
    return now.int_timestamp * 1000 + now.microsecond // 1000


def _uuid7(milliseconds: int, chance: int) -> UUID:
    high = (milliseconds << 16) | 0x7000 | (chance >> 62)
    low = (0b10 << 62) | (chance & ((1 << 62) - 1))
    return UUID(int=(high << 64) | low)
