"""The JSON of requests to leases.lua and of its answers, and the keys of leases.lua and departures.lua.

Pure: slot requests go in, the JSON of a script call comes out; its answer goes in, grants come out.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from pendulum import UTC, DateTime

from dialer.domain.gates.room import Pace
from dialer.domain.ids import BatchId, NumberId, TrunkId
from dialer.domain.slots import (
    UNLIMITED,
    BatchRoutes,
    Lease,
    LimitKind,
    NumberRoute,
    SlotGrant,
    SlotGrants,
    SlotLimit,
    SlotRequest,
)
from dialer.domain.timeouts import LEASE_SECONDS
from dialer.store.database import moment

EPOCH, LOADED_ON, DEADLINES, HOLDS = (f"{{dialer}}:{name}" for name in ("epoch", "run", "deadlines", "holds"))
_OWNERS = {LimitKind.BATCH: "batch", LimitKind.NUMBER: "number", LimitKind.TRUNK: "trunk"}


class Keys:
    """The keys that a script call uses, each once; its JSON refers to them by their index from 1."""

    def __init__(self) -> None:
        self.all = [EPOCH, DEADLINES, HOLDS, LOADED_ON]
        self._index: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._index:
            self.all.append(key)
            self._index[key] = len(self.all)
        return self._index[key]


def script_request(
    now: DateTime, batches: Sequence[BatchRoutes], requests: Sequence[SlotRequest], keys: Keys, *, is_virtual: bool
) -> dict[str, Any]:
    """Write the JSON of a script call. `is_virtual`: `now` is also the time of Redis."""
    index = {batch.batch_id: position for position, batch in enumerate(batches)}
    return {
        "look_at": milliseconds(now.add(seconds=LEASE_SECONDS)),
        "batches": [_batch(batch, keys) for batch in batches],
        "asks": [[str(request.attempt_id), index[request.batch_id], request.order] for request in requests],
    } | ({"now": milliseconds(now)} if is_virtual else {})


def _batch(batch: BatchRoutes, keys: Keys) -> dict[str, Any]:
    cursor = {"cursor": keys(cursor_key(batch.batch_id))} if batch.round_robin else {}
    own = [_gate(SlotLimit.of_batch(batch.batch_id, batch.limit), keys)]
    return {"gates": own, "routes": [_route(route, keys) for route in batch.routes]} | cursor


def _route(route: NumberRoute, keys: Keys) -> dict[str, Any]:
    gates = [_gate(limit, keys) for limit in route.limits]
    written = {"id": str(route.number_id), "gates": gates, "pace": keys(pace_key(route.trunk_id))}
    if route.rate is None:
        return written
    paced = {
        "planned": keys(planned_key(route.trunk_id)),
        "given_back": keys(given_back_key(route.trunk_id)),
        "window": route.rate.window_ms,
        "interval": route.rate.interval_ms,
        "silence": route.silence_ms,
        "horizon": route.horizon_ms,
    }
    return written | paced


def _gate(limit: SlotLimit, keys: Keys) -> list[Any]:
    gate = [keys(limit_key(limit)), UNLIMITED if limit.limit is None else limit.limit, limit.kind.value]
    if limit.day is None:
        return gate
    return [*gate, keys(loaded_key(NumberId(limit.owner_id), limit.day)), limit.version]


def read_grants(
    answer: dict[str, Any],
    batches: Sequence[BatchRoutes],
    requests: Sequence[SlotRequest],
    now: DateTime,
    epoch: UUID | None,
) -> SlotGrants:
    """Read the answer of a script call that was made at `now`, under an epoch that is valid."""
    if epoch is None or "now" not in answer:
        return SlotGrants(None)
    routes = {batch.batch_id: batch.routes for batch in batches}
    began = answer["now"]
    granted = tuple(
        SlotGrant(requests[index], routes[requests[index].batch_id][route], _moment(at), (at - began) / 1000)
        for index, route, at in answer["granted"]
    )
    # An empty Lua table is encoded as {} whether it was a list or a mapping.
    held = {batches[int(index)].batch_id: name for index, name in (answer.get("held") or {}).items()}
    free_at = {
        batches[int(index)].batch_id: now.add(microseconds=round((at - began) * 1000))
        for index, at in (answer.get("free_at") or {}).items()
    }
    return SlotGrants(epoch, granted, held, free_at)


def read_pace(departures: Sequence[str | None], planned: int, given_back: Sequence[tuple[str, float]]) -> Pace:
    """Read when the next departures of a trunk may be planned."""
    next_ms, paused_until_ms = (None if at is None else float(at) for at in departures)
    return Pace(next_ms, paused_until_ms or 0.0, planned, tuple(at for _, at in given_back))


def loaded_key_of(limit: SlotLimit) -> str:
    """Return the key that says for which version of a daily cap its calls are loaded; of other limits, the epoch's."""
    return loaded_key(NumberId(limit.owner_id), limit.day) if limit.day else EPOCH


def limit_key(limit: SlotLimit) -> str:
    """Return the key of the set of attempts that hold a slot of this limit."""
    if limit.day is not None:
        return day_key(NumberId(limit.owner_id), limit.day)
    return slots_key(_OWNERS[limit.kind], limit.owner_id)


def slot_keys(lease: Lease) -> list[str]:
    """The sets that the attempt leaves when its call is over; the day keeps counting it."""
    owners = (("batch", lease.batch_id), ("number", lease.number_id), ("trunk", lease.trunk_id))
    return [slots_key(kind, owner_id) for kind, owner_id in owners]


def put_back_keys(lease: Lease) -> list[str]:
    """The sets that count an attempt which was never placed."""
    return [*slot_keys(lease), day_key(lease.number_id, lease.utc_on), planned_key(lease.trunk_id)]


def slots_key(kind: str, owner_id: UUID | str) -> str:
    return f"{{dialer}}:slots:{kind}:{owner_id}"


def day_key(number_id: NumberId, day: date) -> str:
    return f"{{dialer}}:day:{number_id}:{day.isoformat()}"


def loaded_key(number_id: NumberId, day: date) -> str:
    return f"{{dialer}}:loaded:{number_id}:{day.isoformat()}"


def pace_key(trunk_id: TrunkId | str) -> str:
    return f"{{dialer}}:pace:{trunk_id}"


def planned_key(trunk_id: TrunkId | str) -> str:
    return f"{{dialer}}:planned:{trunk_id}"


def given_back_key(trunk_id: TrunkId | str) -> str:
    return f"{{dialer}}:given_back:{trunk_id}"


def departure_keys(trunk_id: TrunkId | str) -> list[str]:
    """The keys of departures.lua."""
    sent, unanswered = (f"{{dialer}}:{kind}:{trunk_id}" for kind in ("sent", "unanswered"))
    return [pace_key(trunk_id), sent, unanswered, planned_key(trunk_id), given_back_key(trunk_id)]


def cursor_key(batch_id: BatchId) -> str:
    return f"{{dialer}}:cursor:{batch_id}"


def asked_key(work: str) -> str:
    return f"{{dialer}}:asked:{work}"


def seen_key(work: str) -> str:
    return f"{{dialer}}:seen:{work}"


def milliseconds(at: DateTime) -> int:
    # Through a float some whole milliseconds come out one too low, for example in 2038.
    return at.int_timestamp * 1000 + at.microsecond // 1000


def _moment(ms: float) -> DateTime:
    return moment(datetime.fromtimestamp(ms / 1000, UTC))
