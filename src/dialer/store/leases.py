"""Leases in Redis: which attempts hold slots now. One Lua script grants them (its keys are listed in leases.lua).

Slot requests go in; grants come out for those with room under all their limits (P2). Each limit is a set of attempt
ids, so that releasing twice is releasing once, and no counter can drift. Nothing is freed because time has passed: a
deadline only says when rescue must compare a lease with the ledger. Rates use the clock of Redis, the one that all
workers share.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from importlib import resources
from math import ceil
from typing import Any
from uuid import UUID

import redis
from pendulum import DateTime

from dialer.domain.gates.room import SlotUsage
from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.domain.slots import BatchRoutes, Lease, RateAllowance, SlotGrants, SlotLimit, SlotRequest
from dialer.domain.timeouts import LEASE_SECONDS
from dialer.errors import Unavailable
from dialer.store import redis_client
from dialer.store.lease_requests import (
    DEADLINES,
    EPOCH,
    HOLDS,
    LOADED_ON,
    Keys,
    asked_key,
    cursor_key,
    day_key,
    departure_keys,
    given_back_key,
    limit_key,
    loaded_key,
    loaded_key_of,
    milliseconds,
    pace_key,
    planned_key,
    put_back_keys,
    read_grants,
    read_pace,
    script_request,
    seen_key,
    slot_keys,
    slots_key,
)

DAY_KEPT_SECONDS = 3 * 86_400
# How soon a departure may ask again while Redis has to be rebuilt from the ledger.
REBUILD_SECONDS = 1.0
PAGE = 1_000
# A planned departure that is so late does not leave any more, as in leases.lua.
ABSENT_MS = 5_000
SEEN_SECONDS = 15
CLOCKS = "{dialer}:clock:"
PLANNED = planned_key("")
# The keys that a rebuild replaces. Metrics and API rate limits stay.
LEASE_KINDS = (
    "slots",
    "day",
    "loaded",
    "pace",
    "planned",
    "given_back",
    "sent",
    "unanswered",
    "cursor",
    "deadlines",
    "holds",
    "epoch",
    "run",
)

# Ends a rebuild, if nothing has happened to Redis since it began. KEYS: run, epoch. ARGV: loading, run, epoch.
MARK_LOADED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return 1
"""


class Leases:
    """All leases of one installation. Every method may be called again after an error."""

    def __init__(self, server: str | redis.Redis, *, is_virtual: bool = False) -> None:
        """Take a URL, or a client that decodes responses.

        `is_virtual`: `now` arguments replace the clock of Redis, as under the virtual clock of a test.
        """
        self._redis = _connect(server) if isinstance(server, str) else server
        self._is_virtual = is_virtual
        self._acquire, self._depart = (
            self._redis.register_script(resources.files("dialer.store").joinpath(script).read_text("utf-8"))
            for script in ("leases.lua", "departures.lua")
        )
        self._mark_loaded = self._redis.register_script(MARK_LOADED)

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        with _answering():
            self._redis.ping()

    def acquire(self, now: DateTime, batches: Sequence[BatchRoutes], requests: Sequence[SlotRequest]) -> SlotGrants:
        """Grant slots in the order of `requests`: each gets all slots of the first route with room, or nothing."""
        keys = Keys()
        request = script_request(now, batches, requests, keys, is_virtual=self._is_virtual)
        with self._asking() as pipe:
            pipe.info("server")
            self._acquire(keys=keys.all, args=[json.dumps(request)], client=pipe)
            server, answer = _answers(pipe)
        grants = json.loads(answer)
        epoch = _valid_epoch(grants.get("epoch"), grants.get("loaded_on"), server)
        return read_grants(grants, batches, requests, now, epoch)

    def leave(self, now: DateTime, rate: RateLimit, attempt_ids: Sequence[AttemptId]) -> RateAllowance:
        """Ask how many of these calls the trunk's rate lets leave now; none while Redis has lost its memory."""
        names = [str(attempt_id) for attempt_id in attempt_ids]
        with self._asking() as pipe:
            pipe.info("server")
            pipe.get(EPOCH)
            pipe.get(LOADED_ON)
            self._departures(pipe, rate.trunk_id, "leave", now, rate.window_ms, rate.limit, *names)
            server, epoch, loaded_on, answer = _answers(pipe)
        if _valid_epoch(epoch, loaded_on, server) is None:
            return RateAllowance(0, REBUILD_SECONDS)
        allowance = json.loads(answer)
        return RateAllowance(allowance["left"], allowance["wait"] / 1000)

    def depart(
        self, now: DateTime, rate: RateLimit, leaving: Sequence[AttemptId], withdrawn: Sequence[AttemptId]
    ) -> None:
        """Note of calls that have passed the rate which leave now, and which do not leave after all."""
        names = [str(attempt_id) for attempt_id in (*leaving, *withdrawn)]
        self._departures(self._redis, rate.trunk_id, "left", now, rate.window_ms, len(leaving), *names)

    def answered(self, now: DateTime, rate: RateLimit, took_seconds: float, attempt_ids: Sequence[AttemptId]) -> None:
        """Record that the network has answered the requests of these calls: those that began have begun before now."""
        took_ms = round(max(0.0, took_seconds) * 1000, 3)
        self._departures(self._redis, rate.trunk_id, "answered", now, rate.window_ms, took_ms, *map(str, attempt_ids))

    def pause_trunk(self, now: DateTime, trunk_id: TrunkId, seconds: float) -> None:
        """Let no call leave on this trunk for so long: its network refuses the rate."""
        self._departures(self._redis, trunk_id, "pause", now, round(seconds * 1000))

    def _departures(self, client: Any, trunk_id: TrunkId, what: str, now: DateTime, *values: float | str) -> None:
        own_now = milliseconds(now) if self._is_virtual else ""
        with _answering():
            self._depart(keys=departure_keys(trunk_id), args=[what, own_now, *values], client=client)

    def release(self, leases: Iterable[Lease]) -> None:
        """Free the slots of attempts that are over; the day keeps counting them."""
        self._remove({lease.attempt_id: slot_keys(lease) for lease in leases})

    def put_back(self, leases: Iterable[Lease]) -> None:
        """Free the slots and the day allowance of attempts that were never placed."""
        self._remove({lease.attempt_id: put_back_keys(lease) for lease in leases})

    def forget(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Free everything that is held for these attempts, which never reached the ledger."""
        with _answering():
            held = self._redis.hmget(HOLDS, [str(attempt_id) for attempt_id in attempt_ids]) if attempt_ids else []
        self._remove({attempt_id: json.loads(keys or "[]") for attempt_id, keys in zip(attempt_ids, held, strict=True)})

    def renew(self, attempt_ids: Iterable[AttemptId], look_at: DateTime) -> None:
        """Set when rescue must compare these leases with the ledger."""
        with self._pipeline() as pipe:
            scores = {str(attempt_id): milliseconds(look_at) for attempt_id in attempt_ids}
            if scores:
                pipe.zadd(DEADLINES, scores, xx=True)

    def overdue(self, now: DateTime) -> list[AttemptId]:
        """List a page of the leases whose deadline has passed, longest overdue first."""
        with _answering():
            members = self._redis.zrange(DEADLINES, "-inf", milliseconds(now), byscore=True, offset=0, num=PAGE)
        return [AttemptId(UUID(str(member))) for member in members]

    def epoch(self) -> UUID | None:
        """Return the epoch under which this run of the server was loaded; None: it has lost its memory, or has an older
        one, from before a restart or from another server.
        """
        with self._asking() as pipe:
            pipe.info("server")
            pipe.get(EPOCH)
            pipe.get(LOADED_ON)
            server, epoch, loaded_on = _answers(pipe)
        return _valid_epoch(epoch, loaded_on, server)

    def usage(self, now: DateTime, routes: BatchRoutes) -> SlotUsage:
        """Read how far the limits of a batch and its numbers are used, and how far departures are planned."""
        limits = [SlotLimit.of_batch(routes.batch_id, routes.limit)]
        limits += [limit for route in routes.routes for limit in route.limits]
        trunks = list(dict.fromkeys(route.trunk_id for route in routes.routes))
        with self._asking() as pipe:
            pipe.info("server")
            pipe.mget(EPOCH, LOADED_ON, *(loaded_key_of(limit) for limit in limits))
            for limit in limits:
                pipe.scard(limit_key(limit))
            for trunk_id in trunks:
                pipe.hmget(pace_key(trunk_id), "next", "paused_until")
                pipe.zcount(planned_key(trunk_id), f"({milliseconds(now) - ABSENT_MS}", "+inf")
                pipe.zrange(given_back_key(trunk_id), 0, -1, withscores=True)
            server, (epoch, loaded_on, *versions), *counts = _answers(pipe)
        taken = {
            limit: count if limit.day is None or version == limit.version else None
            for limit, count, version in zip(limits, counts, versions, strict=False)
        }
        read = counts[len(limits) :]
        paces = dict(zip(trunks, map(read_pace, read[::3], read[1::3], read[2::3]), strict=True))
        return SlotUsage(_valid_epoch(epoch, loaded_on, server), taken, paces)

    def ask_once(self, work: str, seconds: int) -> bool:
        """Say whether this is the first request for this work since it was last begun, or within so many seconds."""
        with _answering():
            return bool(self._redis.set(asked_key(work), 1, nx=True, ex=seconds))

    def begun(self, work: str) -> None:
        """Record that this work has begun: whatever comes from now on must be requested again."""
        with _answering():
            self._redis.delete(asked_key(work))

    def is_first(self, work: str, seconds: float) -> bool:
        """Say whether no process has begun this work within so many seconds."""
        with _answering():
            is_first = bool(self._redis.set(asked_key(f"{work}:begun"), 1, nx=True, px=max(1, round(seconds * 1000))))
            if is_first:
                self._redis.set(seen_key(work), 1, ex=max(SEEN_SECONDS, ceil(6 * seconds)))
        return is_first

    def was_begun(self, work: str) -> bool:
        """Say whether a process has begun this work lately: within SEEN_SECONDS, or a few of its intervals."""
        with _answering():
            return bool(self._redis.exists(seen_key(work)))

    def note_skew(self, process: str, seconds: float) -> None:
        """Record for operators that a process's clock is so far ahead of the ledger's; expires after a minute."""
        with _answering():
            self._redis.set(f"{CLOCKS}{process}", round(seconds, 1), ex=60)

    def skews(self) -> dict[str, float]:
        """Read which processes do nothing because of their clocks, and how far each clock is ahead of the ledger's."""
        with _answering():
            keys = list(self._redis.scan_iter(f"{CLOCKS}*", count=PAGE))
            clock_skews = self._redis.mget(keys) if keys else []
        return {key.removeprefix(CLOCKS): float(skew) for key, skew in zip(keys, clock_skews, strict=True) if skew}

    def server_info(self) -> Mapping[str, Any]:
        """Read what the server says of its memory and of its role; empty: it says nothing, as fakeredis."""
        with self._asking() as pipe:
            pipe.info("memory")
            pipe.info("replication")
            answers = _answers(pipe)
        return {key: value for answer in answers if isinstance(answer, dict) for key, value in answer.items()}

    def seconds_since_epoch(self) -> float:
        """Read the clock of Redis."""
        with _answering():
            seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    def void(self) -> None:
        """Delete the epoch marker. No slot is granted until rescue rebuilds Redis."""
        with _answering():
            self._redis.delete(EPOCH)

    def missing(self, leases: Sequence[Lease]) -> list[Lease]:
        """List the leases that are missing from at least one set that they belong to."""
        members: dict[str, list[Lease]] = defaultdict(list)
        for lease in leases:
            for key in slot_keys(lease):
                members[key].append(lease)
        return self._outside(members)

    def _outside(self, members: Mapping[str, Sequence[Lease]]) -> list[Lease]:
        """Return the leases that are missing from a set under whose key they are, each once."""
        with _answering():
            pipe = self._redis.pipeline(transaction=False)
            for key, holders in members.items():
                pipe.smismember(key, [str(lease.attempt_id) for lease in holders])
            answers = pipe.execute()
        together = zip(members.values(), answers, strict=True)
        found = [pair for holders, present in together for pair in zip(holders, present, strict=True)]
        return list({lease.attempt_id: lease for lease, is_there in found if not is_there}.values())

    def remind(self, look_at: DateTime) -> int:
        """Restore the deadline, and the list of what is held, of attempts for which Redis has lost them, as after a
        failover or an eviction: nothing else would ever free their slots (P6). Return how many there were.
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
        """Write the leases of attempts that are live in the ledger."""
        with self._pipeline() as pipe:
            for lease in live:
                keys = slot_keys(lease)
                for key in keys:
                    pipe.sadd(key, str(lease.attempt_id))
                pipe.hset(HOLDS, str(lease.attempt_id), json.dumps(keys))
                pipe.zadd(DEADLINES, {str(lease.attempt_id): milliseconds(look_at)})

    def count_days(self, counted: Iterable[Lease]) -> list[Lease]:
        """Count these attempts toward the daily caps of their numbers; return those that were not counted before."""
        days: dict[str, list[Lease]] = defaultdict(list)
        for lease in counted:
            days[day_key(lease.number_id, lease.utc_on)].append(lease)
        missing = self._outside(days)
        with self._pipeline() as pipe:
            for lease in missing:
                pipe.sadd(day_key(lease.number_id, lease.utc_on), str(lease.attempt_id))
            for key in days:
                pipe.expire(key, DAY_KEPT_SECONDS)
        return missing

    def unloaded(self, capped: Mapping[NumberId, str], days: Sequence[date]) -> set[NumberId]:
        """Return the numbers in `capped` that are not loaded for one of these days. `capped`: with their versions."""
        asked = [(number_id, version, day) for number_id, version in capped.items() for day in days]
        with _answering():
            loaded = self._redis.mget([loaded_key(number_id, day) for number_id, _, day in asked]) if asked else []
        return {number_id for (number_id, version, _), present in zip(asked, loaded, strict=True) if present != version}

    def mark_loaded(self, capped: Mapping[NumberId, str], days: Sequence[date]) -> None:
        """Let these numbers be used on these days: their sets hold all calls that the ledger has."""
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
        """Replace all leases by those of the ledger, and mark Redis as loaded.

        `counted`: attempts that count toward the caps of `days`, also those that are over. The last departures of a
        trunk cannot be read quickly from the ledger, so every rate starts with one window without departures (P2).

        Raise Unavailable if Redis has lost its memory meanwhile: it is not marked, and the next rebuild begins again.
        """
        is_loading = f"loading {epoch}"
        with _answering():
            run = self._run()
            for kind in LEASE_KINDS:
                for page in _pages(self._redis.scan_iter(f"{{dialer}}:{kind}*", count=PAGE)):
                    # With the marker, in case another rebuild has set it since: this one may have stood still.
                    self._redis.delete(EPOCH, *page)
            self._redis.set(LOADED_ON, is_loading)
        self.restore(live, now.add(seconds=LEASE_SECONDS))
        self.count_days(counted)
        self.mark_loaded(capped, days)
        with self._pipeline() as pipe:
            for batch_id, number_id in cursors.items():
                pipe.set(cursor_key(batch_id), str(number_id))
        with _answering():
            is_loaded = self._mark_loaded(keys=[LOADED_ON, EPOCH], args=[is_loading, run, str(epoch)])
        if not is_loaded:
            raise Unavailable("Redis has lost its memory while it was loaded from the ledger")

    def close(self) -> None:
        self._redis.close()

    def _remove(self, held: Mapping[AttemptId, list[str]]) -> None:
        members: dict[str, list[str]] = defaultdict(list)
        for attempt_id, keys in held.items():
            for key in keys:
                members[key].append(str(attempt_id))
        with self._pipeline() as pipe:
            for key, ids in members.items():
                if key.startswith(PLANNED):
                    keys = departure_keys(key.removeprefix(PLANNED))
                    self._depart(keys=keys, args=["give_back", "", *ids], client=pipe)
                else:
                    pipe.srem(key, *ids)
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


def _valid_epoch(epoch: object, loaded_on: object, server: object) -> UUID | None:
    """Return the epoch, if this run of the server is the one that was loaded under it.

    A server that was restarted, or took over from another, may have an older memory, its markers included (P2).
    """
    return UUID(str(epoch)) if epoch and loaded_on == _run_of(server) else None


def _run_of(server: object) -> str:
    """Return the id of a server's run; "": it has none, as fakeredis, which keeps nothing over a restart."""
    return str(server.get("run_id", "")) if isinstance(server, dict) else ""


def _answers(pipe: Any) -> list[Any]:
    """Execute a pipeline; raise its first error, except that the server does not know INFO."""
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
        return redis_client.connect(url, timeout_seconds=2)
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
