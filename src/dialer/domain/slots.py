"""Requests for slots, and the grants that answer them.

A slot is the right to have one call in progress under a limit. An attempt gets a slot of its batch, its number, its
number's day and its trunk, or none of them. Redis grants them (store/leases.py), in the order of the requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from uuid import UUID

from pendulum import DateTime

from dialer.domain.calling_span import CallingSpan
from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.lane import Lane
from dialer.domain.pacing import RateLimit
from dialer.domain.timeouts import HORIZON_SECONDS
from dialer.domain.trunk import OutboundNumber

UNLIMITED = 1_000_000_000


class LimitKind(StrEnum):
    """What a limit is on. The value is the reason that holds back a batch for which the limit has no room."""

    BATCH = "slots"  #: max_concurrent_calls of the batch
    NUMBER = "number"  #: max_concurrent_calls of the outbound number
    NUMBER_DAY = "number_day"  #: max_calls_per_day of the outbound number
    TRUNK = "trunk"  #: max_concurrent_calls of the trunk


@dataclass(frozen=True, slots=True)
class SlotLimit:
    """At most `limit` attempts at once for one batch, number or trunk, or on one day for one number.

    Numbers and trunks have a SlotLimit also where `limit` is None: their calls are counted all the same, so that a
    limit which is set later holds at once. `day`, `version`: of a daily cap. Nothing passes it until Redis has loaded
    the day's calls for this version of the number.
    """

    kind: LimitKind
    owner_id: UUID
    limit: int | None
    day: date | None = None
    version: str = ""

    @classmethod
    def of_batch(cls, batch_id: BatchId, limit: int) -> "SlotLimit":
        return cls(LimitKind.BATCH, batch_id, limit)

    @classmethod
    def of_number(cls, number_id: NumberId, limit: int | None) -> "SlotLimit":
        return cls(LimitKind.NUMBER, number_id, limit)

    @classmethod
    def of_number_day(cls, number_id: NumberId, day: date, limit: int, version: str) -> "SlotLimit":
        return cls(LimitKind.NUMBER_DAY, number_id, limit, day, version)

    @classmethod
    def of_trunk(cls, trunk_id: TrunkId, limit: int | None) -> "SlotLimit":
        return cls(LimitKind.TRUNK, trunk_id, limit)


@dataclass(frozen=True, slots=True)
class NumberRoute:
    """An outbound number that an attempt may use, with all limits of the number and of its trunk.

    `is_probe`: the trunk's circuit breaker is open, so nothing has left on it for a while, and `rate` is that of
    probes.
    """

    number: OutboundNumber
    limits: tuple[SlotLimit, ...] = ()
    rate: RateLimit | None = None
    is_probe: bool = False

    @property
    def number_id(self) -> NumberId:
        return self.number.id

    @property
    def trunk_id(self) -> TrunkId:
        return self.number.trunk.id

    @property
    def horizon_ms(self) -> int:
        """How far ahead its departures are planned. A probe is not: the result of the one before decides whether it
        leaves.
        """
        return 0 if self.rate is None or self.is_probe else HORIZON_SECONDS * 1000

    @property
    def silence_ms(self) -> int:
        """How long nothing leaves where it is not known what has left before."""
        return 0 if self.rate is None or self.is_probe else self.rate.window_ms


@dataclass(frozen=True, slots=True)
class BatchRoutes:
    """What all slot requests of one batch share: its own limit and the numbers that its calls may use.

    `round_robin`: each attempt takes the number after the one that the batch used last.
    """

    batch_id: BatchId
    limit: int
    routes: tuple[NumberRoute, ...]
    round_robin: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One call that a batch may start now, to the next contact of this lane, within this span."""

    lane: Lane
    span: CallingSpan


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """An attempt that wants a slot. `order`: indexes of its batch's routes, best first; empty for round robin."""

    attempt_id: AttemptId
    batch_id: BatchId
    turn: Turn
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotGrant:
    """A slot that was granted. `leaves_at`: when the call may leave, by the clock of Redis.

    `wait_seconds`: how long after the grant that is.
    """

    request: SlotRequest
    route: NumberRoute
    leaves_at: DateTime
    wait_seconds: float = 0.0

    @property
    def attempt_id(self) -> AttemptId:
        return self.request.attempt_id

    @property
    def batch_id(self) -> BatchId:
        return self.request.batch_id

    @property
    def number(self) -> OutboundNumber:
        return self.route.number

    @property
    def turn(self) -> Turn:
        return self.request.turn


@dataclass(frozen=True, slots=True)
class SlotGrants:
    """The answer to slot requests. `epoch` None: Redis has lost its memory and grants nothing until it is rebuilt.

    `held`: the limit without room that each batch has met. `free_at`: when a rate allows another grant, by the ledger's
    clock.
    """

    epoch: UUID | None
    granted: tuple[SlotGrant, ...] = ()
    held: Mapping[BatchId, str] = field(default_factory=dict)
    free_at: Mapping[BatchId, DateTime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateAllowance:
    """How many of the attempts that asked may leave now: the first `count`. The next may ask after `wait_seconds`."""

    count: int
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The slots of an attempt that the ledger knows. `utc_on`: the day on which it counts at its number."""

    attempt_id: AttemptId
    batch_id: BatchId
    number_id: NumberId
    trunk_id: TrunkId
    utc_on: date
