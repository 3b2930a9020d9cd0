"""Runs one process at a time: the processes of a scenario take turns at every fault point.

Each actor is a process of the engine, in its own thread; only the actor with the turn runs. At a fault point it may
lose its turn, get a fault or be killed. Only the scenario's seed decides this, so that a scenario is the same in every
run. An actor that waits for a lock in Postgres gets no turn until Postgres grants the lock. When several locks are
granted at once, Postgres decides which actor is first, and the log says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from threading import Condition, Semaphore, Thread
from time import monotonic

from chaos.monitor import Monitor
from dialer.errors import DialerError

# When a statement takes longer, ask Postgres whether it waits for a lock.
SLOW_SECONDS = 0.004
STUCK_SECONDS = 120.0


class ProcessDied(BaseException):
    """The process was killed here. A BaseException, so that no `except Exception` of the engine can continue."""


@dataclass(frozen=True, slots=True)
class FaultPoint:
    """A moment at which a process uses Postgres, Redis or a network.

    `step`: the number of the process's step. `nth`: the number of the point in this step. `what`: the operation.
    """

    actor: str
    step: int
    nth: int
    what: str

    @property
    def name(self) -> str:
        return f"{self.actor}.{self.step}.{self.nth}"


class Actor:
    """A process. `work` runs one step and sets `activity` to its name."""

    def __init__(self, name: str, work: Callable[["Actor"], None]) -> None:
        self.name = name
        self.work = work
        # The relative probability that it gets the turn.
        self.weight = 1
        self.scheduler: TurnScheduler | None = None
        self.turn = Semaphore(0)
        self.step = self.nth = 0
        self.activity = "idle"
        self.is_dead = self.is_idle = False
        self.stalled_until: float | None = None
        # Its statement in Postgres.
        self.backend: int | None = None
        self.executing_since: float | None = None
        self.is_blocked = self.has_lock_timeout = self.was_timed_out = False

    def fault_point(self, what: str) -> str | None:
        """Return the fault to inject here, or raise ProcessDied. Without a scheduler, return None."""
        return self.scheduler.fault_point(self, what) if self.scheduler else None

    def executing(self, backend: int) -> None:
        """Record that a statement is being sent to this backend."""
        self.backend = backend
        if self.scheduler:
            self.executing_since = monotonic()

    def executed(self) -> None:
        """Record that the statement has ended. Wait for the turn if it was lost while the statement was blocked."""
        if self.scheduler:
            self.scheduler.executed(self)


class TurnScheduler:
    """Gives the turn to one actor at a time.

    `choose_fault` returns the fault for a fault point. `step_ended` is called after each step, and returns False when
    the scenario is over. `switch_probability`: how often the turn changes at a fault point. `open_session`: the
    Postgres session that keeps its locks longer than any lock timeout.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        monitor: Monitor,
        rng: Random,
        switch_probability: float,
        choose_fault: Callable[[FaultPoint], str | None],
        step_ended: Callable[[Actor, BaseException | None], bool],
        seconds: Callable[[], float],
        open_session: int,
    ) -> None:
        self.actors = list(actors)
        self.log: list[str] = []
        self.points: list[FaultPoint] = []
        self.violations: list[str] = []
        # How many fault points and log lines the seed alone decided, before the first choice of Postgres; None: all.
        self.deterministic_points: tuple[int, int] | None = None
        self._lock_holders: dict[Actor, tuple[int, ...]] = {}
        self._monitor, self._rng, self._switch_probability = monitor, rng, switch_probability
        self._choose_fault, self._step_ended, self._seconds = choose_fault, step_ended, seconds
        self._open_session = open_session
        self._changed = Condition()
        self._over = False
        self._running: Actor | None = None

    def run(self) -> None:
        """Run the actors until the scenario is over; an actor that is inside a step then is killed there."""
        threads = [
            Thread(target=self._run_thread, args=(actor,), name=actor.name, daemon=True) for actor in self.actors
        ]
        for actor in self.actors:
            actor.scheduler, actor.turn = self, Semaphore(0)
            actor.has_lock_timeout = actor.was_timed_out = False
            actor.step, actor.nth, actor.is_dead, actor.is_idle = 0, 0, False, True
            actor.stalled_until, actor.is_blocked, actor.executing_since = None, False, None
        watch = Thread(target=self._watch_locks, daemon=True)
        for thread in [*threads, watch]:
            thread.start()
        self._give_turn(self.actors[0])
        for thread in [*threads, watch]:
            thread.join(STUCK_SECONDS * 4)
            assert not thread.is_alive(), f"the scheduler is stuck: {self.log[-20:]}"
        for actor in self.actors:
            actor.scheduler = None

    def fault_point(self, actor: Actor, what: str) -> str | None:
        if actor.is_dead or self._over:
            raise ProcessDied
        # Actors that waited for locks which this actor has just released must be unblocked before it continues.
        self._refresh_blocked()
        actor.nth += 1
        point = FaultPoint(actor.name, actor.step, actor.nth, what)
        self.points.append(point)
        fault = self._choose_fault(point)
        if self._rng.random() < self._switch_probability:
            self._yield_turn(actor)
        if fault is None:
            return None
        self.log.append(f"{point.name:10} {fault} at: {actor.activity}, {what}")
        if fault == "die":
            actor.is_dead = True
            raise ProcessDied
        if fault.startswith("stall"):
            actor.stalled_until = self._seconds() + float(fault.split()[1])
            self._yield_turn(actor)
        return fault

    def executed(self, actor: Actor) -> None:
        with self._changed:
            actor.executing_since = None
            if not actor.is_blocked:
                return
            actor.is_blocked = False
            self._changed.notify_all()
        self._await_turn_or_die(actor)

    def _run_thread(self, actor: Actor) -> None:
        try:
            self._await_turn(actor)
            self._run_steps(actor)
        except BaseException as error:
            self.violations.append(f"the scheduler failed: {error!r}")
            raise
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            for other in self.actors:
                other.turn.release()

    def _run_steps(self, actor: Actor) -> None:
        while not self._over:
            actor.step, actor.nth, actor.is_dead, actor.is_idle = actor.step + 1, 0, False, False
            error: BaseException | None = None
            try:
                actor.work(actor)
            except (ProcessDied, DialerError) as ended:
                error = ended
            except Exception as ended:
                self.violations.append(
                    f"{actor.name}.{actor.step} {actor.activity} raised {type(ended).__name__}: {ended}"
                )
                error = ended
            actor.is_idle, actor.stalled_until = True, None
            # Actors that this step has blocked must be unblocked before the next one is chosen.
            self._refresh_blocked()
            if self._over or not self._step_ended(actor, error):
                break
            self._yield_turn(actor, quietly=True)

    def _yield_turn(self, actor: Actor, *, quietly: bool = False) -> None:
        chosen = self._choose()
        if chosen is not actor:
            self._give_turn(chosen)
            (self._await_turn if quietly else self._await_turn_or_die)(actor)

    def _give_turn(self, actor: Actor) -> None:
        self._running = actor
        actor.turn.release()

    def _await_turn(self, actor: Actor) -> None:
        assert actor.turn.acquire(timeout=STUCK_SECONDS), "no actor gives up the turn"

    def _await_turn_or_die(self, actor: Actor) -> None:
        self._await_turn(actor)
        if self._over:
            raise ProcessDied

    def _choose(self) -> Actor:
        """Choose an actor that is not blocked. A stalled actor is chosen early only when all others are stalled."""
        self._refresh_blocked()
        ready = [actor for actor in self.actors if not actor.is_blocked]
        awake = [actor for actor in ready if actor.stalled_until is None or actor.stalled_until <= self._seconds()]
        candidates = awake or ready
        (chosen,) = self._rng.choices(candidates, [actor.weight for actor in candidates])
        chosen.stalled_until = None
        return chosen

    def _refresh_blocked(self) -> None:
        """Wait until each blocked actor has continued, or is seen twice waiting for the same lock holders.

        An actor that waits for the open session runs into its lock timeout: in production that is some seconds at most.
        """
        seen: dict[Actor, tuple[int, ...]] = {}
        while True:
            blocked = [actor for actor in self.actors if actor.is_blocked]
            before, seen = seen, self._holders_of(blocked)
            if timed_out := [actor for actor, holders in seen.items() if self._open_session in holders]:
                self.time_out(timed_out[0])
                continue
            if all(seen.values()) and seen in (before, self._lock_holders):
                break
            if not all(seen.values()):
                with self._changed:
                    self._changed.wait_for(partial(_any_continues, blocked), SLOW_SECONDS)
        self._note_choice_of_postgres(seen)
        self._lock_holders = seen

    def _note_choice_of_postgres(self, seen: dict[Actor, tuple[int, ...]]) -> None:
        """Record when several actors get their locks at once: then Postgres, not the seed, decides which is first."""
        released = {actor for actor, holders in self._lock_holders.items() if seen.get(actor) != holders}
        backends = {actor.backend for actor in released}
        involved = released | {actor for actor, holders in self._lock_holders.items() if backends.intersection(holders)}
        if len(involved) > 1:
            self.deterministic_points = self.deterministic_points or (len(self.points), len(self.log))
            names = ", ".join(sorted(actor.name for actor in involved))
            self.log.append(f"locks granted at once, Postgres chooses the order: {names}")

    def _holders_of(self, blocked: Sequence[Actor]) -> dict[Actor, tuple[int, ...]]:
        if not blocked:
            return {}
        return dict(zip(blocked, self._monitor.blockers([actor.backend for actor in blocked]), strict=True))

    def _watch_locks(self) -> None:
        """Take the turn from an actor that waits for a lock."""
        while not self._over:
            with self._changed:
                self._changed.wait_for(lambda: self._over, SLOW_SECONDS)
            actor = self._running
            if actor is None or actor.is_blocked or self._over:
                continue
            since = actor.executing_since
            if since is None or monotonic() - since < SLOW_SECONDS or not all(self._monitor.blockers([actor.backend])):
                continue
            with self._changed:
                if actor.executing_since != since:
                    continue
                actor.is_blocked = True
            self.log.append(f"{actor.name}.{actor.step} waits for a lock: {actor.activity}")
            self._unblock_or_yield(actor)

    def _unblock_or_yield(self, actor: Actor) -> None:
        """Give the turn to another actor. If all are blocked, or at random, a wait with a lock timeout times out."""
        self._refresh_blocked()
        if not actor.is_blocked:
            pass
        elif all(other.is_blocked for other in self.actors):
            with_timeout = [other for other in self.actors if other.has_lock_timeout]
            if with_timeout:
                self.time_out(with_timeout[0])
            else:
                self.violations.append(f"deadlock: {[other.activity for other in self.actors]}")
                with self._changed:
                    assert self._changed.wait_for(
                        lambda: any(not other.is_blocked for other in self.actors), STUCK_SECONDS
                    ), "all actors wait for each other"
        elif actor.has_lock_timeout and self._rng.random() < 0.5:
            self.time_out(actor)
        self._give_turn(self._choose())

    def time_out(self, actor: Actor) -> None:
        """Cancel the wait for a lock, as its `lock_timeout` would, and return when the actor has noticed."""
        actor.was_timed_out = True
        self._monitor.cancel(actor.backend)
        with self._changed:
            assert self._changed.wait_for(lambda: not actor.is_blocked, STUCK_SECONDS), (
                "a cancelled statement still waits"
            )


def _any_continues(actors: Sequence[Actor]) -> bool:
    return any(not actor.is_blocked for actor in actors)
