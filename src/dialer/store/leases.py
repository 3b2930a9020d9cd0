"""Who holds a slot now: leases in Redis, granted by one Lua script (its key space is drawn at the head of leases.lua).

Attempts come in, those with room in every limit they fall under come out. A holder is the attempt's id, so giving back
twice is giving back once, and there is no counter that could drift. Nothing is freed because time has passed: a
deadline only says when rescue must compare a lease with the ledger. Rates go by the clock of Redis, the only one that
all workers share there.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from importlib import resources
from typing import Any
from uuid import UUID

import redis
from pendulum import DateTime
from redis.backoff import NoBackoff
from redis.retry import Retry

from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.errors import Unavailable
from dialer.store.lease_requests import (
    DEADLINES,
    EPOCH,
    HOLDS,
    LOADED_ON,
    LOOK_AFTER_SECONDS,
    Ask,
    BatchAsk,
    Grants,
    Keys,
    Lease,
    Left,
    asked_key,
    cursor_key,
    departure_keys,
    grants_of,
    loaded_key,
    milliseconds,
    plan_of,
    planned_key,
    slots_key,
)

DAY_KEPT_SECONDS = 3 * 86_400
# How soon to ask again while Redis has to be rebuilt from the ledger.
REBUILD_SECONDS = 1.0
PAGE = 1_000
# All that a rebuild replaces. The counts of metrics and of requests stay.
CLOCKS = "{dialer}:clock:"
PLANNED = planned_key("")
LEASE_KINDS = (
    "slots",
    "day",
    "loaded",
    "pace",
    "planned",
    "sent",
    "unanswered",
    "cursor",
    "deadlines",
    "holds",
    "epoch",
    "run",
)


class Leases:
    """All leases of one installation. Every method may be repeated."""

    def __init__(self, server: str | redis.Redis, *, is_virtual: bool = False) -> None:
        """Take a URL, or a client that decodes what it is answered.

        `is_virtual`: the times that are given are those of Redis too, as under the virtual clock of a test.
        """
        self._redis = _connect(server) if isinstance(server, str) else server
        self._is_virtual = is_virtual
        self._acquire, self._depart = (
            self._redis.register_script(resources.files("dialer.store").joinpath(script).read_text("utf-8"))
            for script in ("leases.lua", "departures.lua")
        )

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        with _answering():
            self._redis.ping()

    def acquire(self, now: DateTime, batches: Sequence[BatchAsk], asks: Sequence[Ask]) -> Grants:
        """Grant slots in the order of `asks`; each gets all its gates of the first route with room, or nothing."""
        keys = Keys()
        plan = plan_of(now, batches, asks, keys, is_virtual=self._is_virtual)
        with self._asking() as pipe:
            pipe.info("server")
            self._acquire(keys=keys.all, args=[json.dumps(plan)], client=pipe)
            server, answer = _answers(pipe)
        found = json.loads(answer)
        epoch = _good_epoch(found.get("epoch"), found.get("loaded_on"), server)
        return grants_of(found, batches, asks, now, epoch)

    def leave(self, now: DateTime, rate: RateLimit, attempt_ids: Sequence[AttemptId]) -> Left:
        """Pass the rate of a trunk for calls that would leave now; none may while Redis has lost its memory."""
        names = [str(attempt_id) for attempt_id in attempt_ids]
        with self._asking() as pipe:
            pipe.info("server")
            pipe.get(EPOCH)
            pipe.get(LOADED_ON)
            self._departures(pipe, rate.trunk_id, "leave", now, rate.window_ms, rate.limit, *names)
            server, epoch, loaded_on, answer = _answers(pipe)
        if _good_epoch(epoch, loaded_on, server) is None:
            return Left(0, REBUILD_SECONDS)
        found = json.loads(answer)
        return Left(found["left"], found["wait"] / 1000)

    def depart(
        self, now: DateTime, rate: RateLimit, leaving: Sequence[AttemptId], withdrawn: Sequence[AttemptId]
    ) -> None:
        """Note of calls that have passed the rate which leave now, and which do not leave after all."""
        names = [str(attempt_id) for attempt_id in (*leaving, *withdrawn)]
        self._departures(self._redis, rate.trunk_id, "left", now, rate.window_ms, len(leaving), *names)

    def answered(self, now: DateTime, rate: RateLimit, took_seconds: float, attempt_ids: Sequence[AttemptId]) -> None:
        """Note that the network has answered about these calls: by now they have begun, if they have."""
        took_ms = round(max(0.0, took_seconds) * 1000, 3)
        self._departures(self._redis, rate.trunk_id, "answered", now, rate.window_ms, took_ms, *map(str, attempt_ids))

    def pause_trunk(self, now: DateTime, trunk_id: TrunkId, seconds: float) -> None:
        """Let no call leave on this trunk for so long: its network said that they come too fast."""
        self._departures(self._redis, trunk_id, "pause", now, round(seconds * 1000))

    def _departures(self, client: Any, trunk_id: TrunkId, what: str, now: DateTime, *values: float | str) -> None:
        own_now = milliseconds(now) if self._is_virtual else ""
        with _answering():
            self._depart(keys=departure_keys(trunk_id), args=[what, own_now, *values], client=client)

    def release(self, leases: Iterable[Lease]) -> None:
        """Free the slots of attempts that are over; the day keeps counting them."""
        self._remove({lease.attempt_id: list(lease.slot_keys) for lease in leases})

    def put_back(self, leases: Iterable[Lease]) -> None:
        """Free the slots and the day allowance of attempts that were surely never placed."""
        self._remove({lease.attempt_id: list(lease.put_back_keys) for lease in leases})

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
        """Say under which epoch this server was loaded, since it was started; None: it has lost its memory, or has the
        memory of another time or of another server.
        """
        with self._asking() as pipe:
            pipe.info("server")
            pipe.get(EPOCH)
            pipe.get(LOADED_ON)
            server, epoch, loaded_on = _answers(pipe)
        return _good_epoch(epoch, loaded_on, server)

    def ask_once(self, work: str, seconds: int) -> bool:
        """Say whether nobody has asked for this work yet: not since it was begun, and not for so many seconds."""
        with _answering():
            return bool(self._redis.set(asked_key(work), 1, nx=True, ex=seconds))

    def begun(self, work: str) -> None:
        """Note that this work was begun: what comes from now on must be asked for again."""
        with _answering():
            self._redis.delete(asked_key(work))

    def is_first(self, work: str, seconds: float) -> bool:
        """Say whether this work was not begun by anybody within so many seconds."""
        with _answering():
            return bool(self._redis.set(asked_key(f"{work}:begun"), 1, nx=True, px=max(1, round(seconds * 1000))))

    def note_skew(self, process: str, seconds: float) -> None:
        """Note for operators that the clock of a process is so far ahead of the ledger's; forgotten after a minute."""
        with _answering():
            self._redis.set(f"{CLOCKS}{process}", round(seconds, 1), ex=60)

    def skews(self) -> dict[str, float]:
        """Read which processes do nothing because of their clocks, and how far each is ahead of the ledger's."""
        with _answering():
            keys = list(self._redis.scan_iter(f"{CLOCKS}*", count=PAGE))
            found = self._redis.mget(keys) if keys else []
        return {key.removeprefix(CLOCKS): float(skew) for key, skew in zip(keys, found, strict=True) if skew}

    def eviction_policy(self) -> str | None:
        """Say by which policy the server evicts keys when its memory is full; None: it refuses writes then."""
        with self._asking() as pipe:
            pipe.info("memory")
            (memory,) = _answers(pipe)
        policy = str(memory.get("maxmemory_policy", "noeviction")) if isinstance(memory, dict) else "noeviction"
        return None if policy == "noeviction" or not memory.get("maxmemory") else policy

    def seconds_since_epoch(self) -> float:
        """Read the clock of Redis."""
        with _answering():
            seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

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

    def unloaded(self, capped: Mapping[NumberId, str], days: Sequence[date]) -> set[NumberId]:
        """Say of which numbers with a daily cap, given with their versions, some of these days are not loaded."""
        asked = [(number_id, version, day) for number_id, version in capped.items() for day in days]
        with _answering():
            found = self._redis.mget([loaded_key(number_id, day) for number_id, _, day in asked]) if asked else []
        return {number_id for (number_id, version, _), is_now in zip(asked, found, strict=True) if is_now != version}

    def mark_loaded(self, capped: Mapping[NumberId, str], days: Sequence[date]) -> None:
        """Let these numbers be used on these days: their sets know all calls that the ledger knows."""
        with self._pipeline() as pipe:
            for number_id, version in capped.items():
                for day in days:
                    pipe.set(loaded_key(number_id, day), version, ex=DAY_KEPT_SECONDS)

    def rebuild(
        self,
        now: DateTime,
        epoch: UUID,
        live: Iterable[Lease],
        counted: Iterable[Lease],
        cursors: Mapping[BatchId, NumberId],
        capped: Mapping[NumberId, str],
        days: Sequence[date],
    ) -> None:
        """Replace all that Redis knows by what the ledger says, and mark it as loaded.

        `counted`: attempts that are over but count toward the caps of `days`. The last departures of a trunk are not
        in the ledger's indexes, so every rate starts with a window of silence.
        """
        with _answering():
            run = self._run()
            self._redis.delete(EPOCH)
            for kind in LEASE_KINDS:
                for page in _pages(self._redis.scan_iter(f"{{dialer}}:{kind}*", count=PAGE)):
                    self._redis.delete(*page)
        self.restore(live, now.add(seconds=LOOK_AFTER_SECONDS))
        self.count_days(counted)
        self.mark_loaded(capped, days)
        with self._pipeline() as pipe:
            for batch_id, number_id in cursors.items():
                pipe.set(cursor_key(batch_id), str(number_id))
        with self._pipeline() as pipe:
            pipe.set(LOADED_ON, run)
            pipe.set(EPOCH, str(epoch))

    def close(self) -> None:
        self._redis.close()

    def _remove(self, held: Mapping[AttemptId, list[str]]) -> None:
        members: dict[str, list[str]] = defaultdict(list)
        for attempt_id, keys in held.items():
            for key in keys:
                members[key].append(str(attempt_id))
        with self._pipeline() as pipe:
            for key, ids in members.items():
                (pipe.zrem if key.startswith(PLANNED) else pipe.srem)(key, *ids)
            if held:
                names = [str(attempt_id) for attempt_id in held]
                pipe.hdel(HOLDS, *names)
                pipe.zrem(DEADLINES, *names)

    def _run(self) -> str:
        with self._asking() as pipe:
            pipe.info("server")
            (server,) = _answers(pipe)
        return _run_of(server)

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        with _answering(), self._redis.pipeline(transaction=False) as pipe:
            yield pipe

    @contextmanager
    def _pipeline(self) -> Iterator[Any]:
        with self._asking() as pipe:
            yield pipe
            if pipe:
                pipe.execute()


def _good_epoch(epoch: object, loaded_on: object, server: object) -> UUID | None:
    """Return the epoch, if this run of the server is the one that was loaded under it.

    A server that was restarted, or took over from another, may have an older memory, its markers included (P2).
    """
    return UUID(str(epoch)) if epoch and loaded_on == _run_of(server) else None


def _run_of(server: object) -> str:
    """Name the run of a server; "": it is one that cannot tell, as fakeredis, and has no memory of another run."""
    return str(server.get("run_id", "")) if isinstance(server, dict) else ""


def _answers(pipe: Any) -> list[Any]:
    """Execute a pipeline; only INFO may be a command that the server does not know."""
    answers = list(pipe.execute(raise_on_error=False))
    for answer in answers:
        if isinstance(answer, redis.RedisError) and "unknown command 'info'" not in str(answer):
            raise answer
    return answers


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
