"""Who holds a slot now: leases in Redis, granted by one Lua script (its key space is drawn at the head of leases.lua).

Attempts come in, those with room in every limit they fall under come out. A holder is the attempt's id, so giving back
twice is giving back once, and there is no counter that could drift. Nothing is freed because time has passed: a
deadline only says when rescue must compare a lease with the ledger.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from typing import Any
from uuid import UUID

import pendulum
import redis
from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.errors import Unavailable

EPOCH, DEADLINES, HOLDS = (f"{{dialer}}:{name}" for name in ("epoch", "deadlines", "holds"))
# A lease whose attempt has not reached the ledger by then belongs to a dispatch that died.
LOOK_AFTER_SECONDS = 30
DAY_KEPT_SECONDS = 3 * 86_400
PAGE = 1_000
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
        return cls(_slots("batch", batch_id), limit, "slots")

    @classmethod
    def of_number(cls, number_id: NumberId, limit: int | None) -> "Gate":
        return cls(_slots("number", number_id), limit, "number")

    @classmethod
    def of_number_day(cls, number_id: NumberId, day: date, limit: int) -> "Gate":
        return cls(_day(number_id, day), limit, "number_day")

    @classmethod
    def of_trunk(cls, trunk_id: TrunkId, limit: int | None) -> "Gate":
        return cls(_slots("trunk", trunk_id), limit, "trunk")


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
        return tuple(_slots(kind, of) for kind, of in ids)

    @property
    def day_key(self) -> str:
        return _day(self.number_id, self.utc_on)


class Leases:
    """All leases of one installation. Every method may be repeated."""

    def __init__(self, server: str | redis.Redis) -> None:
        """Take a URL, or a client that decodes what it is answered."""
        self._redis = _connect(server) if isinstance(server, str) else server
        self._script = self._redis.register_script(
            resources.files("dialer.store").joinpath("leases.lua").read_text("utf-8")
        )

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        with _answering():
            self._redis.ping()

    def acquire(self, now: DateTime, batches: Sequence[BatchAsk], asks: Sequence[Ask]) -> Grants:
        """Grant slots in the order of `asks`; each gets all its gates of the first route with room, or nothing."""
        keys = _Keys()
        plan = _plan(now, batches, asks, keys)
        with _answering():
            answer = json.loads(self._script(keys=keys.all, args=[json.dumps(plan)]))
        return _grants(answer, batches, asks)

    def release(self, leases: Iterable[Lease]) -> None:
        """Free the slots of attempts that are over; the day keeps counting them."""
        self._remove({lease.attempt_id: list(lease.slot_keys) for lease in leases})

    def put_back(self, leases: Iterable[Lease]) -> None:
        """Free the slots and the day allowance of attempts that were surely never placed."""
        self._remove({lease.attempt_id: [*lease.slot_keys, lease.day_key] for lease in leases})

    def forget(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Free all that is held in these names: for attempts that never reached the ledger."""
        with _answering():
            held = self._redis.hmget(HOLDS, [str(of) for of in attempt_ids]) if attempt_ids else []
        self._remove({of: json.loads(keys or "[]") for of, keys in zip(attempt_ids, held, strict=True)})

    def renew(self, attempt_ids: Iterable[AttemptId], look_at: DateTime) -> None:
        """Move the moment at which rescue must look at these leases."""
        with self._pipeline() as pipe:
            scores = {str(of): _ms(look_at) for of in attempt_ids}
            if scores:
                pipe.zadd(DEADLINES, scores, xx=True)

    def overdue(self, now: DateTime) -> list[AttemptId]:
        """List a page of the leases whose deadline has passed, longest overdue first."""
        with _answering():
            found = self._redis.zrange(DEADLINES, "-inf", _ms(now), byscore=True, offset=0, num=PAGE)
        return [AttemptId(UUID(str(member))) for member in found]

    def epoch(self) -> UUID | None:
        """Say under which epoch Redis was loaded; None: it has lost its memory."""
        with _answering():
            value = self._redis.get(EPOCH)
        return UUID(str(value)) if value else None

    def void(self) -> None:
        """Forget under which epoch Redis was loaded, so that nothing is granted until it is rebuilt."""
        with _answering():
            self._redis.delete(EPOCH)

    def missing(self, leases: Sequence[Lease]) -> list[Lease]:
        """List those of these leases that Redis does not hold in every set they belong to."""
        members: dict[str, list[Lease]] = defaultdict(list)
        for lease in leases:
            for key in lease.slot_keys:
                members[key].append(lease)
        with _answering():
            pipe = self._redis.pipeline(transaction=False)
            for key, holders in members.items():
                pipe.smismember(key, [str(lease.attempt_id) for lease in holders])
            answers = pipe.execute()
        lost = {
            lease.attempt_id
            for holders, present in zip(members.values(), answers, strict=True)
            for lease, is_there in zip(holders, present, strict=True)
            if not is_there
        }
        return [lease for lease in leases if lease.attempt_id in lost]

    def restore(self, live: Iterable[Lease], look_at: DateTime) -> None:
        """Write leases that the ledger says are held."""
        with self._pipeline() as pipe:
            for lease in live:
                keys = list(lease.slot_keys)
                for key in keys:
                    pipe.sadd(key, str(lease.attempt_id))
                pipe.hset(HOLDS, str(lease.attempt_id), json.dumps(keys))
                pipe.zadd(DEADLINES, {str(lease.attempt_id): _ms(look_at)})

    def count_days(self, counted: Iterable[Lease]) -> None:
        """Count these attempts toward the daily caps of their numbers."""
        days: dict[str, list[str]] = defaultdict(list)
        for lease in counted:
            days[lease.day_key].append(str(lease.attempt_id))
        with self._pipeline() as pipe:
            for key, members in days.items():
                pipe.sadd(key, *members)
                pipe.expire(key, DAY_KEPT_SECONDS)

    def rebuild(
        self,
        now: DateTime,
        epoch: UUID,
        live: Iterable[Lease],
        counted: Iterable[Lease],
        cursors: Mapping[BatchId, NumberId],
        rates: Iterable[RateLimit],
    ) -> None:
        """Replace all that Redis knows by what the ledger says, and mark it as loaded.

        `counted`: attempts that are over but count toward today's caps. The last grants of a trunk are not in the
        ledger's indexes, so every rate starts with a full window: one window of silence instead of a second burst.
        """
        with _answering():
            self._redis.delete(EPOCH)
            for page in _pages(self._redis.scan_iter("{dialer}:*", count=PAGE)):
                self._redis.delete(*page)
        self.restore(live, now.add(seconds=LOOK_AFTER_SECONDS))
        self.count_days(counted)
        with self._pipeline() as pipe:
            for batch_id, number_id in cursors.items():
                pipe.set(_cursor(batch_id), str(number_id))
            for rate in rates:
                pipe.zadd(_rate(rate.trunk_id), {f"rebuilt:{n}": _ms(now) for n in range(rate.limit)})
        with _answering():
            self._redis.set(EPOCH, str(epoch))

    def close(self) -> None:
        self._redis.close()

    def _remove(self, held: Mapping[AttemptId, list[str]]) -> None:
        members: dict[str, list[str]] = defaultdict(list)
        for attempt_id, keys in held.items():
            for key in keys:
                members[key].append(str(attempt_id))
        with self._pipeline() as pipe:
            for key, ids in members.items():
                # A rate is a sorted set: what was granted there stays spent.
                if not key.startswith("{dialer}:rate:"):
                    pipe.srem(key, *ids)
            if held:
                names = [str(attempt_id) for attempt_id in held]
                pipe.hdel(HOLDS, *names)
                pipe.zrem(DEADLINES, *names)

    @contextmanager
    def _pipeline(self) -> Iterator[Any]:
        with _answering(), self._redis.pipeline(transaction=False) as pipe:
            yield pipe
            if pipe:
                pipe.execute()


class _Keys:
    """The keys that a script call touches, each once; the plan refers to them by their index from 1."""

    def __init__(self) -> None:
        self.all = [EPOCH, DEADLINES, HOLDS]
        self._index: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._index:
            self.all.append(key)
            self._index[key] = len(self.all)
        return self._index[key]


def _plan(now: DateTime, batches: Sequence[BatchAsk], asks: Sequence[Ask], keys: _Keys) -> dict[str, Any]:
    index = {batch.batch_id: position for position, batch in enumerate(batches)}
    return {
        "now": _ms(now),
        "look_at": _ms(now.add(seconds=LOOK_AFTER_SECONDS)),
        "batches": [_plan_batch(batch, keys) for batch in batches],
        "asks": [[str(ask.attempt_id), index[ask.batch_id], ask.order] for ask in asks],
    }


def _plan_batch(batch: BatchAsk, keys: _Keys) -> dict[str, Any]:
    def gates(all_of: Iterable[Gate]) -> list[Any]:
        return [[keys(gate.key), UNLIMITED if gate.limit is None else gate.limit, gate.name] for gate in all_of]

    def route(of: Route) -> dict[str, Any]:
        rate = of.rate and [keys(_rate(of.rate.trunk_id)), of.rate.limit, of.rate.window_ms]
        return {"id": str(of.number_id), "gates": gates(of.gates)} | ({"rate": rate} if rate else {})

    cursor = {"cursor": keys(_cursor(batch.batch_id))} if batch.round_robin else {}
    own = gates([Gate.of_batch(batch.batch_id, batch.limit)])
    return {"gates": own, "routes": [route(of) for of in batch.routes]} | cursor


def _grants(answer: dict[str, Any], batches: Sequence[BatchAsk], asks: Sequence[Ask]) -> Grants:
    routes = {batch.batch_id: batch.routes for batch in batches}
    granted = tuple(
        Granted(asks[ask], routes[asks[ask].batch_id][route], _moment(at)) for ask, route, at in answer["granted"]
    )
    # An empty Lua table is encoded as {} whether it was a list or a mapping.
    held = {batches[int(index)].batch_id: name for index, name in (answer.get("held") or {}).items()}
    free_at = {batches[int(index)].batch_id: _moment(at) for index, at in (answer.get("free_at") or {}).items()}
    epoch = answer.get("epoch")
    return Grants(UUID(epoch) if epoch else None, granted, held, free_at)


def _slots(kind: str, of: UUID) -> str:
    return f"{{dialer}}:slots:{kind}:{of}"


def _day(number_id: NumberId, day: date) -> str:
    return f"{{dialer}}:day:{number_id}:{day.isoformat()}"


def _rate(trunk_id: TrunkId) -> str:
    return f"{{dialer}}:rate:{trunk_id}"


def _cursor(batch_id: BatchId) -> str:
    return f"{{dialer}}:cursor:{batch_id}"


def _ms(at: DateTime) -> int:
    # Through a float some whole milliseconds would come out one too low (those of 2038, as it happens).
    return at.int_timestamp * 1000 + at.microsecond // 1000


def _moment(ms: float) -> DateTime:
    return pendulum.from_timestamp(ms / 1000)


def _pages(keys: Iterable[str]) -> Iterator[list[str]]:
    page: list[str] = []
    for key in keys:
        page.append(key)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _connect(url: str) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=2, socket_connect_timeout=2, health_check_interval=30
        )
    except ValueError:
        raise Unavailable("DIALER_REDIS_URL is not a Redis URL (redis://…)") from None


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
    except redis.ResponseError as error:
        # Redis 6 reports what stops a script as an error of the script.
        refused = isinstance(error, redis.OutOfMemoryError | redis.ReadOnlyError)
        if refused or "OOM" in str(error) or "READONLY" in str(error):
            raise Unavailable(f"Redis takes no writes: {error}") from error
        raise
