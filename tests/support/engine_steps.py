"""Helpers for tests of single steps of the engine: concurrent steps, interference between them, and call events."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier
from typing import Any

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.slots import BatchRoutes, SlotGrants, SlotRequest
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.place import place
from dialer.engine.settle import SettleReport, settle
from dialer.store.leases import Leases
from support.deadline import DEADLINE_SECONDS
from support.lease_setup import redis_contents
from support.world import World


def do_nothing() -> None:
    """Do nothing."""


class InterceptedLeases(Leases):
    """Leases that call `before` just before they grant slots, and `after` just after it."""

    def __init__(
        self, url: str, before: Callable[[], object] = do_nothing, after: Callable[[], object] = do_nothing
    ) -> None:
        super().__init__(url, is_virtual=True)
        self._before, self._after = before, after

    def acquire(self, now: DateTime, batches: Sequence[BatchRoutes], requests: Sequence[SlotRequest]) -> SlotGrants:
        self._before()
        grants = super().acquire(now, batches, requests)
        self._after()
        return grants


def intercept_leases(world: World, **interruptions: Callable[[], object]) -> EngineContext:
    """Return the world's context with leases that call `before` or `after` around a grant."""
    return replace(world.context, leases=InterceptedLeases(world.redis_url, **interruptions))


def run_concurrently(*work: Callable[[], Any]) -> list[Any]:
    """Run these functions in threads that start together; return their results."""
    start = Barrier(len(work))

    def begin(function: Callable[[], Any]) -> Any:
        start.wait(DEADLINE_SECONDS)
        return function()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(begin, work))


# What a claim writes for each contact of a batch.
RESERVE = """
INSERT INTO attempts (id, batch_id, contact_id, workspace_id, trunk_id, phone_number_id, to_number, from_number, state,
                      local_on, utc_on, granted_at, created_at, rescue_at, allowed_by)
SELECT gen_random_uuid(), c.batch_id, c.id, b.workspace_id, n.trunk_id, n.id, c.phone_number, n.phone_number,
       'reserved', '2026-03-02', '2026-03-02', dialer_now(), dialer_now(), dialer_now() + interval '30 seconds', '{}'
FROM contacts c JOIN batches b ON b.id = c.batch_id, phone_numbers n WHERE b.id = :batch AND n.id = :number
"""


def lock_waiters(world: World) -> int:
    """Count the Postgres sessions that wait for a lock."""
    return int(world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@dataclass(frozen=True)
class DispatchSummary:
    """The results of a dispatch, and of placing the calls that were due at once."""

    claimed: int = 0
    placed: int = 0
    refused: int = 0
    unclear: int = 0
    again: tuple[BatchId, ...] = ()
    leases_lost: bool = False


def dispatch_and_place(world: World, *batch_ids: BatchId, context: EngineContext | None = None) -> DispatchSummary:
    """Dispatch these batches and place the calls that are due now."""
    context = context or world.context
    report = dispatch(context, batch_ids, world.clock.now, world.rng)
    due = [departure for departure in report.departures if departure.wait_seconds <= 0]
    placed = [place(context, departure, world.clock.now) for departure in due]
    world.schedule(departure for departure in report.departures if departure.wait_seconds > 0)
    world.schedule(departure for result in placed for departure in result.later)
    return DispatchSummary(
        report.claimed,
        sum(result.placed for result in placed),
        sum(result.refused for result in placed),
        sum(result.unclear for result in placed),
        report.again,
        report.leases_lost,
    )


def live_attempts(world: World) -> list[AttemptId]:
    """Return the ids of the attempts that have not ended, oldest first."""
    return [row.id for row in world.rows("SELECT id FROM attempts WHERE rescue_at IS NOT NULL ORDER BY id")]


def call_event(attempt_id: AttemptId, kind: str, at: DateTime, outcome: str | None = None, **more: Any) -> CallEvent:
    """Return a call event. Its default key holds only attempt and kind, so that a repetition is a duplicate."""
    parsed = Outcome(outcome) if outcome else None
    return CallEvent(more.pop("key", f"{attempt_id}:{kind}"), attempt_id, EventKind(kind), at, parsed, **more)


def receive_and_settle(world: World, *events: CallEvent) -> SettleReport:
    """Receive these call events and settle them."""
    receive(world.db, world.installed.trunk_id, events)
    return settle(world.context, world.clock.now)


def end_call(world: World, attempt_id: AttemptId, outcome: str = "answered", **more: Any) -> SettleReport:
    """Receive and settle the network's event that this call has ended."""
    return receive_and_settle(world, call_event(attempt_id, "ended", world.clock.now, outcome, **more))


def held_leases(world: World) -> dict[str, Any]:
    """Return what Redis holds for attempts in progress: slots, leases and their deadlines."""
    kinds = ("{dialer}:slots:", "{dialer}:holds", "{dialer}:deadlines")
    return {key: value for key, value in redis_contents(world.leases).items() if key.startswith(kinds)}


def day_allowance(world: World) -> int:
    """Count the attempts that Redis counts toward the daily caps of numbers."""
    return sum(len(value) for key, value in redis_contents(world.leases).items() if key.startswith("{dialer}:day:"))


def next_dispatch(world: World, batch_id: BatchId) -> tuple[Any, str | None]:
    """Return when dispatch looks at a batch next, and its `held_by`."""
    progress = world.progress(batch_id)
    return progress.next_dispatch_at, progress.held_by


def set_limit(world: World, table: str, limits: str) -> None:
    """Set limits as an operator does, and let rescue rebuild Redis where they invalidate its counts."""
    world.sql(f"UPDATE {table} SET {limits}")
    world.rescue()


def advance_clock(world: World, seconds: float) -> None:
    """Advance the clock."""
    world.clock.now = world.clock.now.add(seconds=seconds)


def assert_audit_is_clean(world: World) -> None:
    """Assert that the audit finds no violation."""
    report = audit(world.db, world.clock.now)
    assert report.is_clean, report.violations
