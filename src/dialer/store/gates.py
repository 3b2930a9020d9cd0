"""The language of leases.lua: what is asked of it, what it answers, and the keys of both.

Pure: values go in, the plan of a script call comes out, and the other way round.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import pendulum
from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit

EPOCH, DEADLINES, HOLDS = (f"{{dialer}}:{name}" for name in ("epoch", "deadlines", "holds"))
# A lease whose attempt has not reached the ledger by then belongs to a dispatch that died.
LOOK_AFTER_SECONDS = 30
UNLIMITED = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit: at most `limit` attempts at once in the set at `key`. `name` is what it is called in a reason.

    Numbers and trunks have a gate also where they have no limit (None), so that one which is set later is kept at once.
    """

    key: str
    limit: int | None
    name: str

    @classmethod
    def of_batch(cls, batch_id: BatchId, limit: int) -> "Gate":
        return cls(slots_key("batch", batch_id), limit, "slots")

    @classmethod
    def of_number(cls, number_id: NumberId, limit: int | None) -> "Gate":
        return cls(slots_key("number", number_id), limit, "number")

    @classmethod
    def of_number_day(cls, number_id: NumberId, day: date, limit: int) -> "Gate":
        return cls(_day(number_id, day), limit, "number_day")

    @classmethod
    def of_trunk(cls, trunk_id: TrunkId, limit: int | None) -> "Gate":
        return cls(slots_key("trunk", trunk_id), limit, "trunk")


@dataclass(frozen=True, slots=True)
class Route:
    """One outbound number that an attempt may use, with the limits that it falls under there."""

    number_id: NumberId
    trunk_id: TrunkId
    gates: tuple[Gate, ...] = ()
    rate: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class BatchAsk:
    """What all asks of one batch share. `round_robin`: each attempt takes the number after the last one's."""

    batch_id: BatchId
    limit: int
    routes: tuple[Route, ...]
    round_robin: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One attempt that wants a slot. `order`: the routes of its batch by index, best first; empty for round robin."""

    attempt_id: AttemptId
    batch_id: BatchId
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    ask: Ask
    route: Route
    at: DateTime


@dataclass(frozen=True, slots=True)
class Grants:
    """The answer. `epoch` None: Redis has lost its memory and nothing is granted until it is rebuilt."""

    epoch: UUID | None
    granted: tuple[Granted, ...] = ()
    held: Mapping[BatchId, str] = field(default_factory=dict)
    free_at: Mapping[BatchId, DateTime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of an attempt that the ledger knows. `utc_on`: the day it counts to at its number."""

    attempt_id: AttemptId
    batch_id: BatchId
    number_id: NumberId
    trunk_id: TrunkId
    utc_on: date

    @property
    def slot_keys(self) -> tuple[str, ...]:
        ids = (("batch", self.batch_id), ("number", self.number_id), ("trunk", self.trunk_id))
        return tuple(slots_key(kind, of) for kind, of in ids)

    @property
    def day_key(self) -> str:
        return _day(self.number_id, self.utc_on)


class Keys:
    """The keys that a script call touches, each once; the plan refers to them by their index from 1."""

    def __init__(self) -> None:
        self.all = [EPOCH, DEADLINES, HOLDS]
        self._index: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._index:
            self.all.append(key)
            self._index[key] = len(self.all)
        return self._index[key]


def plan_of(now: DateTime, batches: Sequence[BatchAsk], asks: Sequence[Ask], keys: Keys) -> dict[str, Any]:
    index = {batch.batch_id: position for position, batch in enumerate(batches)}
    return {
        "now": milliseconds(now),
        "look_at": milliseconds(now.add(seconds=LOOK_AFTER_SECONDS)),
        "batches": [_plan_batch(batch, keys) for batch in batches],
        "asks": [[str(ask.attempt_id), index[ask.batch_id], ask.order] for ask in asks],
    }


def _plan_batch(batch: BatchAsk, keys: Keys) -> dict[str, Any]:
    def gates(all_of: Iterable[Gate]) -> list[Any]:
        return [[keys(gate.key), UNLIMITED if gate.limit is None else gate.limit, gate.name] for gate in all_of]

    def route(of: Route) -> dict[str, Any]:
        rate = of.rate and [keys(rate_key(of.rate.trunk_id)), of.rate.limit, of.rate.window_ms]
        return {"id": str(of.number_id), "gates": gates(of.gates)} | ({"rate": rate} if rate else {})

    cursor = {"cursor": keys(cursor_key(batch.batch_id))} if batch.round_robin else {}
    own = gates([Gate.of_batch(batch.batch_id, batch.limit)])
    return {"gates": own, "routes": [route(of) for of in batch.routes]} | cursor


def grants_of(answer: dict[str, Any], batches: Sequence[BatchAsk], asks: Sequence[Ask]) -> Grants:
    routes = {batch.batch_id: batch.routes for batch in batches}
    granted = tuple(
        Granted(asks[ask], routes[asks[ask].batch_id][route], _moment(at)) for ask, route, at in answer["granted"]
    )
    # An empty Lua table is encoded as {} whether it was a list or a mapping.
    held = {batches[int(index)].batch_id: name for index, name in (answer.get("held") or {}).items()}
    free_at = {batches[int(index)].batch_id: _moment(at) for index, at in (answer.get("free_at") or {}).items()}
    epoch = answer.get("epoch")
    return Grants(UUID(epoch) if epoch else None, granted, held, free_at)


def slots_key(kind: str, of: UUID | str) -> str:
    return f"{{dialer}}:slots:{kind}:{of}"


def _day(number_id: NumberId, day: date) -> str:
    return f"{{dialer}}:day:{number_id}:{day.isoformat()}"


def rate_key(trunk_id: TrunkId) -> str:
    return f"{{dialer}}:rate:{trunk_id}"


def cursor_key(batch_id: BatchId) -> str:
    return f"{{dialer}}:cursor:{batch_id}"


def asked_key(work: str) -> str:
    return f"{{dialer}}:asked:{work}"


def milliseconds(at: DateTime) -> int:
    # Through a float some whole milliseconds would come out one too low (those of 2038, as it happens).
    return at.int_timestamp * 1000 + at.microsecond // 1000


def _moment(ms: float) -> DateTime:
    return pendulum.from_timestamp(ms / 1000)
