"""Helpers for tests of leases: a trunk with three numbers, two batches, requests for slots, the contents of Redis."""

import json
from collections.abc import Sequence
from datetime import date
from itertools import count
from typing import Any
from uuid import UUID

import pendulum
from pendulum import DateTime

from dialer.domain.calling_span import CallingSpan
from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.lane import NO_LANE
from dialer.domain.pacing import RateLimit
from dialer.domain.slots import BatchRoutes, Lease, NumberRoute, SlotGrant, SlotLimit, SlotRequest, Turn
from dialer.domain.trunk import OutboundNumber, Trunk
from dialer.store.leases import Leases

NOW = pendulum.datetime(2026, 3, 2, 8)
TODAY = date(2026, 3, 2)
EPOCH_ID = UUID(int=1)
BATCH, OTHER = BatchId(UUID(int=2)), BatchId(UUID(int=3))
TRUNK = TrunkId(UUID(int=4))
A, B, C = (NumberId(UUID(int=n)) for n in (5, 6, 7))
RATE = RateLimit(TRUNK, limit=2, window_ms=1000)
# Leases do not look at it; dispatch reads it from the grant.
TURN = Turn(NO_LANE, CallingSpan(NOW, NOW.add(seconds=20), None))
NAMES = (AttemptId(UUID(int=n)) for n in count(1000))


def rebuild(
    leases: Leases, live: Sequence[Lease] = (), counted: Sequence[Lease] = (), at: DateTime = NOW, **more: Any
) -> None:
    leases.rebuild(
        at, EPOCH_ID, live, counted, more.get("cursors", {}), dict.fromkeys(more.get("capped", (A, B, C)), "1"), [TODAY]
    )


def route(
    number: NumberId = A,
    *,
    number_limit: int | None = None,
    trunk_limit: int | None = None,
    cap: int | None = None,
    rate: RateLimit | None = None,
    trunk: TrunkId = TRUNK,
) -> NumberRoute:
    limits = [SlotLimit.of_number(number, number_limit), SlotLimit.of_trunk(trunk, trunk_limit)]
    if cap is not None:
        limits.append(SlotLimit.of_number_day(number, TODAY, cap, "1"))
    return NumberRoute(outbound(number, trunk), tuple(limits), rate)


def outbound(number: NumberId, trunk: TrunkId) -> OutboundNumber:
    return OutboundNumber(number, "+12025550100", None, None, Trunk(trunk, "simulator", {}), None, None, is_usable=True)


def round_robin_ask(*routes: NumberRoute, limit: int = 100, batch: BatchId = BATCH) -> BatchRoutes:
    return BatchRoutes(batch, limit, routes, round_robin=True)


def ordered_ask(*routes: NumberRoute, limit: int = 100, batch: BatchId = BATCH) -> BatchRoutes:
    return BatchRoutes(batch, limit, routes)


def requests(batch: BatchRoutes, wanted: int, order: Sequence[int] | None = None) -> list[SlotRequest]:
    in_order = () if batch.round_robin else tuple(range(len(batch.routes)) if order is None else order)
    return [SlotRequest(next(NAMES), batch.batch_id, TURN, in_order) for _ in range(wanted)]


def acquire(leases: Leases, batch: BatchRoutes, wanted: int, at: DateTime = NOW) -> tuple[SlotGrant, ...]:
    return leases.acquire(at, [batch], requests(batch, wanted)).granted


def number_ids(granted: Sequence[SlotGrant]) -> list[NumberId]:
    return [grant.number.id for grant in granted]


def lease(granted: SlotGrant) -> Lease:
    return Lease(granted.attempt_id, granted.batch_id, granted.number.id, granted.number.trunk.id, TODAY)


def redis_contents(leases: Leases) -> dict[str, Any]:
    """Return all keys of Redis with their values, except the epoch marker and the run id."""
    client: Any = leases._redis
    read = {"set": client.smembers, "string": client.get}
    read["hash"] = lambda key: {name: json.loads(value) for name, value in client.hgetall(key).items()}
    keys = sorted(key for key in client.scan_iter("*") if key not in ("{dialer}:epoch", "{dialer}:run"))
    return {
        key: read.get(client.type(key), lambda zset: client.zrange(zset, 0, -1, withscores=True))(key) for key in keys
    }
