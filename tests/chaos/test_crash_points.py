"""Every step, broken off at every place where it touches Postgres, Redis or a network: what is left goes to its end.

The places are found by walking: the step is begun again and again, and each time it gets one touch further, until it
ends unharmed. So a touch that is new is tried too, without being named here.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import pytest

from chaos.judge import Judge
from chaos.play import Cast, Process
from chaos.stage import Actor, Died, Stage, Touch
from chaos.story import faults_at
from dialer.domain.ids import BatchId
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

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]

# All of these calls are answered, or are not: so some contacts are called again.
PROFILE = {"outcomes": {"answered": 1, "busy": 1}, "talk_seconds": {"mean": 5, "min": 1, "max": 20}}
OPTIONS: dict[str, Any] = {"retry_failed": True, "max_retry_attempts": 1, "retry_delays": {"busy": 1}}
CONTACTS = 3


class Alone:
    """A stage with one actor, whom the fault befalls at the nth touch that it can befall; nothing does after that."""

    def __init__(self, fault: str, nth: int) -> None:
        self._fault, self._left = fault, nth
        self.struck: str | None = None
        self.broken: list[str] = []

    def touch(self, actor: Actor, what: str) -> str | None:
        if actor.is_dead:
            raise Died
        self._left -= self._fault in faults_at(Touch(actor.name, 0, 0, what))
        if self._left or self.struck:
            return None
        self.struck = what
        if self._fault == "die":
            actor.is_dead = True
            raise Died
        return self._fault

    def executed(self, actor: Actor) -> None:
        """Nobody else could have had the turn."""


@dataclass
class Lot:
    """One batch that a step is tried on."""

    world: World
    process: Process
    batch_id: BatchId
    phones: Sequence[str]

    def up_to_calls(self) -> None:
        self.world.dispatch([self.batch_id])

    def up_to_reports(self, minutes: float = 1) -> None:
        self.up_to_calls()
        self.later(minutes)
        while events := self.world.network.due(self.world.clock.now):
            receive(self.world.db, self.world.installed.trunk_id, events)
            self.world.network.acknowledge([event.key for event in events])

    def up_to_retries(self) -> None:
        self.up_to_reports()
        settle(self.world.context, self.world.clock.now)
        self.later(2)

    def up_to_silence(self) -> None:
        """Calls whose reports are lost, a lease that nobody has, and a Redis that was emptied."""
        self.up_to_calls()
        self.later(5)
        self.world.network.acknowledge([event.key for event in self.world.network.due(self.world.clock.now)])
        self.world.flush_redis()

    def later(self, minutes: float) -> None:
        self.world.clock.now = self.world.clock.now.add(seconds=60 * minutes)


def nothing(_: Lot) -> None:
    """The batch is as it was made."""


def tick_it(lot: Lot) -> None:
    tick(lot.process.context, lot.process.now)


def dispatch_it(lot: Lot) -> None:
    report = dispatch(lot.process.context, [lot.batch_id], lot.process.now, lot.process.rng)
    for departure in report.departures:
        place(lot.process.context, departure, lot.process.now)


def receive_it(lot: Lot) -> None:
    events = lot.world.network.due(lot.world.clock.now)
    receive(lot.process.context.db, lot.world.installed.trunk_id, events)
    lot.world.network.acknowledge([event.key for event in events])


def settle_it(lot: Lot) -> None:
    settle(lot.process.context, lot.process.now)


def retry_it(lot: Lot) -> None:
    retry(lot.process.context, lot.process.now)


def rescue_it(lot: Lot) -> None:
    rescue(lot.process.context, lot.process.now, lot.process.rng)


def import_them(lot: Lot) -> None:
    file = io.BytesIO("\n".join(["phone", *lot.phones]).encode())
    contacts.import_csv(
        lot.process.context.db, lot.world.installed.workspace_id, lot.batch_id, file, lot.process.now, lot.process.rng
    )


def schedule_it(lot: Lot) -> None:
    batches.schedule(lot.process.context, lot.world.installed.workspace_id, lot.batch_id, lot.process.now)


def cancel_it(lot: Lot) -> None:
    lot.process.actor.touch("cancel")
    with lot.process.context.db.begin() as connection:
        connection.exec_driver_sql(f"UPDATE batches SET status = 'cancelled' WHERE id = '{lot.batch_id}'")


@dataclass(frozen=True)
class Trial:
    """A step, what comes before it, and how the batch is made."""

    before: Callable[[Lot], None]
    step: Callable[[Lot], None]
    start: bool = True
    loaded: bool = True
    points: int = 3


TRIALS = {
    "tick": Trial(nothing, tick_it),
    "dispatch": Trial(nothing, dispatch_it, points=15),
    "receive": Trial(Lot.up_to_calls, receive_it),
    "settle": Trial(Lot.up_to_reports, settle_it, points=10),
    "retry": Trial(Lot.up_to_retries, retry_it),
    "rescue": Trial(Lot.up_to_silence, rescue_it, points=20),
    "import": Trial(nothing, import_them, start=False, loaded=False, points=5),
    "schedule": Trial(nothing, schedule_it, start=False),
    "cancel": Trial(Lot.up_to_calls, cancel_it),
}


@pytest.mark.parametrize("fault", ["die", "cut", "answer lost", "refuse", "serialization"])
@pytest.mark.parametrize("name", TRIALS)
def test_a_step_that_is_broken_off_anywhere_loses_nobody_and_rings_nobody_twice(
    name: str, fault: str, cast: Cast, make_world: Callable[..., World]
) -> None:
    trial, world = TRIALS[name], make_world(**PROFILE)
    cast.begin(world)
    process = cast.processes["worker0"]
    process.skew_seconds, process.rng = 0.0, world.rng
    phones = iter(made_up_phones(5_000))
    batch_of: dict[str, UUID] = {}
    for nth in range(1, 500):
        mine = [next(phones) for _ in range(CONTACTS)]
        batch_id = world.batch(mine if trial.loaded else [], start=trial.start, **OPTIONS)
        batch_of |= dict.fromkeys(mine, batch_id)
        lot = Lot(world, process, batch_id, mine)
        trial.before(lot)
        alone = Alone(fault, nth)
        broken_off(lot, trial, alone)
        judge = Judge(world, batch_of)
        recover(lot, trial)
        assert list(judge.end()) == [], f"{name} broken off by {fault} at touch {nth}, {alone.struck}"
        if alone.struck is None:
            break
    assert fault != "die" or nth > trial.points


def broken_off(lot: Lot, trial: Trial, alone: Alone) -> None:
    actor = lot.process.actor
    actor.is_dead, actor.stage = False, cast(Stage, alone)
    try:
        with suppress(Died, DialerError):
            trial.step(lot)
    finally:
        actor.stage, actor.is_dead = None, False


def recover(lot: Lot, trial: Trial) -> None:
    """Someone tries again what an operator asked for; then the engine goes on by itself."""
    world = lot.world
    if not trial.loaded:
        world.add(lot.batch_id, lot.phones)
    if world.progress(lot.batch_id).status == "draft":
        batches.schedule(world.context, world.installed.workspace_id, lot.batch_id, world.clock.now)
    world.rescue()
    world.run(lambda: world.is_over(lot.batch_id) and world.progress(lot.batch_id).dialing == 0, grain=4)
    lot.later(1)
    world.rescue()
    done = world.progress(lot.batch_id)
    assert done.completed + done.failed + done.cancelled == CONTACTS
