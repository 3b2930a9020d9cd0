"""What the tests of single steps ask for: steps that run at once, and someone who meddles at the worst moment."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier
from time import monotonic
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
from support.lease_setup import memory
from support.world import World


def nothing() -> None:
    """The meddling of someone who leaves everything alone."""


class Meddled(Leases):
    """Leases during whose granting someone else gets a word in: just before it, or just after it."""

    def __init__(self, url: str, before: Callable[[], object] = nothing, after: Callable[[], object] = nothing) -> None:
        super().__init__(url, is_virtual=True)
        self._before, self._after = before, after

    def acquire(self, now: DateTime, batches: Sequence[BatchRoutes], requests: Sequence[SlotRequest]) -> SlotGrants:
        self._before()
        grants = super().acquire(now, batches, requests)
        self._after()
        return grants


def meddled(world: World, **meddling: Callable[[], object]) -> EngineContext:
    """The world's context, with someone between gather and claim: `before` or `after` slots are granted."""
    return replace(world.context, leases=Meddled(world.redis_url, **meddling))


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """Do all this in threads that start together."""
    start = Barrier(len(work))

    def begin(job: Callable[[], Any]) -> Any:
        start.wait(DEADLINE_SECONDS)
        return job()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(begin, work))


def until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until this holds."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, condition


def queued(world: World) -> int:
    """How many sessions of Postgres wait for a lock."""
    return int(world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@dataclass(frozen=True)
class Dispatched:
    """What came of a dispatch, and of the calls that left at once."""

    claimed: int = 0
    placed: int = 0
    refused: int = 0
    unclear: int = 0
    again: tuple[BatchId, ...] = ()
    leases_lost: bool = False


def go(world: World, *batch_ids: BatchId, context: EngineContext | None = None) -> Dispatched:
    """Dispatch these batches now, and let leave what may leave now."""
    context = context or world.context
    report = dispatch(context, batch_ids, world.clock.now, world.rng)
    due = [departure for departure in report.departures if departure.wait_seconds <= 0]
    placed = [place(context, departure, world.clock.now) for departure in due]
    world.schedule(departure for departure in report.departures if departure.wait_seconds > 0)
    world.schedule(departure for place_report in placed for departure in place_report.later)
    return Dispatched(
        report.claimed,
        sum(place_report.placed for place_report in placed),
        sum(place_report.refused for place_report in placed),
        sum(place_report.unclear for place_report in placed),
        report.again,
        report.leases_lost,
    )


def live(world: World) -> list[AttemptId]:
    """The attempts that are not over, in the order of their making."""
    return [row.id for row in world.rows("SELECT id FROM attempts WHERE rescue_at IS NOT NULL ORDER BY id")]


def report(attempt_id: AttemptId, kind: str, at: DateTime, outcome: str | None = None, **more: Any) -> CallEvent:
    """What a network says of a call; its key tells the kind alone."""
    ended_as = Outcome(outcome) if outcome else None
    return CallEvent(more.pop("key", f"{attempt_id}:{kind}"), attempt_id, EventKind(kind), at, ended_as, **more)


def hand_in(world: World, *events: CallEvent) -> SettleReport:
    """Receive these reports and settle them."""
    receive(world.db, world.installed.trunk_id, events)
    return settle(world.context, world.clock.now)


def end(world: World, attempt_id: AttemptId, outcome: str = "answered", **more: Any) -> SettleReport:
    """Let the network report that this call is over."""
    return hand_in(world, report(attempt_id, "ended", world.clock.now, outcome, **more))


def held(world: World) -> dict[str, Any]:
    """What Redis holds for attempts in progress: slots, leases and their deadlines."""
    kinds = ("{dialer}:slots:", "{dialer}:holds", "{dialer}:deadlines")
    return {key: value for key, value in memory(world.leases).items() if key.startswith(kinds)}


def day_allowance(world: World) -> int:
    """How many attempts Redis counts toward the daily caps of numbers."""
    return sum(len(value) for key, value in memory(world.leases).items() if key.startswith("{dialer}:day:"))


def look(world: World, batch_id: BatchId) -> tuple[Any, str | None]:
    """When dispatch is to look at a batch again, and what holds it back."""
    progress = world.progress(batch_id)
    return progress.next_dispatch_at, progress.held_by


def set_limit(world: World, table: str, limits: str) -> None:
    """Set limits as an operator does; where they void what Redis knows, it is rebuilt."""
    world.sql(f"UPDATE {table} SET {limits}")
    world.rescue()


def later(world: World, seconds: float) -> None:
    """Let time pass."""
    world.clock.now = world.clock.now.add(seconds=seconds)


def assert_clean(world: World) -> None:
    """Ask the audit."""
    audited = audit(world.db, world.clock.now)
    assert audited.is_clean, audited.violations
