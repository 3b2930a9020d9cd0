"""What the tests of leases ask for: a trunk with three numbers, two batches, and how to look into Redis."""

import json
from collections.abc import Sequence
from datetime import date
from itertools import count
from typing import Any
from uuid import UUID

import pendulum
from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.store.lease_requests import Ask, BatchAsk, Gate, Granted, Lease, Route
from dialer.store.leases import Leases

NOW = pendulum.datetime(2026, 3, 2, 8)
TODAY = date(2026, 3, 2)
EPOCH_ID = UUID(int=1)
BATCH, OTHER = BatchId(UUID(int=2)), BatchId(UUID(int=3))
TRUNK = TrunkId(UUID(int=4))
A, B, C = (NumberId(UUID(int=n)) for n in (5, 6, 7))
RATE = RateLimit(TRUNK, limit=2, window_ms=1000)
NAMES = (AttemptId(UUID(int=n)) for n in count(1000))


def load(
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
) -> Route:
    gates = [Gate.of_number(number, number_limit), Gate.of_trunk(trunk, trunk_limit)]
    if cap is not None:
        gates.append(Gate.of_number_day(number, TODAY, cap, "1"))
    return Route(number, trunk, tuple(gates), rate)


def ring(*routes: Route, limit: int = 100, batch: BatchId = BATCH) -> BatchAsk:
    return BatchAsk(batch, limit, routes, round_robin=True)


def hunt(*routes: Route, limit: int = 100, batch: BatchId = BATCH) -> BatchAsk:
    return BatchAsk(batch, limit, routes)


def asks(batch: BatchAsk, wanted: int, order: Sequence[int] | None = None) -> list[Ask]:
    in_order = () if batch.round_robin else tuple(range(len(batch.routes)) if order is None else order)
    return [Ask(next(NAMES), batch.batch_id, in_order) for _ in range(wanted)]


def take(leases: Leases, batch: BatchAsk, wanted: int, at: DateTime = NOW) -> tuple[Granted, ...]:
    return leases.acquire(at, [batch], asks(batch, wanted)).granted


def numbers(granted: Sequence[Granted]) -> list[NumberId]:
    return [one.route.number_id for one in granted]


def lease(granted: Granted) -> Lease:
    return Lease(granted.ask.attempt_id, granted.ask.batch_id, granted.route.number_id, granted.route.trunk_id, TODAY)


def memory(leases: Leases) -> dict[str, Any]:
    """All that Redis holds beside its marker, read with what each type of key has for that."""
    client: Any = leases._redis
    read = {"set": client.smembers, "string": client.get}
    read["hash"] = lambda of: {name: json.loads(value) for name, value in client.hgetall(of).items()}
    keys = sorted(key for key in client.scan_iter("*") if key not in ("{dialer}:epoch", "{dialer}:run"))
    return {key: read.get(client.type(key), lambda of: client.zrange(of, 0, -1, withscores=True))(key) for key in keys}
