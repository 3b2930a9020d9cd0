"""Checks the promises P1 to P6 with the audit, and with the networks' own call records, which the engine cannot see.

The call records show calls that were made twice, over a limit or outside the window, by rules that share no code with
the engine. When an operator changes a limit or a window, a call may obey any value that was in force shortly before it.
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

# The longest time from reading the limits until the call arrives at its network: a grant is valid for 20 s, a request
# for 15 s, and the clocks of processes differ by up to SKEW_SECONDS.
SKEW_SECONDS = 5
LEAVE_VALIDITY = timedelta(seconds=LEAVE_SECONDS)
GRANT_VALIDITY = timedelta(seconds=20 + 15 + 2 * SKEW_SECONDS)
LIMITS = """
SELECT b.id, b.status, b.max_concurrent_calls AS calls, b.max_calls_per_day AS day, b.timezone, b.start_time,
       b.end_time, b.working_days, b.retry_failed, b.max_retry_attempts, b.respect_contact_timezone
FROM batches b
"""
OTHER_LIMITS = """
SELECT id, max_concurrent_calls AS calls FROM trunks
UNION ALL SELECT id, max_concurrent_calls FROM phone_numbers
"""


# Rules about delays, which are allowed while processes are killed, and not at the end.
ALLOWED_DELAYS = {
    "report_unsettled", "retry_overdue", "dispatch_overdue", "start_overdue", "attempt_unattended",
    "bulk_change_overdue",
}  # fmt: skip
# The zone of all contacts: that of their numbers, +1 201 555 xxxx.
ZONE_OF_NUMBERS = "America/New_York"
# Limits across batches depend on Redis alone. After Redis has lost keys unnoticed, the next rescue repairs them.
CROSS_BATCH_RULES = {"number_concurrency", "trunk_concurrency", "number_daily_cap", "trunk_rate"}


class InvariantChecker:
    """Checks one scenario: `check` after each step, `check_final` at the end. Both return the broken promises."""

    def __init__(
        self,
        world: World,
        batch_of: Mapping[str, UUID],
        departed: list[tuple[str, DateTime]] | None = None,
        wal_position: Callable[[], object] | None = None,
    ) -> None:
        """`departed`: the numbers of requests that have left, and when. `wal_position`: changes with each write."""
        self.world = world
        self._departed = [] if departed is None else departed
        self._wal_position = wal_position or partial(world.value, "SELECT pg_current_wal_insert_lsn()")
        self.batch_of = batch_of
        self.removed: dict[str, datetime] = {}  # number -> when its contact was taken out
        self.tolerated_until: datetime | None = None
        self._ignored_rules = ALLOWED_DELAYS
        self._checked_state: tuple[Any, int] | None = None
        self._seen_calls: dict[UUID, int] = defaultdict(int)
        self._calls_by_attempt: dict[UUID, CarrierCall] = {}
        self._live_calls: list[tuple[CarrierCall, UUID]] = []
        self._limit_history: dict[UUID, list[tuple[datetime, Any]]] = defaultdict(list)
        self._attempts_when_stopped: dict[UUID, int] = {}
        self._numbers = {row.phone_number: row.id for row in world.rows("SELECT id, phone_number FROM phone_numbers")}
        self.record_limits()

    def record_limits(self) -> None:
        """Record the limits after an operator's change, and how many attempts each stopped batch has."""
        settings = [*self.world.rows(LIMITS), *self.world.rows(OTHER_LIMITS)]
        for row in settings:
            history = self._limit_history[row.id]
            if not history or history[-1][1] != row:
                history.append((self.world.clock.now, row))
        stopped = [row.id for row in settings if getattr(row, "status", None) in ("paused", "cancelled")]
        counts = self._attempts() if stopped else {}
        self._attempts_when_stopped = {
            batch_id: self._attempts_when_stopped.get(batch_id, counts.get(batch_id, 0)) for batch_id in stopped
        }

    def check(self) -> Iterator[str]:
        """Check the promises, if the database or the networks' call records have changed since the last check."""
        yield from self._check_departures()
        wal_position = self._wal_position()
        calls = sum(len(network.log) for network in self.world.networks.values())
        if (wal_position, calls) == self._checked_state:
            return
        self._checked_state = (wal_position, calls)
        ignored_rules = self._ignored_rules | (CROSS_BATCH_RULES if self.tolerated_until else set())
        for violation in audit(self.world.db, self.world.clock.now).violations:
            if violation.rule in ignored_rules:
                continue
            yield f"{violation.promise} {violation.rule}: {violation.message} {violation.rows}"
        counts = self._attempts() if self._attempts_when_stopped else {}
        for batch_id, before in self._attempts_when_stopped.items():
            if counts.get(batch_id, 0) > before:
                yield f"P4: {counts[batch_id] - before} attempts of batch {batch_id} were made after it was stopped"
        new = [
            (call, trunk_id)
            for trunk_id, network in self.world.networks.items()
            for call in network.log[self._seen_calls[trunk_id] :]
        ]
        for call, trunk_id in sorted(new, key=lambda pair: pair[0].placed):
            self._seen_calls[trunk_id] += 1
            yield from self._check_call(call, trunk_id)

    def check_final(self) -> Iterator[str]:
        """Check the final state: all contacts final, all events settled, no slot held, and no delay left."""
        self._ignored_rules, self._checked_state = set(), None
        yield from self.check()
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

    def _check_departures(self) -> Iterator[str]:
        """Check that no request leaves for a stopped batch, except one that was permitted just before (P4)."""
        for number, at in self._departed:
            batch_id = self.batch_of.get(number)
            if batch_id and not any(row.status == "active" for row in self._in_force(batch_id, at, LEAVE_VALIDITY)):
                yield f"P4: the request to call {number} left at {at}, when batch {batch_id} was stopped"
            if number in self.removed and at > self.removed[number]:
                yield f"P4: the request to call {number} left at {at}, after the contact was taken out"
        self._departed.clear()

    def _attempts(self) -> dict[UUID, int]:
        return {
            row.batch_id: row.n for row in self.world.rows("SELECT batch_id, count(*) AS n FROM attempts GROUP BY 1")
        }

    def _check_call(self, call: CarrierCall, trunk_id: UUID) -> Iterator[str]:
        if call.attempt_id in self._calls_by_attempt:
            yield f"P1: attempt {call.attempt_id} has two calls"
        self._calls_by_attempt[call.attempt_id] = call
        now = call.placed_at
        self._live_calls = [(other, trunk) for other, trunk in self._live_calls if other.ended > call.placed]
        if any(other.to_number == call.to_number for other, _ in self._live_calls):
            yield f"P1: {call.to_number} has two calls at once, the second by {call.attempt_id}"
        self._live_calls.append((call, trunk_id))
        batch_id = self.batch_of.get(call.to_number)
        if batch_id is None:
            yield f"P1: {call.to_number} is no contact"
            return
        yield from self._check_limits(call, batch_id, trunk_id, now)
        yield from self._check_window(call, batch_id, now)
        attempts = sum(other.to_number == call.to_number for other in self._calls_by_attempt.values())
        allowed = max(1 + row.retry_failed * row.max_retry_attempts for _, row in self._limit_history[batch_id])
        allowed += self.world.value(
            "SELECT count(*) FROM attempts WHERE to_number = :number AND callback_at IS NOT NULL", number=call.to_number
        )
        if attempts > allowed:
            yield f"P1: {call.to_number} was called {attempts} times, {allowed} are allowed"

    def _check_limits(self, call: CarrierCall, batch_id: UUID, trunk_id: UUID, now: datetime) -> Iterator[str]:
        number_id = self._numbers[call.from_number]
        held = {
            batch_id: sum(self.batch_of[other.to_number] == batch_id for other, _ in self._live_calls),
            number_id: sum(other.from_number == call.from_number for other, _ in self._live_calls),
            trunk_id: sum(trunk == trunk_id for _, trunk in self._live_calls),
        }
        for limited_id, calls in held.items():
            limits = [row.calls for row in self._in_force(limited_id, now)]
            if limited_id != batch_id and self.tolerated_until is not None and now < self.tolerated_until:
                continue
            if None not in limits and calls > max(limits):
                name = {batch_id: "batch", number_id: "number", trunk_id: "trunk"}[limited_id]
                yield f"P2: {calls} calls at once of {name} {limited_id}, {max(limits)} are allowed"
        caps = [row.day for row in self._in_force(batch_id, now, timedelta(days=1))]
        zones = {row.timezone for row in self._in_force(batch_id, now, timedelta(days=1))}
        if None not in caps and len(zones) == 1:
            (zone,) = (ZoneInfo(name) for name in zones)
            day = now.astimezone(zone).date()
            used = sum(
                self.batch_of[other.to_number] == batch_id and other.placed_at.astimezone(zone).date() == day
                for other in self._calls_by_attempt.values()
            )
            if used > max(caps):
                yield f"P2: {used} calls of batch {batch_id} on {day}, {max(caps)} are allowed"

    def _check_window(self, call: CarrierCall, batch_id: UUID, now: datetime) -> Iterator[str]:
        rang_at = call.rang_at
        for at in [now] if rang_at is None else [now, rang_at]:
            if not any(_is_open(row, at) for row in self._in_force(batch_id, now)):
                yield f"P3: {call.to_number} was called at {at}, outside the window of {batch_id}"

    def _in_force(self, limited_id: UUID, now: datetime, validity: timedelta = GRANT_VALIDITY) -> list[Any]:
        """Return the settings that were in force at any moment of the last `validity`."""
        history = self._limit_history[limited_id]
        next_changes = [*history[1:], (None, None)]
        return [
            row
            for (_, row), (end, _) in zip(history, next_changes, strict=True)
            if end is None or end >= now - validity
        ]


def _is_open(row: Any, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(ZONE_OF_NUMBERS if row.respect_contact_timezone else row.timezone))
    start, end = row.start_time or time(0), row.end_time or time(0)
    day = local.isoweekday()
    if end == time(0):
        return local.time() >= start and day in row.working_days
    if start < end:
        return start <= local.time() < end and day in row.working_days
    before = 7 if day == 1 else day - 1
    return (local.time() >= start and day in row.working_days) or (local.time() < end and before in row.working_days)
