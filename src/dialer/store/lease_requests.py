"""The requests and answers of leases.lua and departures.lua, and their keys.

Pure: values go in, the plan of a script call comes out, and the other way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import pendulum
from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.domain.timeouts import HORIZON_SECONDS

EPOCH, LOADED_ON, DEADLINES, HOLDS = (f"{{dialer}}:{name}" for name in ("epoch", "run", "deadlines", "holds"))
# A lease whose attempt has not reached the ledger by then belongs to a dispatch that died.
LOOK_AFTER_SECONDS = 30
UNLIMITED = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit: at most `limit` attempts at once in the set at `key`. `name` is what it is called in a reason.

    Numbers and trunks have a gate also where they have no limit (None), so that one which is set later is kept at once.
    `loaded`: for a daily cap, the key that says for which `version` of the number the set was loaded from the ledger;
    nothing passes the gate while that is another one.
    """

    key: str
    limit: int | None
    name: str
    loaded: str = ""
    version: str = ""

    @classmethod
    def of_batch(cls, batch_id: BatchId, limit: int) -> "Gate":
        return cls(slots_key("batch", batch_id), limit, "slots")

    @classmethod
    def of_number(cls, number_id: NumberId, limit: int | None) -> "Gate":
        return cls(slots_key("number", number_id), limit, "number")

    @classmethod
    def of_number_day(cls, number_id: NumberId, day: date, limit: int, version: str) -> "Gate":
        return cls(_day(number_id, day), limit, "number_day", loaded_key(number_id, day), version)

    @classmethod
    def of_trunk(cls, trunk_id: TrunkId, limit: int | None) -> "Gate":
        return cls(slots_key("trunk", trunk_id), limit, "trunk")


@dataclass(frozen=True, slots=True)
class Route:
    """One outbound number that an attempt may use, with the limits that it falls under there.

    `is_probe`: the trunk's circuit breaker is open, so nothing has left on it for a while, and the rate is that of
    probes.
    """

    number_id: NumberId
    trunk_id: TrunkId
    gates: tuple[Gate, ...] = ()
    rate: RateLimit | None = None
    is_probe: bool = False


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
    """`at`: when the call may leave, by the clock of Redis. `wait_seconds`: how long after the grant that is."""

    ask: Ask
    route: Route
    at: DateTime
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Grants:
    """The answer. `epoch` None: Redis has lost its memory and nothing is granted until it is rebuilt.

    `free_at`: when a rate allows another call to be granted, by the ledger's clock.
    """

    epoch: UUID | None
    granted: tuple[Granted, ...] = ()
    held: Mapping[BatchId, str] = field(default_factory=dict)
    free_at: Mapping[BatchId, DateTime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Left:
    """Which attempts may leave now: the first `count` of those that asked. The next may ask after `wait_seconds`."""

    count: int
    wait_seconds: float = 0.0


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
    def put_back_keys(self) -> tuple[str, ...]:
        """All that counts an attempt that was surely never placed."""
        return (*self.slot_keys, self.day_key, planned_key(self.trunk_id))

    @property
    def day_key(self) -> str:
        return _day(self.number_id, self.utc_on)


class Keys:
    """The keys that a script call touches, each once; the plan refers to them by their index from 1."""

    def __init__(self) -> None:
        self.all = [EPOCH, DEADLINES, HOLDS, LOADED_ON]
        self._index: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._index:
            self.all.append(key)
            self._index[key] = len(self.all)
        return self._index[key]


def plan_of(
    now: DateTime, batches: Sequence[BatchAsk], asks: Sequence[Ask], keys: Keys, *, is_virtual: bool
) -> dict[str, Any]:
    """Return the plan of a script call. `is_virtual`: `now` is the time of Redis too."""
    index = {batch.batch_id: position for position, batch in enumerate(batches)}
    return {
        "look_at": milliseconds(now.add(seconds=LOOK_AFTER_SECONDS)),
        "batches": [_plan_batch(batch, keys) for batch in batches],
        "asks": [[str(ask.attempt_id), index[ask.batch_id], ask.order] for ask in asks],
    } | ({"now": milliseconds(now)} if is_virtual else {})


def _plan_batch(batch: BatchAsk, keys: Keys) -> dict[str, Any]:
    def gate(of: Gate) -> list[Any]:
        limit = [keys(of.key), UNLIMITED if of.limit is None else of.limit, of.name]
        return [*limit, keys(of.loaded), of.version] if of.loaded else limit

    def route(of: Route) -> dict[str, Any]:
        plan = {"id": str(of.number_id), "gates": [gate(one) for one in of.gates], "pace": keys(pace_key(of.trunk_id))}
        if of.rate is None:
            return plan
        # A probe is not planned ahead: what comes of the one before decides whether it leaves.
        silence, horizon = (0, 0) if of.is_probe else (of.rate.window_ms, HORIZON_SECONDS * 1000)
        paced = {"window": of.rate.window_ms, "interval": of.rate.interval_ms, "silence": silence, "horizon": horizon}
        return plan | {"planned": keys(planned_key(of.trunk_id))} | paced

    cursor = {"cursor": keys(cursor_key(batch.batch_id))} if batch.round_robin else {}
    own = [gate(Gate.of_batch(batch.batch_id, batch.limit))]
    return {"gates": own, "routes": [route(of) for of in batch.routes]} | cursor


def grants_of(
    answer: dict[str, Any], batches: Sequence[BatchAsk], asks: Sequence[Ask], now: DateTime, epoch: UUID | None
) -> Grants:
    """Read the answer of a script call that was made at `now`, under an epoch that was found to be good."""
    if epoch is None or "now" not in answer:
        return Grants(None)
    routes = {batch.batch_id: batch.routes for batch in batches}
    began = answer["now"]
    granted = tuple(
        Granted(asks[ask], routes[asks[ask].batch_id][route], _moment(at), (at - began) / 1000)
        for ask, route, at in answer["granted"]
    )
    # An empty Lua table is encoded as {} whether it was a list or a mapping.
    held = {batches[int(index)].batch_id: name for index, name in (answer.get("held") or {}).items()}
    free_at = {
        batches[int(index)].batch_id: now.add(microseconds=round((at - began) * 1000))
        for index, at in (answer.get("free_at") or {}).items()
    }
    return Grants(epoch, granted, held, free_at)


def slots_key(kind: str, of: UUID | str) -> str:
    return f"{{dialer}}:slots:{kind}:{of}"


def _day(number_id: NumberId, day: date) -> str:
    return f"{{dialer}}:day:{number_id}:{day.isoformat()}"


def loaded_key(number_id: NumberId, day: date) -> str:
    return f"{{dialer}}:loaded:{number_id}:{day.isoformat()}"


def pace_key(trunk_id: TrunkId) -> str:
    return f"{{dialer}}:pace:{trunk_id}"


def planned_key(trunk_id: TrunkId | str) -> str:
    return f"{{dialer}}:planned:{trunk_id}"


def departure_keys(trunk_id: TrunkId) -> list[str]:
    """The keys of departures.lua."""
    sent, unanswered = (f"{{dialer}}:{kind}:{trunk_id}" for kind in ("sent", "unanswered"))
    return [pace_key(trunk_id), sent, unanswered, planned_key(trunk_id)]


def cursor_key(batch_id: BatchId) -> str:
    return f"{{dialer}}:cursor:{batch_id}"


def asked_key(work: str) -> str:
    return f"{{dialer}}:asked:{work}"


def milliseconds(at: DateTime) -> int:
    # Through a float some whole milliseconds would come out one too low (those of 2038, as it happens).
    return at.int_timestamp * 1000 + at.microsecond // 1000


def _moment(ms: float) -> DateTime:
    return pendulum.from_timestamp(ms / 1000)
