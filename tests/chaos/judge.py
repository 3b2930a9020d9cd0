"""The judges: the audit of the ledger, and the networks' own record of calls, which the engine cannot see.

The record decides what rang twice, over a limit or outside the hours, by rules that share no code with the engine.
Limits and windows that an operator changed are those that were in force shortly before a call: it was granted then.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pendulum import DateTime

from dialer.domain.timeouts import LEAVE_SECONDS
from dialer.engine.audit import audit
from dialer.providers.simulator import CarrierCall
from support.world import World

# A call reaches its network at most so long after its limits were read: a grant is good for 20 s, a request for 15 s,
# and the clocks of processes differ by up to SKEW_SECONDS.
SKEW_SECONDS = 5
JUST_BEFORE = timedelta(seconds=LEAVE_SECONDS)
FRESH = timedelta(seconds=20 + 15 + 2 * SKEW_SECONDS)
LIMITS = """
SELECT b.id, b.status, b.max_concurrent_calls AS calls, b.max_calls_per_day AS day, b.timezone, b.start_time,
       b.end_time, b.working_days, b.retry_failed, b.max_retry_attempts, b.respect_contact_timezone
FROM batches b
"""
OTHER_LIMITS = """
SELECT id, max_concurrent_calls AS calls FROM trunks
UNION ALL SELECT id, max_concurrent_calls FROM phone_numbers
"""


# What is only late, which it may be while processes die; at the end nothing is.
LATE = {"report_unsettled", "retry_overdue", "dispatch_overdue", "start_overdue", "attempt_unattended"}
# Limits that cross batches rest on Redis alone: what it forgot without noticing, the next rescue repairs.
ACROSS = {"number_concurrency", "trunk_concurrency", "number_daily_cap", "trunk_rate"}


class Judge:
    """Watches one story. `look` after every step; `end` when all is over. Both return what is broken."""

    def __init__(
        self,
        world: World,
        batch_of: Mapping[str, UUID],
        departed: list[tuple[str, DateTime]] | None = None,
        written_to: Callable[[], object] | None = None,
    ) -> None:
        """`departed`: which numbers' requests left a process, and when. `written_to`: how far Postgres has written."""
        self.world = world
        self._departed = [] if departed is None else departed
        self._written_to = written_to or partial(world.value, "SELECT pg_current_wal_insert_lsn()")
        self.batch_of = batch_of
        self.forgiven_until: datetime | None = None
        self._but = LATE
        self._judged: tuple[Any, int] | None = None
        self._seen: dict[UUID, int] = defaultdict(int)
        self._rung: dict[UUID, CarrierCall] = {}
        self._up: list[tuple[CarrierCall, UUID]] = []
        self._past: dict[UUID, list[tuple[datetime, Any]]] = defaultdict(list)
        self._paused: dict[UUID, int] = {}
        self._numbers = {row.phone_number: row.id for row in world.rows("SELECT id, phone_number FROM phone_numbers")}
        self.note_limits()

    def note_limits(self) -> None:
        """Write down what an operator has left behind, and how many attempts a paused batch had then."""
        found = [*self.world.rows(LIMITS), *self.world.rows(OTHER_LIMITS)]
        for row in found:
            past = self._past[row.id]
            if not past or past[-1][1] != row:
                past.append((self.world.clock.now, row))
        stopped = [row.id for row in found if getattr(row, "status", None) in ("paused", "cancelled")]
        counts = self._attempts() if stopped else {}
        self._paused = {of: self._paused.get(of, counts.get(of, 0)) for of in stopped}

    def look(self) -> Iterator[str]:
        """Compare the ledger and the networks' records with the promises, if either has changed."""
        yield from self._judge_departures()
        written_to = self._written_to()
        calls = sum(len(network.log) for network in self.world.networks.values())
        if (written_to, calls) == self._judged:
            return
        self._judged = (written_to, calls)
        but = self._but | (ACROSS if self.forgiven_until else set())
        for violation in audit(self.world.db, self.world.clock.now).violations:
            if violation.rule in but:
                continue
            yield f"{violation.promise} {violation.rule}: {violation.message} {violation.rows}"
        counts = self._attempts() if self._paused else {}
        for batch_id, before in self._paused.items():
            if counts.get(batch_id, 0) > before:
                yield f"P4: {counts[batch_id] - before} attempts of batch {batch_id} were made after it was stopped"
        new = [
            (call, trunk_id)
            for trunk_id, network in self.world.networks.items()
            for call in network.log[self._seen[trunk_id] :]
        ]
        for call, trunk_id in sorted(new, key=lambda found: found[0].placed):
            self._seen[trunk_id] += 1
            yield from self._judge(call, trunk_id)

    def end(self) -> Iterator[str]:
        """Compare what is left when all is over."""
        self._but, self._judged = set(), None
        yield from self.look()
        for row in self.world.rows("SELECT id, status FROM batches"):
            if row.status not in ("completed", "cancelled", "failed"):
                yield f"P5: batch {row.id} is {row.status} at the end"
        for row in self.world.rows("SELECT id, status FROM contacts WHERE finished_at IS NULL"):
            yield f"P5: contact {row.id} is {row.status} at the end"
        for row in self.world.rows("SELECT kind, subject, error FROM quarantine"):
            yield f"P5: {row.kind} {row.subject} is in quarantine at the end: {row.error}"
        for row in self.world.rows("SELECT id, attempt_id FROM inbox WHERE settled_at IS NULL"):
            yield f"P5: report {row.id} of attempt {row.attempt_id} is not settled at the end"
        calls = Counter(call.attempt_id for network in self.world.networks.values() for call in network.log)
        for row in self.world.rows("SELECT id, state, outcome, cause FROM attempts"):
            if (row.state == "refused") == bool(calls[row.id]) and row.outcome != "unknown":
                yield f"P1: attempt {row.id} is {row.state} ({row.cause}) and has {calls[row.id]} calls"
        held = list(self.world.leases._redis.scan_iter("{dialer}:slots:*"))
        if held or self.world.leases._redis.exists("{dialer}:deadlines", "{dialer}:holds"):
            yield f"P6: slots are held at the end: {held}"

    def _judge_departures(self) -> Iterator[str]:
        """No request leaves of a batch that is stopped, but for one that was looked at just before (P4)."""
        for number, at in self._departed:
            batch_id = self.batch_of.get(number)
            if batch_id and not any(row.status == "active" for row in self._in_force(batch_id, at, JUST_BEFORE)):
                yield f"P4: the request to call {number} left at {at}, when batch {batch_id} was stopped"
        self._departed.clear()

    def _attempts(self) -> dict[UUID, int]:
        return {
            row.batch_id: row.n for row in self.world.rows("SELECT batch_id, count(*) AS n FROM attempts GROUP BY 1")
        }

    def _judge(self, call: CarrierCall, trunk_id: UUID) -> Iterator[str]:
        if call.attempt_id in self._rung:
            yield f"P1: attempt {call.attempt_id} rang twice"
        self._rung[call.attempt_id] = call
        now = call.placed_at
        self._up = [(other, trunk) for other, trunk in self._up if other.ended > call.placed]
        if any(other.to_number == call.to_number for other, _ in self._up):
            yield f"P1: {call.to_number} has two calls at once, the second by {call.attempt_id}"
        self._up.append((call, trunk_id))
        batch_id = self.batch_of.get(call.to_number)
        if batch_id is None:
            yield f"P1: {call.to_number} is no contact"
            return
        yield from self._judge_limits(call, batch_id, trunk_id, now)
        yield from self._judge_window(call, batch_id, now)
        asked = sum(other.to_number == call.to_number for other in self._rung.values())
        allowed = max(1 + row.retry_failed * row.max_retry_attempts for _, row in self._past[batch_id])
        if asked > allowed:
            yield f"P1: {call.to_number} was called {asked} times, {allowed} are allowed"

    def _judge_limits(self, call: CarrierCall, batch_id: UUID, trunk_id: UUID, now: datetime) -> Iterator[str]:
        number_id = self._numbers[call.from_number]
        held = {
            batch_id: sum(self.batch_of[other.to_number] == batch_id for other, _ in self._up),
            number_id: sum(other.from_number == call.from_number for other, _ in self._up),
            trunk_id: sum(trunk == trunk_id for _, trunk in self._up),
        }
        for of, calls in held.items():
            limits = [row.calls for row in self._in_force(of, now)]
            if of != batch_id and self.forgiven_until is not None and now < self.forgiven_until:
                continue
            if None not in limits and calls > max(limits):
                name = {batch_id: "batch", number_id: "number", trunk_id: "trunk"}[of]
                yield f"P2: {calls} calls at once of {name} {of}, {max(limits)} are allowed"
        caps = [row.day for row in self._in_force(batch_id, now, timedelta(days=1))]
        zones = {row.timezone for row in self._in_force(batch_id, now, timedelta(days=1))}
        if None not in caps and len(zones) == 1:
            (zone,) = (ZoneInfo(name) for name in zones)
            day = now.astimezone(zone).date()
            used = sum(
                self.batch_of[other.to_number] == batch_id and other.placed_at.astimezone(zone).date() == day
                for other in self._rung.values()
            )
            if used > max(caps):
                yield f"P2: {used} calls of batch {batch_id} on {day}, {max(caps)} are allowed"

    def _judge_window(self, call: CarrierCall, batch_id: UUID, now: datetime) -> Iterator[str]:
        rang_at = call.rang_at
        for at in [now] if rang_at is None else [now, rang_at]:
            if not any(_is_open(row, at, call.to_number) for row in self._in_force(batch_id, now)):
                yield f"P3: {call.to_number} was called at {at}, outside the window of {batch_id}"

    def _in_force(self, of: UUID, now: datetime, fresh: timedelta = FRESH) -> list[Any]:
        """The settings that were in force at some moment from `fresh` ago until now."""
        past = self._past[of]
        after = [*past[1:], (None, None)]
        return [row for (_, row), (end, _) in zip(past, after, strict=True) if end is None or end >= now - fresh]


def _is_open(row: Any, at: datetime, number: str) -> bool:
    local = at.astimezone(ZoneInfo(row.timezone))
    start, end = row.start_time or time(0), row.end_time or time(0)
    day = local.isoweekday()
    if end == time(0):
        return local.time() >= start and day in row.working_days
    if start < end:
        return start <= local.time() < end and day in row.working_days
    before = 7 if day == 1 else day - 1
    return (local.time() >= start and day in row.working_days) or (local.time() < end and before in row.working_days)
