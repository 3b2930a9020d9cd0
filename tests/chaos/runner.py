"""Runs a scenario on real Postgres and Redis until all processes are killed, then lets the engine finish.

The promises are checked after each step and at the end.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chaos.harness import LISTENERS, WORKERS, Harness, Process
from chaos.invariants import GRANT_VALIDITY, SKEW_SECONDS, ZONE_OF_NUMBERS, InvariantChecker
from chaos.scenario import DATABASE_FAULTS, MAX_DATABASE_FAULT_STEPS, ZONES, Scenario
from chaos.turn_scheduler import Actor, FaultPoint, ProcessDied, TurnScheduler
from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, BatchId, ContactId
from dialer.domain.outcomes import Outcome
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.engine.bulk_change import bulk_change
from dialer.engine.departure import Departure
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.place import place
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.errors import DialerError
from dialer.providers.simulator import NetworkProfile, SimulatedNetwork
from dialer.service import batch_settings, batches, call_reports, contact_edits, contacts
from dialer.service.batch_settings import ChangedSettings, Undo
from dialer.service.call_reports import CallReport
from dialer.service.contact_edits import ChangedContact
from dialer.store.lease_requests import LOADED_ON
from support.empty_database import EMPTY
from support.world import World, made_up_phones


@dataclass(frozen=True)
class ScenarioResult:
    """What happened in a scenario.

    `violations`: the broken promises. `faults`: the names of the points where a fault was injected. `points`: how many
    fault points were reached. `deterministic_points`: how many of them the seed alone decided; `digest` is the hash of
    these and of the log up to there, equal in each run of the same scenario.
    """

    scenario: Scenario
    violations: tuple[str, ...]
    log: tuple[str, ...]
    faults: tuple[str, ...]
    points: int
    deterministic_points: int
    calls: int
    digest: str


class ScenarioRun:
    """A scenario that is running."""

    def __init__(self, scenario: Scenario, harness: Harness) -> None:
        self.scenario, self.harness, self.database_faults = scenario, harness, harness.database_faults
        self.fault_kinds = scenario.fault_kinds()
        _empty_servers(harness)
        self.world = World(
            harness.database_url,
            harness.redis_url,
            scenario.network_profile(0),
            rng=scenario.rng_for("world"),
            lent=harness.connections,
        )
        harness.use(self.world)
        self.queue: list[list[BatchId]] = []
        self.violations: list[str] = []
        self.faults: list[str] = []
        self.steps = 0.0
        self._rng = scenario.rng_for("turns")
        self._redis_snapshot: dict[Any, bytes] = {}
        self._set_up()
        self.checker = InvariantChecker(self.world, self.batch_of, harness.departed, harness.monitor.wal_position)

    def run(self) -> ScenarioResult:
        rng = self.scenario.rng_for("who")
        workers = rng.randint(1, WORKERS)
        listeners = rng.randint(1, LISTENERS)
        work = {f"worker{n}": self._worker for n in range(workers)}
        work |= {f"listener{n}": self._listener for n in range(listeners)}
        if "operator" in self.fault_kinds:
            work["operator"] = self._operator
        actors = []
        for name, step in work.items():
            process = self.harness.processes[name]
            process.rng = self.scenario.rng_for(name)
            process.departures.clear()
            process.skew_seconds = process.rng.uniform(0, SKEW_SECONDS) if "clock" in self.fault_kinds else 0.0
            process.actor.work = partial(_run_step, step, process)
            process.actor.weight = 3 if name.startswith("worker") else 1
            actors.append(process.actor)
        switch_probability = rng.choice((0.0, 0.03, 0.1, 0.3))
        self.scheduler = TurnScheduler(
            actors, self.harness.monitor, self._rng, switch_probability, self._choose_fault, self._step_ended,
            lambda: self.world.clock.now.timestamp(), self.database_faults.locking_backend,
        )  # fmt: skip
        try:
            self.scheduler.run()
            self.database_faults.restore_all()
            self.violations += self.scheduler.violations
            if not self.violations:
                self._finish_after_crash()
        finally:
            self.database_faults.restore_all()
            self.world.close()
        log, points = self.scheduler.log, [f"{point.name} {point.what}" for point in self.scheduler.points]
        decided, lines = self.scheduler.deterministic_points or (len(points), len(log))
        digest = sha256("\n".join([*points[:decided], *log[:lines]]).encode()).hexdigest()
        calls = sum(len(network.log) for network in self.world.networks.values())
        return ScenarioResult(
            self.scenario,
            tuple(self.violations),
            tuple(log),
            tuple(self.faults),
            len(points),
            decided,
            calls,
            digest,
        )

    def _set_up(self) -> None:
        rng = self.scenario.rng_for("setting")
        world = self.world
        second = UUID(int=rng.getrandbits(128), version=4)
        world.sql(
            """
            INSERT INTO trunks (id, workspace_id, name, provider, config)
            SELECT :id, workspace_id, 'second', provider, config FROM trunks
            """,
            id=second,
        )
        world.networks[second] = SimulatedNetwork(NetworkProfile.parse(self.scenario.network_profile(1)))  # type: ignore[index]
        world.sql(
            "UPDATE phone_numbers SET trunk_id = :id WHERE id = :number",
            id=second,
            number=world.installed.number_ids[2],
        )
        if rng.random() < 0.5:
            world.sql("UPDATE trunks SET max_concurrent_calls = :n", n=rng.randint(1, 5))
        if rng.random() < 0.4:
            world.sql("UPDATE trunks SET calls_per_second = :n", n=rng.choice((0.5, 1, 3)))
        if rng.random() < 0.4:
            world.sql("UPDATE phone_numbers SET max_concurrent_calls = :n", n=rng.randint(1, 3))
        if rng.random() < 0.3:
            world.sql("UPDATE phone_numbers SET max_calls_per_day = :n", n=rng.randint(4, 12))
        world.rescue()
        phones = iter(made_up_phones(1_000))
        self.batch_of: dict[str, UUID] = {}
        self.batch_ids: list[BatchId] = []
        for n in range(rng.choice((1, 1, 2, 3))):
            count = self.scenario.contacts or rng.choice((1, 2, 3, 5, 8, 12))
            batch_phones = [next(phones) for _ in range(count)]
            options = self.scenario.batch_options(n)
            batch_id = world.batch(batch_phones, start=rng.random() < 0.9, **options)
            self.batch_ids.append(batch_id)
            self.batch_of |= dict.fromkeys(batch_phones, batch_id)
        self._spare = phones
        self.queue.append(list(self.batch_ids))

    def _choose_fault(self, point: FaultPoint) -> str | None:
        if point.actor == "operator" and point.what == "committed":
            self.checker.record_limits()
        fault = self.scenario.choose_fault(point)
        if fault is None:
            return None
        self.faults.append(point.name)
        if fault == "flush":
            self.harness.monitor.redis.flushall()
        elif fault == "stale snapshot":
            self._restore_snapshot()
        elif fault == "lost keys":
            self._lose_some_keys(self.scenario.rng_for(f"part {point.name}"))
        elif fault in DATABASE_FAULTS:
            rng = self.scenario.rng_for(f"{fault} {point.name}")
            done = self.database_faults.inject(fault, rng, self.steps + rng.uniform(0, MAX_DATABASE_FAULT_STEPS))
            self.scheduler.log.append(f"           {fault}: {done}")
        return fault

    def _save_snapshot(self) -> None:
        """Save all keys of Redis, as its own snapshot would."""
        redis = self.harness.monitor.raw_redis
        self._redis_snapshot = {key: dumped for key in redis.keys("*") if (dumped := redis.dump(key)) is not None}

    def _restore_snapshot(self) -> None:
        """Restart Redis with the last snapshot: all later writes are lost, although they were acknowledged."""
        redis = self.harness.monitor.raw_redis
        redis.flushall()
        for key, dumped in self._redis_snapshot.items():
            redis.restore(key, 0, dumped)
        if redis.exists(LOADED_ON):
            # The run id of the server cannot be changed, so change the run id on which the leases were loaded.
            redis.set(LOADED_ON, "0" * 40)

    def _lose_some_keys(self, rng: Random) -> None:
        """Delete some keys of Redis, and not the epoch marker: as after a failover that lost writes."""
        keys = sorted(self.harness.monitor.redis.scan_iter("{dialer}:*"))
        lost_keys = [key for key in keys if rng.random() < 0.4]
        if lost_keys:
            self.harness.monitor.redis.delete(*lost_keys)
        # Only the next rescue repairs limits across batches (docs/reliability.md).
        self.checker.tolerated_until = self.world.clock.now.add(days=3650)

    def _step_ended(self, actor: Actor, error: BaseException | None) -> bool:
        """Check the promises and advance the clock; return whether the scenario continues."""
        # A listener that found no call events has done next to nothing.
        self.steps += 1 if actor.nth else 0.25
        if isinstance(error, ProcessDied):
            # The memory of a killed process is lost.
            self.harness.processes[actor.name].departures.clear()
        if error is not None:
            self.scheduler.log.append(f"{actor.name}.{actor.step} {actor.activity} ended by {type(error).__name__}")
        if actor.activity == "rescue" and error is None and self.checker.tolerated_until is not None:
            self.checker.tolerated_until = min(self.checker.tolerated_until, self.world.clock.now + GRANT_VALIDITY)
        arrived = self._deliver_late_requests()
        if "stale snapshot" in self.fault_kinds and self._rng.random() < 0.1:
            self._save_snapshot()
        self.scheduler.log += [f"           {change}" for change in self.database_faults.revert_due(self.steps)]
        if self.database_faults.has_known_schema and (actor.nth or arrived):
            self.violations += [
                f"after {actor.name}.{actor.step} {actor.activity}: {fact}" for fact in self.checker.check()
            ]
        if self.violations or self.scheduler.violations or self.steps >= self.scenario.steps:
            # No further step would end this transaction, for which actors may be waiting.
            self.database_faults.end_transaction()
            return False
        draw = self._rng.random()
        if any(other.is_blocked for other in self.scheduler.actors):
            # Do not advance: a blocked statement has read the clock already, and a real one reads it when it continues.
            return True
        if draw < 0.4:
            self._advance_clock(self._rng.uniform(0.05, 2))
        elif draw < 0.5:
            self._advance_clock(self._rng.uniform(5, 90))
        return True

    def _advance_clock(self, seconds: float) -> None:
        self.world.clock.now = self.world.clock.now.add(seconds=seconds)

    def _deliver_late_requests(self) -> int:
        """Let some delayed requests reach their networks, which may refuse them as too late; return how many."""
        arrived = [late for late in self.harness.late if self._rng.random() < 0.3]
        for network, request in arrived:
            self.harness.late.remove((network, request))
            network.place(request, self.world.clock.now)
        return len(arrived)

    def _worker(self, process: Process) -> None:
        """Run a task from the queue, or one that beat has sent."""
        rng, context, actor = process.rng, process.context, process.actor
        if "clock" in self.fault_kinds and rng.random() < 0.1:
            process.skew_seconds = rng.uniform(-SKEW_SECONDS, SKEW_SECONDS)
        if any(at <= self.world.clock.now for at, _ in process.departures) and rng.random() < 0.7:
            self._depart(process)
            return
        if self.queue and rng.random() < 0.8:
            self._dispatch(process, self._dequeue(rng))
            return
        activities = ("tick", "settle", "retry", "rescue", "dispatch", "bulk change")
        actor.activity = rng.choices(activities, (3, 6, 2, 2, 3, 2))[0]
        match actor.activity:
            case "tick":
                self._enqueue(tick(context, process.now).due)
            case "settle":
                # In the same task, as the worker does.
                self._dispatch(process, settle(context, process.now).freed, "settle, dispatch")
            case "retry":
                self._enqueue(retry(context, process.now).batches)
            case "bulk change":
                # A small page, so that the contacts of a batch need several.
                bulk_change(context, process.now, rng.randint(1, 3))
            case "rescue":
                self._enqueue(rescue(context, process.now, rng).freed)
            case "dispatch":
                self._dispatch(process, rng.sample(self.batch_ids, rng.randint(1, len(self.batch_ids))))

    def _dispatch(self, process: Process, batch_ids: Sequence[BatchId], activity: str = "dispatch") -> None:
        process.actor.activity = activity
        report = dispatch(process.context, batch_ids, process.now, process.rng)
        self._enqueue(report.again)
        self._schedule(process, report.departures)
        if process.rng.random() < 0.7:
            self._depart(process)

    def _schedule(self, process: Process, departures: Sequence[Departure]) -> None:
        now = self.world.clock.now
        process.departures += [(now.add(seconds=departure.wait_seconds), departure) for departure in departures]

    def _depart(self, process: Process) -> None:
        """Place the calls that are due, each on its own, as the worker does."""
        process.actor.activity = "place"
        for at, departure in sorted(process.departures, key=lambda scheduled: scheduled[0]):
            if at <= self.world.clock.now:
                process.departures.remove((at, departure))
                self._schedule(process, place(process.context, departure, process.now).later)

    def _enqueue(self, batch_ids: Sequence[BatchId]) -> None:
        if batch_ids:
            self.queue.append(list(batch_ids))

    def _dequeue(self, rng: Random) -> list[BatchId]:
        """Take a task from the queue, which may lose it, or deliver it again later."""
        draw, task = rng.random(), self.queue.pop(0)
        if "task lost" in self.fault_kinds and draw < 0.2:
            return []
        if "task repeated" in self.fault_kinds and draw > 0.8:
            self.queue.append(task)
        return task

    def _listener(self, process: Process) -> None:
        """Receive call events from a network and acknowledge them."""
        process.actor.activity = "receive"
        rng = process.rng
        trunk_id = rng.choice(sorted(self.world.networks))
        network = self.world.networks[trunk_id]
        events = network.due(self.world.clock.now)[: rng.randint(1, 10)]
        false_events = (
            self._false_events(rng, trunk_id) if "false events" in self.fault_kinds and rng.random() < 0.1 else []
        )
        if events or false_events:
            receive(process.context.db, trunk_id, [*events, *false_events])
            network.acknowledge([event.key for event in events])

    def _false_events(self, rng: Random, trunk_id: UUID) -> list[CallEvent]:
        """Return a call event for an attempt that does not exist, or for an attempt on another trunk."""
        others = [network for other_id, network in sorted(self.world.networks.items()) if other_id != trunk_id]
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
        """Run a random operator action, through the service or in psql."""
        actor, rng = process.actor, process.rng
        batch_id = rng.choice(self.batch_ids)
        actions: dict[str, Callable[[], object]] = {
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
            "change settings": lambda: self._change_settings(process, batch_id),
            "undo settings": lambda: batch_settings.undo(
                process.context.db, self.world.installed.workspace_id, batch_id, Undo(), process.now
            ),
            "change a contact": lambda: self._change_contact(process),
            "remove a contact": lambda: self._remove_contact(process),
            "report a callback": lambda: self._report_callback(process),
        }  # fmt: skip
        # Batches are resumed more often than stopped: a scenario without calls tests nothing.
        weights = {"resume in SQL": 4, "resume": 2, "schedule": 2, "cancel": 0.3}
        (actor.activity,) = rng.choices(list(actions), [weights.get(action, 1) for action in actions])
        try:
            actions[actor.activity]()
        except (DialerError, IntegrityError) as error:
            message = str(error).partition("\n")[0]
            self.scheduler.log.append(f"{actor.name}.{actor.step} {actor.activity}: refused, {message}")
            if isinstance(error, IntegrityError) and actor.activity.endswith("in SQL"):
                self.violations.append(f"P4: {actor.activity} was refused: {message}")

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

    def _change_settings(self, process: Process, batch_id: BatchId) -> None:
        rng = process.rng
        choices: dict[str, Callable[[], Any]] = {
            "max_concurrent_calls": lambda: rng.randint(1, 6),
            "max_calls_per_day": lambda: rng.choice((None, 3, 8, 15)),
            "end_time": lambda: rng.choice((None, "08:01", "12:00", "17:30")),
            "timezone": lambda: rng.choice(ZONES),
            "phone_number_ids": lambda: rng.sample(self.world.installed.number_ids, rng.randint(0, 2)),
            "phone_rotation_strategy": lambda: rng.choice(list(RotationStrategy)),
            "retry_failed": lambda: rng.random() < 0.7,
            "max_retry_attempts": lambda: rng.randint(0, 3),
            "retry_delays": lambda: {"busy": rng.randint(0, 3), "no_answer": rng.randint(0, 3)},
            "priority": lambda: rng.randint(1, 10),
        }
        names = rng.sample(sorted(choices), rng.randint(1, 3))
        changed = ChangedSettings.read({name: choices[name]() for name in names}, process.now)
        db, workspace_id = process.context.db, self.world.installed.workspace_id
        planned = batch_settings.plan(db, workspace_id, batch_id, changed, process.now)
        expected = planned.if_match if rng.random() < 0.5 else None
        batch_settings.change(db, workspace_id, batch_id, changed, process.now, expected)

    def _change_contact(self, process: Process) -> None:
        _, batch_id, contact_id = self._contact(process)
        zone = process.rng.choice((None, ZONE_OF_NUMBERS))
        changed = ChangedContact.read({"priority": process.rng.randint(1, 10), "timezone": zone}, process.now)
        workspace_id = self.world.installed.workspace_id
        contact_edits.change(process.context.db, workspace_id, batch_id, contact_id, changed, process.now)

    def _remove_contact(self, process: Process) -> None:
        phone, batch_id, contact_id = self._contact(process)
        workspace_id = self.world.installed.workspace_id
        contact_edits.remove(process.context.db, workspace_id, batch_id, contact_id, process.now)
        self.checker.removed[phone] = self.world.clock.now

    def _report_callback(self, process: Process) -> None:
        """Report of a random call, whatever has become of it, that its person asked to be called again."""
        rng = process.rng
        with process.context.db.begin() as connection:
            calls = connection.execute(text("SELECT id, batch_id FROM attempts ORDER BY id")).all()
        if calls:
            call = rng.choice(calls)
            opts_out = True if rng.random() < 0.2 else None
            at = process.now.add(seconds=rng.choice((20, 200))).to_iso8601_string()
            report = CallReport.read({"callback_at": at, "opt_out": opts_out}, process.now)
            workspace_id = self.world.installed.workspace_id
            call_reports.report(process.context.db, workspace_id, call.batch_id, call.id, report, process.now)

    def _contact(self, process: Process) -> tuple[str, BatchId, ContactId]:
        """Choose a contact; return its number, its batch and its id, which no contact has if it was deleted."""
        phone = process.rng.choice(sorted(self.batch_of))
        with process.context.db.begin() as connection:
            found = connection.execute(text("SELECT id FROM contacts WHERE phone_number = :phone"), {"phone": phone})
            return phone, BatchId(self.batch_of[phone]), ContactId(found.scalar() or UUID(int=0))

    def _finish_after_crash(self) -> None:
        """After the crash, restart without further faults, and run until all batches are over."""
        self.checker.record_limits()
        self.world.sql("UPDATE batches SET status = 'active' WHERE status IN ('paused', 'draft')")
        self.world.sql("UPDATE phone_numbers SET status = 'active'")
        if self._rng.random() < 0.75:
            # With caps the rest takes days, which most scenarios need not simulate.
            self.world.sql("UPDATE batches SET max_calls_per_day = NULL")
            self.world.sql("UPDATE phone_numbers SET max_calls_per_day = NULL")
        self.checker.record_limits()
        for network, request in self.harness.late:
            network.place(request, self.world.clock.now)
        self._advance_clock(1)
        self.world.rescue()
        if self.checker.tolerated_until is not None:
            self.checker.tolerated_until = self.world.clock.now
        try:
            if "open transaction" in self.fault_kinds and len(self.batch_ids) > 1 and self._rng.random() < 0.5:
                self._finish_with_one_batch_locked()
            self._finish(self.batch_ids, 60, 1_800)
            self._advance_clock(timedelta(minutes=10).total_seconds())
            # Some call events of ended calls may have waited for a lock.
            self.world.deliver()
            self.world.rescue()
        except (AssertionError, DialerError) as error:
            self.violations.append(f"P5: {error}")
        self.violations += [f"at the end: {violation}" for violation in self.checker.check_final()]

    def _finish_with_one_batch_locked(self) -> None:
        """Keep a transaction open on one batch until all others are over: they must not be affected (P5)."""
        # Calls whose end cannot be written use up shared limits; with caps and windows the rest takes days.
        self.world.sql("UPDATE batches SET max_calls_per_day = NULL, start_time = NULL, end_time = NULL")
        self.world.sql("UPDATE trunks SET max_concurrent_calls = NULL")
        self.world.sql("UPDATE phone_numbers SET max_concurrent_calls = NULL, max_calls_per_day = NULL")
        self.checker.record_limits()
        locked_id = self._rng.choice(self.batch_ids)
        locks = self.database_faults.lock_batch_rows(locked_id, self._rng)
        self.scheduler.log.append(f"a transaction stays open until all but batch {locked_id} are over: {locks}")
        # Larger steps of time: the locked batch is due all the time.
        self._finish([batch_id for batch_id in self.batch_ids if batch_id != locked_id], 300, 3_600)
        self.database_faults.end_transaction()

    def _finish(self, batch_ids: Sequence[BatchId], small_grain: float, large_grain: float) -> None:
        """Run until these batches are over."""
        # One hour in small steps of time, then large steps: what is left waits for days (a cap, a window).
        soon = self.world.clock.now.add(hours=1)
        self.world.run(lambda: self._batches_over(batch_ids) or self.world.clock.now >= soon, grain=small_grain)
        self.world.run(lambda: self._batches_over(batch_ids), grain=large_grain, limit=2_000)

    def _batches_over(self, batch_ids: Sequence[BatchId]) -> bool:
        over: bool = self.world.value(
            """
            SELECT bool_and(b.status IN ('completed', 'cancelled', 'failed')
                            AND p.pending + p.waiting + p.dialing = 0)
            FROM batches b JOIN batch_progress p ON p.batch_id = b.id WHERE b.id = ANY(:ids)
            """,
            ids=list(batch_ids),
        )
        return over


def _run_step(step: Callable[[Process], None], process: Process, _: Actor) -> None:
    step(process)


def _empty_servers(harness: Harness) -> None:
    """Remove all that the previous scenario has left."""
    harness.monitor.postgres.execute(EMPTY)
    harness.monitor.redis.flushall()


def run_scenario(scenario: Scenario, harness: Harness) -> ScenarioResult:
    """Run one scenario."""
    return ScenarioRun(scenario, harness).run()
