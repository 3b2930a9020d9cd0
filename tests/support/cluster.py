"""A cluster of real processes, each of which can be killed, stopped or cut off, and a check of the promises.

Postgres, Redis and the simulated network are processes too. Workers and listeners can connect to the servers through a
proxy that can be cut. `restart_dead` restarts what has died, as a process manager would. The check reads the network's
journal, which the engine cannot see.
"""

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pendulum
import redis

from dialer.domain.ids import BatchId
from dialer.domain.trunk import Trunk
from dialer.embedded import postgres, valkey
from dialer.embedded.data_dir import password_of, use_exclusively
from dialer.embedded.server import free_port
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.providers.simulator import CarrierCall
from dialer.providers.simulator.journal import Journal
from dialer.providers.simulator.network import most_in_any_second
from dialer.providers.simulator.state import HungUp, Opened, OverLimit
from dialer.service import batches, demo_setup
from dialer.service import contacts as contact_lists
from dialer.service.new_batch import NewBatch
from dialer.settings import Settings
from dialer.store.database import Database, rows, run
from dialer.wiring import context_of
from support.deadline import wait_until
from support.proxy import Proxy
from support.world import made_up_phones

POLL = Event()
DIALER = [sys.executable, "-m", "dialer"]


class Server:
    """Postgres or Redis on a free port, which stays the same over restarts."""

    def __init__(self, serving: Callable[[Callable[[], int]], Any], pid_file: Path) -> None:
        self._serving, self._pid_file = serving, pid_file
        self._port = free_port()
        self._stack = ExitStack()
        self.url = ""
        self.start()

    def start(self) -> None:
        self.url = self._stack.enter_context(self._serving(lambda: self._port)).url

    def stop(self) -> None:
        """Stop it in an orderly way."""
        self._stack.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def restart_killed(self) -> None:
        """Kill it with SIGKILL, so that its memory is lost, and start it again."""
        os.kill(int(self._pid_file.read_text().split()[0]), signal.SIGKILL)
        self.restart()


class Cluster:
    """The processes of one installation, by name: `worker-1`, `beat-2`, `listener-1`, `api-1`, `simulator`."""

    def __init__(
        self, folder: Path, profile: Mapping[str, Any], environment: Mapping[str, str], revision: str = "head"
    ) -> None:
        self.folder = folder
        self._claim = ExitStack()
        self._claim.enter_context(use_exclusively(folder))
        (folder / "log").mkdir(exist_ok=True)
        secret = password_of(folder)
        self.postgres = Server(
            lambda port: postgres.serving(folder, secret, durable=False, choose_port=port),
            folder / "postgres" / "postmaster.pid",
        )
        self.redis = Server(
            lambda port: valkey.serving(folder, secret, durable=False, choose_port=port),
            folder / "redis" / "server.pid",
        )
        self.links = [Proxy(self.postgres.url), Proxy(self.redis.url)]
        self.environment = dict(environment)
        self.db = Database(self.postgres.url)
        self.db.upgrade(revision)
        # The same settings as those of the processes.
        fields: dict[str, Any] = {name.removeprefix("DIALER_").lower(): value for name, value in environment.items()}
        settings = Settings(**fields | {"database_url": self.postgres.url, "redis_url": self.redis.url})
        self.context: EngineContext = context_of(settings)
        self.rng = Random(1)
        self.simulator_port = free_port()
        self.profile = dict(profile) | {"url": f"tcp://127.0.0.1:{self.simulator_port}"}
        self.installed = demo_setup.install(self.db, self.profile, pendulum.now("UTC"), self.rng)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}

    def restart_postgres(self) -> None:
        self.postgres.restart()
        # Its restart has ended the connections of this process.
        self.db.close()
        self.context.db.close()

    def add(self, name: str, *arguments: str, linked: bool = False, prefix: Sequence[str] = ()) -> None:
        """Start a process. `linked`: it connects to the servers through the proxies."""
        self.add_command(name, [*prefix, *DIALER], *arguments, linked=linked)

    def add_command(self, name: str, command: Sequence[str], *arguments: str, linked: bool = False) -> None:
        """Start another program that reads the settings of Dialer from its environment."""
        urls = [link.url for link in self.links] if linked else [self.postgres.url, self.redis.url]
        environment = {"DIALER_DATABASE_URL": urls[0], "DIALER_REDIS_URL": urls[1]} | self.environment
        self.commands[name] = ([*command, *arguments], environment)
        self.start(name)

    def add_simulator(self, *more: str) -> None:
        journal = str(self.folder / "simulator")
        self.add("simulator", "simulator", "--port", str(self.simulator_port), "--journal", journal, *more)
        trunk = Trunk(self.installed.trunk_id, "simulator", self.profile, demo_setup.WORKSPACE)
        wait_until(lambda: self.context.providers.health(trunk) is None, 30, "the network answers")

    def start(self, name: str) -> None:
        command, environment = self.commands[name]
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)

    def restart_dead(self) -> None:
        """Restart the processes that have died."""
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                self.start(name)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(10)

    def terminate(self, name: str) -> int:
        """Send SIGTERM and wait until it has finished its work; return its exit code."""
        self.processes[name].terminate()
        return self.processes[name].wait(40)

    def log(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")

    def batch(self, contacts: int, first: int = 0, *, start: bool = True, **options: Any) -> BatchId:
        """Create a batch and start it."""
        fields = {"name": "storm", "agent_id": self.installed.agent_id, "working_days": [1, 2, 3, 4, 5, 6, 7]} | options
        now = pendulum.now("UTC")
        workspace_id = self.installed.workspace_id
        batch_id = batches.create(self.db, workspace_id, NewBatch.read(fields, now), now, self.rng)
        file = io.BytesIO("\n".join(["phone", *made_up_phones(contacts, first)]).encode())
        contact_lists.import_csv(self.db, workspace_id, batch_id, file, now, self.rng)
        if start:
            batches.schedule(self.context, workspace_id, batch_id, now)
        return batch_id

    def sql(self, statement: str, **values: Any) -> int:
        with self.db.begin() as connection:
            return run(connection, statement, **values)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.db.begin() as connection:
            return list(rows(connection, statement, **values))

    def done(self) -> int:
        """Count the contacts in a final state."""
        (row,) = self.rows("SELECT coalesce(sum(completed + failed + skipped + cancelled), 0) AS n FROM batch_progress")
        return int(row.n)

    def restart_dead_until_over(self) -> bool:
        """Restart the processes that have died; return whether all batches are over."""
        self.restart_dead()
        return self.is_over()

    def is_over(self, *batch_ids: BatchId) -> bool:
        """Whether these batches are over; without ids: whether all are."""
        live = self.rows("SELECT id FROM batches WHERE status NOT IN ('completed', 'cancelled', 'failed')")
        return not {row.id for row in live}.intersection(batch_ids or {row.id for row in live})

    def attempts(self, batch_id: BatchId) -> int:
        (row,) = self.rows("SELECT count(*) AS n FROM attempts WHERE batch_id = :id", id=batch_id)
        return int(row.n)

    def in_progress(self, batch_id: BatchId) -> int:
        (row,) = self.rows("SELECT dialing FROM batch_progress WHERE batch_id = :id", id=batch_id)
        return int(row.dialing)

    def calls(self) -> list[CarrierCall]:
        """Return the network's own call records, from its journal."""
        return calls_of((self.folder / "simulator").glob("*.jsonl"))

    def check_promises(self, limit: int, calls_each: int, calls_per_second: int | None = None) -> None:
        """Check the promises with the audit and with the network's call records.

        `limit`: concurrent calls. `calls_each`: calls of one contact. `calls_per_second`: of the trunk.
        """
        report = audit(self.db, pendulum.now("UTC"))
        assert report.is_clean, report.violations
        assert self.rows("SELECT id FROM contacts WHERE finished_at IS NULL") == []
        calls = self.calls()
        assert max(Counter(call.attempt_id for call in calls).values()) == 1
        assert max(Counter(call.to_number for call in calls).values()) <= calls_each
        assert max_concurrent_calls(calls) <= limit
        assert numbers_with_two_calls(calls) == []
        if calls_per_second is not None:
            assert most_in_any_second(request_times((self.folder / "simulator").glob("*.jsonl"))) <= calls_per_second
        ledger = {row.id: row for row in self.rows("SELECT id, state, outcome FROM attempts")}
        known = {call.attempt_id for call in calls}
        ended = {attempt_id: row for attempt_id, row in ledger.items() if row.state == "ended"}
        assert known <= set(ended)
        assert {attempt_id for attempt_id, row in ended.items() if row.outcome != "unknown"} <= known

    def slots_are_free(self) -> bool:
        with redis.Redis.from_url(self.redis.url) as client:
            return not list(client.scan_iter("{dialer}:slots:*")) and not client.exists("{dialer}:holds")

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(10)
        for link in self.links:
            link.close()
        self.context.providers.close()
        self.context.leases.close()
        self.context.db.close()
        self.db.close()
        self.redis.stop()
        self.postgres.stop()
        self._claim.close()


def calls_of(journals: Iterable[Path]) -> list[CarrierCall]:
    """Return a network's own call records, from its journals."""
    calls: dict[str, CarrierCall] = {}
    for file in journals:
        for change in Journal(file).read():
            match change:
                case Opened(call, _):
                    calls[call.call_id] = call
                case HungUp(call_id, at):
                    calls[call_id] = replace(calls[call_id], ended=at)
    return sorted(calls.values(), key=lambda call: call.placed)


def request_times(journals: Iterable[Path]) -> list[int]:
    """Return when a network got each placement, by its own clock: accepted calls, and those over its limits."""
    times = []
    for file in journals:
        for change in Journal(file).read():
            match change:
                case Opened(call, _):
                    times.append(call.placed)
                case OverLimit(_, _, at):
                    times.append(at)
    return times


def max_concurrent_calls(calls: Sequence[CarrierCall]) -> int:
    changes = sorted([(call.placed, 1) for call in calls] + [(call.ended, -1) for call in calls])
    up = most = 0
    for _, change in changes:
        up += change
        most = max(most, up)
    return most


def numbers_with_two_calls(calls: Sequence[CarrierCall]) -> list[str]:
    """Return the numbers that had two calls at the same time."""
    free_at: dict[str, int] = {}
    twice = []
    for call in calls:
        if call.placed < free_at.get(call.to_number, 0):
            twice.append(call.to_number)
        free_at[call.to_number] = max(call.ended, free_at.get(call.to_number, 0))
    return twice


@contextmanager
def cluster(folder: Path, profile: Mapping[str, Any], **environment: str) -> Iterator[Cluster]:
    """A cluster whose servers are running, without processes."""
    started = Cluster(folder, profile, environment)
    try:
        yield started
    finally:
        started.close()
