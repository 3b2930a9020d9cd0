"""One at a time: the processes of a story take turns at every touch of Postgres, Redis or a network.

Each actor is a process of the engine in a thread of its own, and one of them has the turn. At a touch it may lose the
turn to another, be hit by a fault, or die. Which of these is decided by the story's seed alone, so that a story is the
same each time it is played. Who waits for a lock in Postgres is out until the lock is free, as Postgres itself says;
where several are let go at once, which of them is the first is the choice of Postgres, and the story tells so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from threading import Condition, Semaphore, Thread
from time import monotonic

from chaos.monitor import Monitor
from dialer.errors import DialerError

# A statement that takes longer may be waiting for a lock: Postgres is asked.
SLOW_SECONDS = 0.004
STUCK_SECONDS = 120.0


class Died(BaseException):
    """The process ended here. No `except Exception` of the engine may go on after it."""


@dataclass(frozen=True, slots=True)
class Touch:
    """A place where a process meets the world: which process, in which of its steps, and the how manieth time there."""

    actor: str
    step: int
    nth: int
    what: str

    @property
    def name(self) -> str:
        return f"{self.actor}.{self.step}.{self.nth}"


class Actor:
    """A process. `work` does one step and returns its name."""

    def __init__(self, name: str, work: Callable[["Actor"], None]) -> None:
        self.name = name
        self.work = work
        # How often it gets the turn, compared with others.
        self.eagerness = 1
        self.stage: Stage | None = None
        self.turn = Semaphore(0)
        self.step = self.nth = 0
        self.doing = "rests"
        self.is_dead = self.is_at_rest = False
        self.asleep_until: float | None = None
        # What it has in hand at Postgres.
        self.backend: int | None = None
        self.executing_since: float | None = None
        self.is_blocked = self.is_patient = self.was_timed_out = False

    def touch(self, what: str) -> str | None:
        """Meet the world: return the fault that befalls this, or die. Off the stage nothing happens."""
        return self.stage.touch(self, what) if self.stage else None

    def executing(self, backend: int) -> None:
        """Note that a statement is on its way to this backend."""
        self.backend = backend
        if self.stage:
            self.executing_since = monotonic()

    def executed(self) -> None:
        """Note its end; who lost the turn while it was blocked waits for it."""
        if self.stage:
            self.stage.executed(self)


class Stage:
    """Gives the turn. `decide` says what befalls a touch; `rested` is asked whenever a step has ended.

    `rested` returns False when the story is over. `switching`: how often the turn passes on at a touch. `left_open`:
    the session of Postgres that keeps its locks for longer than anyone waits.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        monitor: Monitor,
        chance: Random,
        switching: float,
        decide: Callable[[Touch], str | None],
        rested: Callable[[Actor, BaseException | None], bool],
        seconds: Callable[[], float],
        left_open: int,
    ) -> None:
        self.actors = list(actors)
        self.story: list[str] = []
        self.touches: list[Touch] = []
        self.broken: list[str] = []
        # So many touches and lines of the story were decided by its seed, where Postgres has had a choice in it.
        self.sure: tuple[int, int] | None = None
        self._waited_for: dict[Actor, tuple[int, ...]] = {}
        self._monitor, self._chance, self._switching = monitor, chance, switching
        self._decide, self._rested, self._seconds = decide, rested, seconds
        self._left_open = left_open
        self._changed = Condition()
        self._over = False
        self._on: Actor | None = None

    def play(self) -> None:
        """Let the actors go on until the story is over; whoever is in the middle of a step then dies there."""
        threads = [Thread(target=self._live, args=(actor,), name=actor.name, daemon=True) for actor in self.actors]
        for actor in self.actors:
            actor.stage, actor.turn = self, Semaphore(0)
            actor.is_patient = actor.was_timed_out = False
            actor.step, actor.nth, actor.is_dead, actor.is_at_rest = 0, 0, False, True
            actor.asleep_until, actor.is_blocked, actor.executing_since = None, False, None
        watch = Thread(target=self._watch, daemon=True)
        for thread in [*threads, watch]:
            thread.start()
        self._give(self.actors[0])
        for thread in [*threads, watch]:
            thread.join(STUCK_SECONDS * 4)
            assert not thread.is_alive(), f"the stage is stuck: {self.story[-20:]}"
        for actor in self.actors:
            actor.stage = None

    def touch(self, actor: Actor, what: str) -> str | None:
        if actor.is_dead or self._over:
            raise Died
        # Whoever waited for what this one has just let go is back before it goes on.
        self._see_who_waits()
        actor.nth += 1
        touch = Touch(actor.name, actor.step, actor.nth, what)
        self.touches.append(touch)
        fault = self._decide(touch)
        if self._chance.random() < self._switching:
            self._pass_on(actor)
        if fault is None:
            return None
        self.story.append(f"{touch.name:10} {fault} at: {actor.doing}, {what}")
        if fault == "die":
            actor.is_dead = True
            raise Died
        if fault.startswith("stall"):
            actor.asleep_until = self._seconds() + float(fault.split()[1])
            self._pass_on(actor)
        return fault

    def executed(self, actor: Actor) -> None:
        with self._changed:
            actor.executing_since = None
            if not actor.is_blocked:
                return
            actor.is_blocked = False
            self._changed.notify_all()
        self._wait(actor)

    def _live(self, actor: Actor) -> None:
        try:
            self._wait_quietly(actor)
            self._go_on(actor)
        except BaseException as error:
            self.broken.append(f"the stage itself: {error!r}")
            raise
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            for other in self.actors:
                other.turn.release()

    def _go_on(self, actor: Actor) -> None:
        while not self._over:
            actor.step, actor.nth, actor.is_dead, actor.is_at_rest = actor.step + 1, 0, False, False
            error: BaseException | None = None
            try:
                actor.work(actor)
            except (Died, DialerError) as ended:
                error = ended
            except Exception as ended:
                self.broken.append(f"{actor.name}.{actor.step} {actor.doing} raised {type(ended).__name__}: {ended}")
                error = ended
            actor.is_at_rest, actor.asleep_until = True, None
            # Whoever this step has held up is back before anyone asks who waits.
            self._see_who_waits()
            if self._over or not self._rested(actor, error):
                break
            self._pass_on(actor, quietly=True)

    def _pass_on(self, actor: Actor, *, quietly: bool = False) -> None:
        chosen = self._choose()
        if chosen is not actor:
            self._give(chosen)
            (self._wait_quietly if quietly else self._wait)(actor)

    def _give(self, actor: Actor) -> None:
        self._on = actor
        actor.turn.release()

    def _wait_quietly(self, actor: Actor) -> None:
        assert actor.turn.acquire(timeout=STUCK_SECONDS), "nobody passes the turn on"

    def _wait(self, actor: Actor) -> None:
        self._wait_quietly(actor)
        if self._over:
            raise Died

    def _choose(self) -> Actor:
        """Choose among those who could go on; who sleeps is waked when nobody else is awake."""
        self._see_who_waits()
        ready = [actor for actor in self.actors if not actor.is_blocked]
        awake = [actor for actor in ready if actor.asleep_until is None or actor.asleep_until <= self._seconds()]
        some = awake or ready
        (chosen,) = self._chance.choices(some, [actor.eagerness for actor in some])
        chosen.asleep_until = None
        return chosen

    def _see_who_waits(self) -> None:
        """Wait until everyone who was blocked has come back, or is seen twice to wait for the same.

        Whoever waits for the session that was left open gives up: the real ones wait for some seconds at most.
        """
        seen: dict[Actor, tuple[int, ...]] = {}
        while True:
            blocked = [actor for actor in self.actors if actor.is_blocked]
            before, seen = seen, self._holders(blocked)
            if timed_out := [actor for actor, holders in seen.items() if self._left_open in holders]:
                self.give_up(timed_out[0])
                continue
            if all(seen.values()) and seen in (before, self._waited_for):
                break
            if not all(seen.values()):
                with self._changed:
                    self._changed.wait_for(lambda some=blocked: not all(one.is_blocked for one in some), SLOW_SECONDS)  # type: ignore[misc]
        self._tell_whose_choice(seen)
        self._waited_for = seen

    def _tell_whose_choice(self, seen: dict[Actor, tuple[int, ...]]) -> None:
        """Where someone is let go together with others, or others stand behind him, Postgres says who is the first."""
        let_go = {actor for actor, holders in self._waited_for.items() if seen.get(actor) != holders}
        backends = {actor.backend for actor in let_go}
        involved = let_go | {actor for actor, holders in self._waited_for.items() if backends.intersection(holders)}
        if len(involved) > 1:
            self.sure = self.sure or (len(self.touches), len(self.story))
            self.story.append(f"let go at once, whoever is first: {', '.join(sorted(one.name for one in involved))}")

    def _holders(self, blocked: Sequence[Actor]) -> dict[Actor, tuple[int, ...]]:
        if not blocked:
            return {}
        return dict(zip(blocked, self._monitor.waiting([actor.backend for actor in blocked]), strict=True))

    def _watch(self) -> None:
        """Take the turn from whoever waits for a lock."""
        while not self._over:
            with self._changed:
                self._changed.wait_for(lambda: self._over, SLOW_SECONDS)
            actor = self._on
            if actor is None or actor.is_blocked or self._over:
                continue
            since = actor.executing_since
            if since is None or monotonic() - since < SLOW_SECONDS or not all(self._monitor.waiting([actor.backend])):
                continue
            with self._changed:
                if actor.executing_since != since:
                    continue
                actor.is_blocked = True
            self.story.append(f"{actor.name}.{actor.step} waits for a lock: {actor.doing}")
            self._unblock_or_pass(actor)

    def _unblock_or_pass(self, actor: Actor) -> None:
        """Let someone else go on; where a lock's time-out is over, or nobody else can, the patient give up."""
        self._see_who_waits()
        if not actor.is_blocked:
            pass
        elif all(other.is_blocked for other in self.actors):
            patient = [other for other in self.actors if other.is_patient]
            if patient:
                self.give_up(patient[0])
            else:
                self.broken.append(f"deadlock: {[other.doing for other in self.actors]}")
                with self._changed:
                    assert self._changed.wait_for(
                        lambda: any(not other.is_blocked for other in self.actors), STUCK_SECONDS
                    ), "everyone waits for everyone"
        elif actor.is_patient and self._chance.random() < 0.5:
            self.give_up(actor)
        self._give(self._choose())

    def give_up(self, actor: Actor) -> None:
        """End the wait for a lock, as its `lock_timeout` would, and return when the actor has come back."""
        actor.was_timed_out = True
        self._monitor.cancel(actor.backend)
        with self._changed:
            assert self._changed.wait_for(lambda: not actor.is_blocked, STUCK_SECONDS), (
                "a statement that was cancelled goes on waiting"
            )
