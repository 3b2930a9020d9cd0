"""Who holds a slot now: leases in Redis, granted by one Lua script (its key space is drawn at the head of leases.lua).

Attempts come in, those with room in every limit they fall under come out. A holder is the attempt's id, so giving back
twice is giving back once, and there is no counter that could drift. Nothing is freed because time has passed: a
deadline only says when rescue must compare a lease with the ledger.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any
from uuid import UUID

import redis
from pendulum import DateTime
from redis.backoff import NoBackoff
from redis.retry import Retry

from dialer.domain.ids import AttemptId, BatchId, NumberId
from dialer.domain.pacing import RateLimit
from dialer.errors import Unavailable
from dialer.store.gates import (
    DEADLINES,
    EPOCH,
    HOLDS,
    LOOK_AFTER_SECONDS,
    Ask,
    BatchAsk,
    Grants,
    Keys,
    Lease,
    asked_key,
    cursor_key,
    grants_of,
    milliseconds,
    plan_of,
    rate_key,
    slots_key,
)

DAY_KEPT_SECONDS = 3 * 86_400
PAGE = 1_000


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
        keys = Keys()
        plan = plan_of(now, batches, asks, keys)
        with _answering():
            answer = json.loads(self._script(keys=keys.all, args=[json.dumps(plan)]))
        return grants_of(answer, batches, asks)

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
            scores = {str(of): milliseconds(look_at) for of in attempt_ids}
            if scores:
                pipe.zadd(DEADLINES, scores, xx=True)

    def overdue(self, now: DateTime) -> list[AttemptId]:
        """List a page of the leases whose deadline has passed, longest overdue first."""
        with _answering():
            found = self._redis.zrange(DEADLINES, "-inf", milliseconds(now), byscore=True, offset=0, num=PAGE)
        return [AttemptId(UUID(str(member))) for member in found]

    def epoch(self) -> UUID | None:
        """Say under which epoch Redis was loaded; None: it has lost its memory."""
        with _answering():
            value = self._redis.get(EPOCH)
        return UUID(str(value)) if value else None

    def ask_once(self, work: str, seconds: int) -> bool:
        """Say whether nobody has asked for this work yet: not since it was begun, and not for so many seconds."""
        with _answering():
            return bool(self._redis.set(asked_key(work), 1, nx=True, ex=seconds))

    def begun(self, work: str) -> None:
        """Note that this work was begun: what comes from now on must be asked for again."""
        with _answering():
            self._redis.delete(asked_key(work))

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

    def remind(self, look_at: DateTime) -> int:
        """Note anew when rescue looks at holders, and what they hold, where Redis has lost some of it, as after a
        failover or an eviction: nothing else would ever find them. Return how many there were.
        """
        with _answering():
            keys = list(self._redis.scan_iter(slots_key("*", "*"), count=PAGE))
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.smembers(key)
            pipe.hkeys(HOLDS)
            *sets, holders = pipe.execute()
            held: dict[str, list[str]] = {name: [] for name in holders}
            for key, members in zip(keys, sets, strict=True):
                for member in members:
                    held.setdefault(member, []).append(key)
            forgotten = [
                member
                for page in _pages(held)
                for member, deadline, holds in zip(
                    page, self._redis.zmscore(DEADLINES, page), self._redis.hmget(HOLDS, page), strict=True
                )
                if deadline is None or holds is None
            ]
        with self._pipeline() as pipe:
            for member in forgotten:
                pipe.hsetnx(HOLDS, member, json.dumps(held[member]))
                pipe.zadd(DEADLINES, {member: milliseconds(look_at)}, nx=True)
        return len(forgotten)

    def restore(self, live: Iterable[Lease], look_at: DateTime) -> None:
        """Write leases that the ledger says are held."""
        with self._pipeline() as pipe:
            for lease in live:
                keys = list(lease.slot_keys)
                for key in keys:
                    pipe.sadd(key, str(lease.attempt_id))
                pipe.hset(HOLDS, str(lease.attempt_id), json.dumps(keys))
                pipe.zadd(DEADLINES, {str(lease.attempt_id): milliseconds(look_at)})

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
                pipe.set(cursor_key(batch_id), str(number_id))
            for rate in rates:
                pipe.zadd(rate_key(rate.trunk_id), {f"rebuilt:{n}": milliseconds(now) for n in range(rate.limit)})
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
            url,
            decode_responses=True,
            socket_timeout=2,
            socket_connect_timeout=2,
            health_check_interval=30,
            # Once more for a connection that was closed while it was idle; more would hold a step for a minute.
            retry=Retry(NoBackoff(), 1),
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
