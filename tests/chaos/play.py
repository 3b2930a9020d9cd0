"""Plays a story: its people on real Postgres and Redis, until the power fails; then the recovery; judged all the while.

Out comes what was broken (nothing, one hopes), what happened, and which faults struck.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chaos.environment import Environment
from chaos.judge import FRESH, SKEW_SECONDS, Judge
from chaos.monitor import Monitor
from chaos.stage import Actor, Died, Stage, Touch
from chaos.story import AT_DATABASE, LONGEST, Story
from chaos.touching import Departed, HurriedDatabase, Late, StagedDatabase, StagedProvider, staged_redis
from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, BatchId, TrunkId
from dialer.domain.outcomes import Outcome
from dialer.engine.context import EngineContext
from dialer.engine.departure import Departure
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.place import place
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.errors import DialerError
from dialer.providers.pool import ProviderPool
from dialer.providers.simulator import NetworkProfile, SimulatedNetwork
from dialer.service import batches, contacts
from dialer.store.lease_requests import LOADED_ON
from dialer.store.leases import Leases
from support.empty_database import EMPTY
from support.world import MONDAY, Connections, World, made_up_phones

WORKERS = 4
LISTENERS = 2


@dataclass(frozen=True)
class Played:
    """`faults`: the names of the touches that were hit. `sure`: so many touches were decided by the seed alone; that of
    these, and of what is told until then, is the `digest`, the same for the same story.
    """

    story: Story
    broken: tuple[str, ...]
    told: tuple[str, ...]
    faults: tuple[str, ...]
    touches: int
    sure: int
    calls: int
    digest: str


@dataclass
class Process:
    """A process of the engine: its own connections, its own clock, its own chance.

    Its steps go by the ledger's clock; only requests leave by its own, which is up to SKEW_SECONDS off.
    """

    actor: Actor
    context: EngineContext
    skew_seconds: float
    rng: Random
    clock: Callable[[], DateTime]
    # What it holds in memory: calls that are to leave, and when.
    departures: list[tuple[DateTime, Departure]] = field(default_factory=list)

    @property
    def now(self) -> DateTime:
        return self.clock()


class Cast:
    """The processes and the servers that they work on; made once, for many stories."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url, self.redis_url = database_url, redis_url
        self.monitor = Monitor(database_url, redis_url)
        self.environment = Environment(database_url)
        self.connections = Connections(database_url, redis_url, HurriedDatabase)
        self.world: World | None = None
        self.late: Late = []
        self.departed: Departed = []
        names = [f"worker{n}" for n in range(WORKERS)] + [f"listener{n}" for n in range(LISTENERS)] + ["operator"]
        self.processes = {name: self._process(name) for name in names}

    def begin(self, world: World) -> None:
        self.world = world
        self.late.clear()
        self.departed.clear()

    def network(self, trunk_id: TrunkId) -> SimulatedNetwork:
        """The network behind a trunk in the story that is being played."""
        assert self.world is not None
        return self.world.networks[trunk_id]

    def close(self) -> None:
        for process in self.processes.values():
            process.context.providers.close()
            process.context.leases.close()
            process.context.db.close()
        self.connections.close()
        self.environment.close()
        self.monitor.close()

    def _process(self, name: str) -> Process:
        actor = Actor(name, lambda _: None)

        def true_now() -> DateTime:
            return self.world.clock.now if self.world else MONDAY

        def own_now() -> DateTime:
            return true_now().add(seconds=process.skew_seconds)

        def connect(trunk: Any) -> StagedProvider:
            network = lambda: self.network(trunk.id)  # noqa: E731
            return StagedProvider(network, actor, true_now, self.late, self.departed, own_now)

        db = StagedDatabase(self.database_url, actor, self.monitor, true_now)
        leases = Leases(staged_redis(self.redis_url, actor), is_virtual=True)
        # What a first contact asks for besides must not be part of the first story alone.
        db.revision()
        leases.acquire(MONDAY, [], [])
        context = EngineContext(db, leases, ProviderPool(connect, own_now), own_now)
        process = Process(actor, context, 0.0, Random(0), true_now)
        return process


class Play:
    """One story on its way."""

    def __init__(self, story: Story, cast: Cast) -> None:
        self.story, self.cast, self.environment = story, cast, cast.environment
        self.kinds = story.kinds()
        _empty(cast)
        self.world = World(
            cast.database_url, cast.redis_url, story.network(0), rng=story.chance("world"), lent=cast.connections
        )
        cast.begin(self.world)
        self.queue: list[list[BatchId]] = []
        self.broken: list[str] = []
        self.faults: list[str] = []
        self.steps = 0.0
        self._chance = story.chance("turns")
        self._snapshot: dict[Any, bytes] = {}
        self._set_up()
        self.judge = Judge(self.world, self.batch_of, cast.departed, cast.monitor.written_to)

    def play(self) -> Played:
        chance = self.story.chance("who")
        workers = chance.randint(1, WORKERS)
        listeners = chance.randint(1, LISTENERS)
        work = {f"worker{n}": self._worker for n in range(workers)}
        work |= {f"listener{n}": self._listener for n in range(listeners)}
        if "operator" in self.kinds:
            work["operator"] = self._operator
        actors = []
        for name, doing in work.items():
            process = self.cast.processes[name]
            process.rng = self.story.chance(name)
            process.departures.clear()
            process.skew_seconds = process.rng.uniform(0, SKEW_SECONDS) if "clock" in self.kinds else 0.0
            process.actor.work = partial(_step, process, doing)
            process.actor.eagerness = 3 if name.startswith("worker") else 1
            actors.append(process.actor)
        switching = chance.choice((0.0, 0.03, 0.1, 0.3))
        self.stage = Stage(
            actors, self.cast.monitor, self._chance, switching, self._decide, self._rested,
            lambda: self.world.clock.now.timestamp(), self.environment.backend,
        )  # fmt: skip
        try:
            self.stage.play()
            self.environment.end()
            self.broken += self.stage.broken
            if not self.broken:
                self._recover()
        finally:
            self.environment.end()
            self.world.close()
        told, touches = self.stage.story, [f"{touch.name} {touch.what}" for touch in self.stage.touches]
        sure, lines = self.stage.sure or (len(touches), len(told))
        digest = sha256("\n".join([*touches[:sure], *told[:lines]]).encode()).hexdigest()
        calls = sum(len(network.log) for network in self.world.networks.values())
        return Played(
            self.story, tuple(self.broken), tuple(told), tuple(self.faults), len(touches), sure, calls, digest
        )

    def _set_up(self) -> None:
        chance = self.story.chance("setting")
        world = self.world
        second = UUID(int=chance.getrandbits(128), version=4)
        world.sql(
            """
            INSERT INTO trunks (id, workspace_id, name, provider, config)
            SELECT :id, workspace_id, 'second', provider, config FROM trunks
            """,
            id=second,
        )
        world.networks[second] = SimulatedNetwork(NetworkProfile.parse(self.story.network(1)))  # type: ignore[index]
        world.sql(
            "UPDATE phone_numbers SET trunk_id = :id WHERE id = :number",
            id=second,
            number=world.installed.number_ids[2],
        )
        if chance.random() < 0.5:
            world.sql("UPDATE trunks SET max_concurrent_calls = :n", n=chance.randint(1, 5))
        if chance.random() < 0.4:
            world.sql("UPDATE trunks SET calls_per_second = :n", n=chance.choice((0.5, 1, 3)))
        if chance.random() < 0.4:
            world.sql("UPDATE phone_numbers SET max_concurrent_calls = :n", n=chance.randint(1, 3))
        if chance.random() < 0.3:
            world.sql("UPDATE phone_numbers SET max_calls_per_day = :n", n=chance.randint(4, 12))
        world.rescue()
        phones = iter(made_up_phones(1_000))
        self.batch_of: dict[str, UUID] = {}
        self.batch_ids: list[BatchId] = []
        for n in range(chance.choice((1, 1, 2, 3))):
            count = self.story.contacts or chance.choice((1, 2, 3, 5, 8, 12))
            mine = [next(phones) for _ in range(count)]
            options = self.story.batch(n)
            batch_id = world.batch(mine, start=chance.random() < 0.9, **options)
            self.batch_ids.append(batch_id)
            self.batch_of |= dict.fromkeys(mine, batch_id)
        self._spare = phones
        self.queue.append(list(self.batch_ids))

    def _decide(self, touch: Touch) -> str | None:
        if touch.actor == "operator" and touch.what == "committed":
            self.judge.note_limits()
        fault = self.story.decide(touch)
        if fault is None:
            return None
        self.faults.append(touch.name)
        if fault == "flush":
            self.cast.monitor.redis.flushall()
        elif fault == "old memory":
            self._restore_memory()
        elif fault == "lose a part":
            self._lose_a_part(self.story.chance(f"part {touch.name}"))
        elif fault in AT_DATABASE:
            chance = self.story.chance(f"{fault} {touch.name}")
            done = self.environment.strike(fault, chance, self.steps + chance.uniform(0, LONGEST))
            self.stage.story.append(f"           {fault}: {done}")
        return fault

    def _save_memory(self) -> None:
        """Redis writes a snapshot."""
        redis = self.cast.monitor.raw_redis
        self._snapshot = {key: dumped for key in redis.keys("*") if (dumped := redis.dump(key)) is not None}

    def _restore_memory(self) -> None:
        """Redis is killed and started again with the last snapshot: what it has acknowledged since is lost."""
        redis = self.cast.monitor.raw_redis
        redis.flushall()
        for key, dumped in self._snapshot.items():
            redis.restore(key, 0, dumped)
        if redis.exists(LOADED_ON):
            # The run of the server cannot be changed here: so it was another that was loaded.
            redis.set(LOADED_ON, "0" * 40)

    def _lose_a_part(self, chance: Random) -> None:
        """Redis forgets some of what it knew, and not that it knew it: as after a failover that lost writes."""
        keys = sorted(self.cast.monitor.redis.scan_iter("{dialer}:*"))
        some = [key for key in keys if chance.random() < 0.4]
        if some:
            self.cast.monitor.redis.delete(*some)
        # Limits that cross batches are repaired by the next rescue only (docs/reliability.md).
        self.judge.forgiven_until = self.world.clock.now.add(days=3650)

    def _rested(self, actor: Actor, error: BaseException | None) -> bool:
        """Judge, let time pass, and say whether the story goes on."""
        # A listener that found nothing to hand in has hardly done anything.
        self.steps += 1 if actor.nth else 0.25
        if isinstance(error, Died):
            # What a process held in memory is gone with it.
            self.cast.processes[actor.name].departures.clear()
        if error is not None:
            self.stage.story.append(f"{actor.name}.{actor.step} {actor.doing} ended by {type(error).__name__}")
        if actor.doing == "rescue" and error is None and self.judge.forgiven_until is not None:
            self.judge.forgiven_until = min(self.judge.forgiven_until, self.world.clock.now + FRESH)
        arrived = self._arrive_late()
        if "old memory" in self.kinds and self._chance.random() < 0.1:
            self._save_memory()
        self.stage.story += [f"           {what}" for what in self.environment.take_back(self.steps)]
        if self.environment.is_fitting and (actor.nth or arrived):
            self.broken += [f"after {actor.name}.{actor.step} {actor.doing}: {fact}" for fact in self.judge.look()]
        if self.broken or self.stage.broken or self.steps >= self.story.steps:
            # Whoever waits for it now has nobody left to end the wait.
            self.environment.free()
            return False
        chance = self._chance.random()
        if any(other.is_blocked for other in self.stage.actors):
            # A statement that waits has read the clock already; a real one would read it when it goes on.
            return True
        if chance < 0.4:
            self._pass(self._chance.uniform(0.05, 2))
        elif chance < 0.5:
            self._pass(self._chance.uniform(5, 90))
        return True

    def _pass(self, seconds: float) -> None:
        self.world.clock.now = self.world.clock.now.add(seconds=seconds)

    def _arrive_late(self) -> int:
        """Requests that were long under way reach their networks, which may find them too late; return how many."""
        arrived = [late for late in self.cast.late if self._chance.random() < 0.3]
        for network, request in arrived:
            self.cast.late.remove((network, request))
            network.place(request, self.world.clock.now)
        return len(arrived)

    def _worker(self, process: Process) -> None:
        """Take a task from the queue, or one that beat has sent."""
        rng, context, actor = process.rng, process.context, process.actor
        if "clock" in self.kinds and rng.random() < 0.1:
            process.skew_seconds = rng.uniform(-SKEW_SECONDS, SKEW_SECONDS)
        if any(at <= self.world.clock.now for at, _ in process.departures) and rng.random() < 0.7:
            self._depart(process)
            return
        if self.queue and rng.random() < 0.8:
            self._dispatch(process, self._take(rng))
            return
        actor.doing = rng.choices(("tick", "settle", "retry", "rescue", "dispatch"), (3, 6, 2, 2, 3))[0]
        match actor.doing:
            case "tick":
                self._ask(tick(context, process.now).due)
            case "settle":
                # In one task with the settling, as the worker does it.
                self._dispatch(process, settle(context, process.now).freed, "settle, dispatch")
            case "retry":
                self._ask(retry(context, process.now).batches)
            case "rescue":
                self._ask(rescue(context, process.now, rng).freed)
            case "dispatch":
                self._dispatch(process, rng.sample(self.batch_ids, rng.randint(1, len(self.batch_ids))))

    def _dispatch(self, process: Process, batch_ids: Sequence[BatchId], doing: str = "dispatch") -> None:
        process.actor.doing = doing
        report = dispatch(process.context, batch_ids, process.now, process.rng)
        self._ask(report.again)
        self._schedule(process, report.departures)
        if process.rng.random() < 0.7:
            self._depart(process)

    def _schedule(self, process: Process, departures: Sequence[Departure]) -> None:
        now = self.world.clock.now
        process.departures += [(now.add(seconds=one.wait_seconds), one) for one in departures]

    def _depart(self, process: Process) -> None:
        """Let calls leave whose time has come. Before, anything may have happened; and each leaves on its own."""
        process.actor.doing = "place"
        for at, departure in sorted(process.departures, key=lambda one: one[0]):
            if at <= self.world.clock.now:
                process.departures.remove((at, departure))
                self._schedule(process, place(process.context, departure, process.now).later)

    def _ask(self, batch_ids: Sequence[BatchId]) -> None:
        if batch_ids:
            self.queue.append(list(batch_ids))

    def _take(self, rng: Random) -> list[BatchId]:
        """Take a task; the queue may lose it, or keep it to bring it again."""
        fate, task = rng.random(), self.queue.pop(0)
        if "task lost" in self.kinds and fate < 0.2:
            return []
        if "task again" in self.kinds and fate > 0.8:
            self.queue.append(task)
        return task

    def _listener(self, process: Process) -> None:
        """Hand in what a network has to report, and acknowledge it."""
        process.actor.doing = "receive"
        rng = process.rng
        trunk_id = rng.choice(sorted(self.world.networks))
        network = self.world.networks[trunk_id]
        events = network.due(self.world.clock.now)[: rng.randint(1, 10)]
        lies = self._lies(rng, trunk_id) if "lies" in self.kinds and rng.random() < 0.1 else []
        if events or lies:
            receive(process.context.db, trunk_id, [*events, *lies])
            network.acknowledge([event.key for event in events])

    def _lies(self, rng: Random, trunk_id: UUID) -> list[CallEvent]:
        """Reports for calls that nobody has made, and for calls of another trunk than the one that reports."""
        others = [network for of, network in sorted(self.world.networks.items()) if of != trunk_id]
        foreign = [call.attempt_id for network in others for call in network.log]
        kind = rng.choice(list(EventKind))
        return [
            CallEvent(
                key=f"lie {rng.random()}",
                attempt_id=rng.choice([AttemptId(UUID(int=rng.getrandbits(128), version=4)), *foreign]),
                kind=kind,
                at=self.world.clock.now.add(seconds=rng.uniform(-1e6, 1e6)),
                outcome=rng.choice(list(Outcome)) if kind is EventKind.ENDED else None,
            )
        ]

    def _operator(self, process: Process) -> None:
        """Do what operators do, through the service or in psql."""
        actor, rng = process.actor, process.rng
        batch_id = rng.choice(self.batch_ids)
        deeds: dict[str, Callable[[], object]] = {
            "pause in SQL": lambda: self._sql(process, "UPDATE batches SET status = 'paused'"),
            "pause one in SQL": lambda: self._sql(
                process, "UPDATE batches SET status = 'paused' WHERE id = :id", id=batch_id
            ),
            "resume in SQL": lambda: self._sql(
                process, "UPDATE batches SET status = 'active' WHERE status = 'paused'"
            ),
            "resume": lambda: batches.resume(process.context.db, self.world.installed.workspace_id, batch_id),
            "pause": lambda: batches.pause(process.context.db, self.world.installed.workspace_id, batch_id),
            "schedule": lambda: batches.schedule(
                process.context, self.world.installed.workspace_id, batch_id, process.now
            ),
            "cancel": lambda: self._cancel(process, batch_id),
            "change a limit": lambda: self._sql(
                process, "UPDATE batches SET max_concurrent_calls = :n WHERE id = :id", n=rng.randint(1, 6), id=batch_id
            ),
            "change a trunk": lambda: self._sql(
                process, "UPDATE trunks SET max_concurrent_calls = :n", n=rng.choice((None, 1, 2, 4))
            ),
            "change a window": lambda: self._sql(
                process, "UPDATE batches SET end_time = :end WHERE id = :id AND start_time IS NOT NULL",
                end=rng.choice(("08:01", "12:00", "17:30")), id=batch_id,
            ),
            "switch a number": lambda: self._sql(
                process,
                "UPDATE phone_numbers SET status = CASE status WHEN 'active' THEN 'inactive' ELSE 'active' END"
                " WHERE id = :id", id=rng.choice(self.world.installed.number_ids[1:]),
            ),
            "suppress": lambda: self._sql(
                process,
                "INSERT INTO suppressions SELECT workspace_id, :phone FROM batches LIMIT 1 ON CONFLICT DO NOTHING",
                phone=rng.choice(sorted(self.batch_of)),
            ),
            "add a contact": lambda: self._add(process, batch_id),
        }  # fmt: skip
        # What was stopped goes on soon: a story in which nobody is called shows nothing.
        often = {"resume in SQL": 4, "resume": 2, "schedule": 2, "cancel": 0.3}
        (actor.doing,) = rng.choices(list(deeds), [often.get(deed, 1) for deed in deeds])
        try:
            deeds[actor.doing]()
        except (DialerError, IntegrityError) as error:
            said = str(error).partition("\n")[0]
            self.stage.story.append(f"{actor.name}.{actor.step} {actor.doing}: refused, {said}")
            if isinstance(error, IntegrityError) and actor.doing.endswith("in SQL"):
                self.broken.append(f"P4: {actor.doing} was refused: {said}")

    def _sql(self, process: Process, statement: str, **values: object) -> None:
        with process.context.db.begin() as connection:
            connection.execute(text(statement), values)

    def _cancel(self, process: Process, batch_id: BatchId) -> None:
        how = batches.Cancellation(in_progress=process.rng.choice(("finish", "hang_up")))
        batches.cancel(process.context.db, self.world.installed.workspace_id, batch_id, how)

    def _add(self, process: Process, batch_id: BatchId) -> None:
        phone = next(self._spare)
        self.batch_of[phone] = batch_id
        file, workspace_id = io.BytesIO(f"phone\n{phone}".encode()), self.world.installed.workspace_id
        contacts.import_csv(process.context.db, workspace_id, batch_id, file, process.now, process.rng)

    def _recover(self) -> None:
        """After the power failure: what is left starts again, with nothing else going wrong, and goes to its end."""
        self.judge.note_limits()
        self.world.sql("UPDATE batches SET status = 'active' WHERE status IN ('paused', 'draft')")
        self.world.sql("UPDATE phone_numbers SET status = 'active'")
        if self._chance.random() < 0.75:
            # Caps make the rest take days, which most stories need not be told to the end of.
            self.world.sql("UPDATE batches SET max_calls_per_day = NULL")
            self.world.sql("UPDATE phone_numbers SET max_calls_per_day = NULL")
        self.judge.note_limits()
        for network, request in self.cast.late:
            network.place(request, self.world.clock.now)
        self._pass(1)
        self.world.rescue()
        if self.judge.forgiven_until is not None:
            self.judge.forgiven_until = self.world.clock.now
        try:
            if "open transaction" in self.kinds and len(self.batch_ids) > 1 and self._chance.random() < 0.5:
                self._finish_the_others()
            self._finish(self.batch_ids, 60, 1_800)
            self._pass(timedelta(minutes=10).total_seconds())
            # Reports about calls that were over already may have met a lock.
            self.world.deliver()
            self.world.rescue()
        except (AssertionError, DialerError) as error:
            self.broken.append(f"P5: {error}")
        self.broken += [f"at the end: {fact}" for fact in self.judge.end()]

    def _finish_the_others(self) -> None:
        """A transaction stays open on one batch until all others are over: they lose nothing by it (P5)."""
        # Shared limits are used up by calls whose ends cannot be written; caps and windows make the rest take days.
        self.world.sql("UPDATE batches SET max_calls_per_day = NULL, start_time = NULL, end_time = NULL")
        self.world.sql("UPDATE trunks SET max_concurrent_calls = NULL")
        self.world.sql("UPDATE phone_numbers SET max_concurrent_calls = NULL, max_calls_per_day = NULL")
        self.judge.note_limits()
        held = self._chance.choice(self.batch_ids)
        what = self.environment.hold_of(held, self._chance)
        self.stage.story.append(f"a transaction stays open until all but batch {held} are over: {what}")
        # The held batch is due all the time.
        self._finish([batch_id for batch_id in self.batch_ids if batch_id != held], 300, 3_600)
        self.environment.free()

    def _finish(self, batch_ids: Sequence[BatchId], closely: float, later: float) -> None:
        """Go on until these batches are over."""
        # What is soon over goes on closely; what waits for days (a cap, a window) is looked at less often.
        soon = self.world.clock.now.add(hours=1)
        self.world.run(lambda: self._are_over(batch_ids) or self.world.clock.now >= soon, grain=closely)
        self.world.run(lambda: self._are_over(batch_ids), grain=later, limit=2_000)

    def _are_over(self, batch_ids: Sequence[BatchId]) -> bool:
        over: bool = self.world.value(
            """
            SELECT bool_and(b.status IN ('completed', 'cancelled', 'failed') AND p.dialing = 0)
            FROM batches b JOIN batch_progress p ON p.batch_id = b.id WHERE b.id = ANY(:ids)
            """,
            ids=list(batch_ids),
        )
        return over


def _step(process: Process, doing: Callable[[Process], None], _: Actor) -> None:
    doing(process)


def _empty(cast: Cast) -> None:
    """Nothing is left of the story before."""
    cast.monitor.postgres.execute(EMPTY)
    cast.monitor.redis.flushall()


def play(story: Story, cast: Cast) -> Played:
    """Play one story."""
    return Play(story, cast).play()


def shortened(played: Played, cast: Cast) -> Iterator[Played]:
    """Yield a broken story, and then ever shorter ones that are broken in the same way."""
    yield played
    for change in _cuts(played):
        less = play(change(played.story), cast)
        if less.broken and _kind(less) == _kind(played):
            played = less
            yield played


def _kind(played: Played) -> str:
    """Say which promise is broken: a shorter story must break the same."""
    promise = re.search(r"P\d|deadlock|raised", played.broken[0])
    return promise.group() if promise else played.broken[0]


def _cuts(played: Played) -> Iterator[Callable[[Story], Story]]:
    """Ways to tell a story with less: fewer kinds of fault, fewer faults, fewer steps, fewer contacts."""
    for kind in sorted(played.story.kinds()):
        yield lambda story, kind=kind: replace(story, without=story.without | {kind})  # type: ignore[misc]
    for kind in ("lost", "late", "repeated", "reordered", "timeout_before", "timeout_after", "refused", "server_error"):
        yield lambda story, kind=kind: replace(story, without=story.without | {kind})  # type: ignore[misc]
    yield lambda story: replace(story, only=frozenset())
    for fault in played.faults:
        yield lambda story, fault=fault: replace(  # type: ignore[misc]
            story, only=(story.only if story.only is not None else frozenset(played.faults)) - {fault}
        )
    for count in (1, 2, 3, 5):
        yield lambda story, count=count: replace(story, contacts=count)  # type: ignore[misc]
