"""The types of ids, and the UUID version 7 (RFC 9562, section 5.7) that all of them are."""

from random import Random
from typing import NewType
from uuid import UUID

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


def uuid7(now: DateTime, rng: Random) -> UUID:
    """Make an id whose order is the order of creation to the millisecond; the other 74 bits come from `rng`."""
    return _uuid7(now, rng.getrandbits(74))


def first_of(now: DateTime) -> UUID:
    """Return the least id that can be made at this millisecond."""
    return _uuid7(now, 0)


def _uuid7(now: DateTime, chance: int) -> UUID:
    milliseconds = now.int_timestamp * 1000 + now.microsecond // 1000
    high = (milliseconds << 16) | 0x7000 | (chance >> 62)
    low = (0b10 << 62) | (chance & ((1 << 62) - 1))
    return UUID(int=(high << 64) | low)
