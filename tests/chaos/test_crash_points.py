"""Injects a fault into every step at every fault point, then lets the engine finish and checks the promises.

The step is run again and again: the first time with a fault at its first fault point, then at its second, and so on,
until it ends without a fault. So a new fault point is tested without being listed here.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import pytest

from chaos.harness import Harness, Process
from chaos.invariants import InvariantChecker
from chaos.scenario import faults_at
from chaos.turn_scheduler import Actor, FaultPoint, ProcessDied, TurnScheduler
from dialer.domain.ids import BatchId
from dialer.engine.bulk_change import bulk_change
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.place import place
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.errors import DialerError
from dialer.service import batches, contacts
from support.world import World, made_up_phones

pytestmark = [pytest.mark.proof, pytest.mark.timeout(400)]

# Half of the calls are busy, so that some contacts are called again.
PROFILE = {"outcomes": {"answered": 1, "busy": 1}, "talk_seconds": {"mean": 5, "min": 1, "max": 20}}
OPTIONS: dict[str, Any] = {"retry_failed": True, "max_retry_attempts": 1, "retry_delays": {"busy": 1}}
CONTACTS = 3


class SingleFault:
    """Stands in for the turn scheduler: one actor, and a fault at the nth point where this fault is possible.

    `injected_at`: what the actor was doing then; None: it reached fewer points.
    """

    def __init__(self, fault: str, nth: int) -> None:
        self._fault, self._points_left = fault, nth
        self.injected_at: str | None = None
        self.violations: list[str] = []

    def fault_point(self, actor: Actor, what: str) -> str | None:
        if actor.is_dead:
            raise ProcessDied
        self._points_left -= self._fault in faults_at(FaultPoint(actor.name, 0, 0, what))
        if self._points_left or self.injected_at:
            return None
        self.injected_at = what
        if self._fault == "die":
            actor.is_dead = True
            raise ProcessDied
        return self._fault

    def executed(self, actor: Actor) -> None:
        """Do nothing: no other actor could have had the turn."""


@dataclass
class BatchCase:
    """The batch on which a step is run."""

    world: World
    process: Process
    batch_id: BatchId
    phones: Sequence[str]

    def place_calls(self) -> None:
        self.world.dispatch([self.batch_id])

    def receive_events(self, minutes: float = 1) -> None:
        self.place_calls()
        self.later(minutes)
        while events := self.world.network.due(self.world.clock.now):
            receive(self.world.db, self.world.installed.trunk_id, events)
            self.world.network.acknowledge([event.key for event in events])

    def settle_calls(self) -> None:
        self.receive_events()
        settle(self.world.context, self.world.clock.now)
        self.later(2)

    def lose_events_and_redis(self) -> None:
        """Place calls, lose their call events, and empty Redis."""
        self.place_calls()
        self.later(5)
        self.world.network.acknowledge([event.key for event in self.world.network.due(self.world.clock.now)])
        self.world.flush_redis()

    def cancel(self) -> None:
        self.world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=self.batch_id)

    def suppress(self) -> None:
        self.settle_calls()
        self.world.sql(
            "INSERT INTO suppressions SELECT :workspace, phone_number FROM contacts WHERE batch_id = :id",
            workspace=self.world.installed.workspace_id,
            id=self.batch_id,
        )

    def later(self, minutes: float) -> None:
        self.world.clock.now = self.world.clock.now.add(seconds=60 * minutes)


def do_nothing(_: BatchCase) -> None:
    """Leave the batch as it was created."""


def run_tick(case: BatchCase) -> None:
    tick(case.process.context, case.process.now)


def run_dispatch(case: BatchCase) -> None:
    report = dispatch(case.process.context, [case.batch_id], case.process.now, case.process.rng)
    for departure in report.departures:
        place(case.process.context, departure, case.process.now)


def run_receive(case: BatchCase) -> None:
    events = case.world.network.due(case.world.clock.now)
    receive(case.process.context.db, case.world.installed.trunk_id, events)
    case.world.network.acknowledge([event.key for event in events])


def run_settle(case: BatchCase) -> None:
    settle(case.process.context, case.process.now)


def run_retry(case: BatchCase) -> None:
    retry(case.process.context, case.process.now)


def run_rescue(case: BatchCase) -> None:
    rescue(case.process.context, case.process.now, case.process.rng)


def run_import(case: BatchCase) -> None:
    process, file = case.process, io.BytesIO("\n".join(["phone", *case.phones]).encode())
    contacts.import_csv(
        process.context.db, case.world.installed.workspace_id, case.batch_id, file, process.now, process.rng
    )


def run_schedule(case: BatchCase) -> None:
    batches.schedule(case.process.context, case.world.installed.workspace_id, case.batch_id, case.process.now)


def run_cancel(case: BatchCase) -> None:
    case.process.actor.fault_point("cancel")
    with case.process.context.db.begin() as connection:
        connection.exec_driver_sql(f"UPDATE batches SET status = 'cancelled' WHERE id = '{case.batch_id}'")


def run_bulk_change(case: BatchCase) -> None:
    while bulk_change(case.process.context, case.process.now, page=1).goes_on:
        pass


@dataclass(frozen=True)
class StepCase:
    """A step, what is run before it, and how the batch is created.

    `start`: whether the batch is scheduled. `loaded`: whether it has contacts. `points`: the step must have more fault
    points than this.
    """

    before: Callable[[BatchCase], None]
    step: Callable[[BatchCase], None]
    start: bool = True
    loaded: bool = True
    points: int = 3


STEPS = {
    "tick": StepCase(do_nothing, run_tick),
    "dispatch": StepCase(do_nothing, run_dispatch, points=15),
    "receive": StepCase(BatchCase.place_calls, run_receive),
    "settle": StepCase(BatchCase.receive_events, run_settle, points=10),
    "retry": StepCase(BatchCase.settle_calls, run_retry),
    "rescue": StepCase(BatchCase.lose_events_and_redis, run_rescue, points=20),
    "import": StepCase(do_nothing, run_import, start=False, loaded=False, points=5),
    "schedule": StepCase(do_nothing, run_schedule, start=False),
    "cancel": StepCase(BatchCase.place_calls, run_cancel),
    "bulk change": StepCase(BatchCase.cancel, run_bulk_change, points=10),
    "suppression": StepCase(BatchCase.suppress, run_bulk_change, points=10),
}


@pytest.mark.parametrize("fault", ["die", "cut", "answer lost", "refuse", "serialization"])
@pytest.mark.parametrize("name", STEPS)
def test_after_a_fault_at_any_point_of_a_step_no_contact_is_lost_or_called_twice(
    name: str, fault: str, harness: Harness, make_world: Callable[..., World]
) -> None:
    step_case, world = STEPS[name], make_world(**PROFILE)
    harness.use(world)
    process = harness.processes["worker0"]
    process.skew_seconds, process.rng = 0.0, world.rng
    phones = iter(made_up_phones(5_000))
    batch_of: dict[str, UUID] = {}
    for nth in range(1, 500):
        phones_of_batch = [next(phones) for _ in range(CONTACTS)]
        batch_id = world.batch(phones_of_batch if step_case.loaded else [], start=step_case.start, **OPTIONS)
        batch_of |= dict.fromkeys(phones_of_batch, batch_id)
        case = BatchCase(world, process, batch_id, phones_of_batch)
        step_case.before(case)
        injector = SingleFault(fault, nth)
        run_with_fault(case, step_case, injector)
        checker = InvariantChecker(world, batch_of)
        recover(case, step_case)
        assert list(checker.check_final()) == [], f"{name}: {fault} at point {nth}, {injector.injected_at}"
        if injector.injected_at is None:
            break
    assert fault != "die" or nth > step_case.points


def run_with_fault(case: BatchCase, step_case: StepCase, injector: SingleFault) -> None:
    actor = case.process.actor
    actor.is_dead, actor.scheduler = False, cast(TurnScheduler, injector)
    try:
        with suppress(ProcessDied, DialerError):
            step_case.step(case)
    finally:
        actor.scheduler, actor.is_dead = None, False


def recover(case: BatchCase, step_case: StepCase) -> None:
    """Repeat what an operator asked for, then let the engine finish."""
    world = case.world
    if not step_case.loaded:
        world.add(case.batch_id, case.phones)
    if world.progress(case.batch_id).status == "draft":
        batches.schedule(world.context, world.installed.workspace_id, case.batch_id, world.clock.now)
    world.rescue()
    world.run(lambda: world.is_over(case.batch_id) and world.progress(case.batch_id).dialing == 0, grain=4)
    case.later(1)
    world.rescue()
    done = world.progress(case.batch_id)
    assert done.completed + done.failed + done.skipped + done.cancelled == CONTACTS
