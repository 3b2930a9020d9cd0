"""Runs each step concurrently with itself and all others, in threads, while operators change batches.

There must be no deadlock, no exceeded limit, no lost contact and no contact with two calls. The clock stands still
while the threads run, and advances between rounds.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import pytest
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import BatchId
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.place import place
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from support.engine_steps import assert_audit_is_clean, run_concurrently
from support.world import World, made_up_phones

pytestmark = pytest.mark.proof

ROUNDS = 20
TURNS = 4


class Crowd:
    """The concurrent workers on one World, each with its own random generator."""

    def __init__(self, world: World, batch_ids: Sequence[BatchId], seed: int) -> None:
        self.world, self.batch_ids = world, batch_ids
        self.reports: list[CallEvent] = []
        self._chances = [Random(f"{seed}:{n}") for n in range(6)]
        self._phones = iter(made_up_phones(10_000, first=20_000))

    def round(self) -> None:
        """Let each worker run some steps, with the call events that are due."""
        self.reports = self.world.network.due(self.world.clock.now)
        # Each worker twice, so that each step also runs concurrently with itself.
        work = [self._dispatcher, self._dispatcher, self._settler, self._settler, self._rescuer, self._operator]
        run_concurrently(
            *(partial(self._turns, batch_ids, chance) for batch_ids, chance in zip(work, self._chances, strict=True))
        )
        self.world.network.acknowledge([event.key for event in self.reports])

    def _turns(self, work: Callable[[Random], None], chance: Random) -> None:
        for _ in range(TURNS):
            work(chance)

    def _dispatcher(self, chance: Random) -> None:
        due = tick(self.world.context, self.world.clock.now).due
        self._dispatch(due, chance)
        self._dispatch(chance.sample(self.batch_ids, 3), chance)

    def _settler(self, chance: Random) -> None:
        shuffled = chance.sample(self.reports, len(self.reports))
        receive(self.world.db, self.world.installed.trunk_id, shuffled)
        self._dispatch(settle(self.world.context, self.world.clock.now).freed, chance)
        self._dispatch(retry(self.world.context, self.world.clock.now).batches, chance)

    def _rescuer(self, chance: Random) -> None:
        if chance.random() < 0.05:
            self.world.flush_redis()
        self._dispatch(rescue(self.world.context, self.world.clock.now, chance).freed, chance)

    def _operator(self, chance: Random) -> None:
        world, batch_id = self.world, chance.choice(self.batch_ids)
        match chance.randrange(8):
            case 0 | 1:
                world.sql("UPDATE batches SET status = 'paused' WHERE id = :id AND status = 'active'", id=batch_id)
            case 2 | 3:
                world.sql("UPDATE batches SET status = 'active' WHERE status = 'paused' AND id = :id", id=batch_id)
            case 4:
                world.sql(
                    "UPDATE batches SET max_concurrent_calls = :n WHERE id = :id", n=chance.randint(1, 9), id=batch_id
                )
            case 5:
                world.sql("UPDATE trunks SET max_concurrent_calls = :n", n=chance.randint(15, 40))
            case 6:
                world.sql("UPDATE phone_numbers SET max_concurrent_calls = :n", n=chance.randint(5, 15))
            case 7 if world.progress(batch_id).status in ("active", "paused"):
                world.add(batch_id, [next(self._phones) for _ in range(3)])

    def _dispatch(self, batch_ids: Sequence[BatchId], chance: Random) -> None:
        while batch_ids:
            report = dispatch(self.world.context, batch_ids, self.world.clock.now, chance)
            for departure in report.departures:
                place(self.world.context, departure, self.world.clock.now)
            batch_ids = report.again


def rung_twice(world: World) -> list[str]:
    """Return attempts with two calls, and numbers with two calls at the same time, from the network's records."""
    twice = [str(of) for of, n in Counter(call.attempt_id for call in world.network.log).items() if n > 1]
    up: dict[str, DateTime] = {}
    for call in sorted(world.network.log, key=lambda call: call.placed_at):
        if call.to_number in up and call.placed_at < up[call.to_number]:
            twice.append(call.to_number)
        up[call.to_number] = call.ended_at
    return twice


def test_everybody_at_once_harms_nobody(make_world: Callable[..., World]) -> None:
    faults = {"lost": 0.05, "repeated": 0.1, "timeout_before": 0.05, "timeout_after": 0.05, "refused": 0.05}
    world = make_world(
        faults=faults,
        outcomes={"answered": 1, "busy": 1, "no_answer": 1},
        talk_seconds={"mean": 10, "min": 2, "max": 30},
    )
    phones = made_up_phones(360)
    batch_ids = [
        world.batch(
            phones[n * 60 : (n + 1) * 60],
            max_concurrent_calls=6,
            max_calls_per_day=200,
            retry_failed=True,
            max_retry_attempts=1,
            retry_delays={"busy": 0.5, "no_answer": 1},
        )
        for n in range(6)
    ]
    crowd = Crowd(world, batch_ids, seed=1)
    for n in range(ROUNDS):
        crowd.round()
        world.clock.now = world.clock.now.add(seconds=crowd_pause(n))
        assert_audit_is_clean(world)
    world.sql("UPDATE batches SET status = 'active', max_concurrent_calls = 30 WHERE status IN ('active', 'paused')")
    world.sql("UPDATE trunks SET max_concurrent_calls = NULL")
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = NULL")
    world.rescue()
    world.run(lambda: world.is_over(*batch_ids), grain=5)
    assert_audit_is_clean(world)
    assert rung_twice(world) == []
    assert all(world.progress(batch_id).status == "completed" for batch_id in batch_ids)
    assert len(world.network.log) > 360


def crowd_pause(n: int) -> float:
    """Advance the clock between some rounds, so that calls end, retries become due and rescue has work."""
    return (0.2, 3, 1, 7)[n % 4]
