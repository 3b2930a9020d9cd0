"""The whole engine on a virtual clock, with real Postgres and Redis, and the simulated network in this process.

`World.run` advances the clock to the next moment at which something is due, and runs all steps of the engine there. So
a test simulates weeks in seconds.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pendulum
from pendulum import DateTime

from dialer.domain.batch_progress import Progress
from dialer.domain.ids import BatchId, TrunkId
from dialer.domain.import_result import ImportResult
from dialer.engine import lease_repair
from dialer.engine.bulk_change import PAGE, bulk_change
from dialer.engine.context import EngineContext
from dialer.engine.departure import Departure
from dialer.engine.dispatch import DispatchReport, dispatch
from dialer.engine.events import receive
from dialer.engine.place import PlaceReport, place
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.providers.pool import ProviderPool
from dialer.providers.simulator import InProcessSimulator, NetworkProfile, SimulatedNetwork
from dialer.service import batches, contacts, demo_setup
from dialer.service.demo_setup import DemoSetup
from dialer.service.new_batch import NewBatch
from dialer.store.database import Database, rows, run
from dialer.store.leases import Leases

MONDAY = pendulum.datetime(2026, 3, 2, 8, 0)


@dataclass
class Clock:
    """A clock that only the test advances."""

    now: DateTime = MONDAY

    def __call__(self) -> DateTime:
        return self.now


class Connections:
    """Connections that many Worlds use, one after the other: a new Postgres connection takes longer than most tests."""

    def __init__(self, database_url: str, redis_url: str, database: type[Database] = Database) -> None:
        self.clock: Callable[[], DateTime] = Clock()
        self.db = database(database_url, virtual_now=lambda: self.clock())
        self.leases = Leases(redis_url, is_virtual=True)

    def close(self) -> None:
        self.leases.close()
        self.db.close()


@dataclass
class World:
    """An engine, its servers and its network.

    `profile`: how the network behaves. `lent`: connections to use, never for two Worlds at the same time.
    """

    database_url: str
    redis_url: str
    profile: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    rng: Random = field(default_factory=lambda: Random(7))
    lent: Connections | None = None

    def __post_init__(self) -> None:
        self._connections = self.lent or Connections(self.database_url, self.redis_url)
        self._connections.clock = self.clock
        self.db, self.leases = self._connections.db, self._connections.leases
        self.network = SimulatedNetwork(NetworkProfile.parse(self.profile))
        self.networks: dict[TrunkId, SimulatedNetwork] = {}
        # All trunks use this network, except those for which a test adds one to `networks`.
        self.providers = ProviderPool(
            lambda trunk: InProcessSimulator(self.networks.get(trunk.id, self.network), self.clock), self.clock
        )
        self.context = EngineContext(self.db, self.leases, self.providers, self.clock)
        self.installed: DemoSetup = demo_setup.install(self.db, self.profile, self.clock.now, self.rng)
        self.networks[self.installed.trunk_id] = self.network
        self.departing: list[tuple[DateTime, Departure]] = []
        self._phones_made_up = 0
        self._loaded_on = self.clock.now.date()
        lease_repair.rebuild_if_lost(self.context, self.clock.now, self.rng)

    def close(self) -> None:
        self.providers.close()
        if self.lent is None:
            self._connections.close()

    def batch(self, phones: Iterable[str] | int = 10, *, start: bool = True, **options: Any) -> BatchId:
        """Create a batch and start it. `phones`: the contacts' numbers, or how many contacts to make up."""
        fields = {"name": "test", "agent_id": self.installed.agent_id, "working_days": [1, 2, 3, 4, 5, 6, 7]} | options
        batch_id = batches.create(
            self.db, self.installed.workspace_id, NewBatch.read(fields, self.clock.now), self.clock.now, self.rng
        )
        self.add(batch_id, self._new_phones(phones) if isinstance(phones, int) else phones)
        if start:
            batches.schedule(self.context, self.installed.workspace_id, batch_id, self.clock.now)
        return batch_id

    def _new_phones(self, count: int) -> list[str]:
        """Return made-up numbers that no other batch of this world has: a person is in one call at a time."""
        self._phones_made_up += count
        return made_up_phones(count, self._phones_made_up - count)

    def add(self, batch_id: BatchId, phones: Iterable[str]) -> ImportResult:
        file = io.BytesIO("\n".join(["phone", *phones]).encode())
        workspace_id = self.installed.workspace_id
        return contacts.import_csv(self.db, workspace_id, batch_id, file, self.clock.now, self.rng)

    def sql(self, statement: str, **values: Any) -> int:
        """Run a statement in a transaction of its own, as an operator does in psql."""
        with self.db.begin() as connection:
            return run(connection, statement, **values)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.db.begin() as connection:
            return list(rows(connection, statement, **values))

    def value(self, statement: str, **values: Any) -> Any:
        return self.rows(statement, **values)[0][0]

    def progress(self, batch_id: BatchId) -> Progress:
        return batches.read_progress(self.db, batch_id)

    def step(self) -> None:
        """Run all steps of the engine until nothing is due at this moment."""
        self.depart()
        self.deliver()
        rescue_is_due = self.value("SELECT EXISTS (SELECT 1 FROM attempts WHERE rescue_at <= :now)", now=self.clock.now)
        today = self.clock.now.in_timezone("UTC").date()
        # In production rescue runs every few seconds, and loads each UTC day before it begins.
        if rescue_is_due or self.leases.overdue(self.clock.now) or today != self._loaded_on:
            self._loaded_on = today
            rescue(self.context, self.clock.now, self.rng)
            self.deliver()
        retry(self.context, self.clock.now)
        self.change_pages()
        due = tick(self.context, self.clock.now).due
        while due:
            report = self.dispatch(due)
            if report.leases_lost:
                self.rescue()
            due = report.again

    def change_pages(self, page: int = PAGE) -> int:
        """Do all pages of bulk changes that are due; return how many contacts were changed."""
        changed, report = 0, bulk_change(self.context, self.clock.now, page)
        while report.goes_on:
            changed, report = changed + report.changed, bulk_change(self.context, self.clock.now, page)
        return changed

    def dispatch(self, batch_ids: Sequence[BatchId], context: EngineContext | None = None) -> DispatchReport:
        """Dispatch these batches, and place the calls that are due."""
        report = dispatch(context or self.context, batch_ids, self.clock.now, self.rng)
        self.schedule(report.departures)
        self.depart(context)
        return report

    def schedule(self, departures: Iterable[Departure]) -> None:
        """Plan to place these calls when they are due."""
        now = self.clock.now
        self.departing += [(now.add(seconds=departure.wait_seconds), departure) for departure in departures]

    def depart(self, context: EngineContext | None = None) -> list[PlaceReport]:
        """Place the calls that are due."""
        reports = []
        while due := [planned for planned in self.departing if planned[0] <= self.clock.now]:
            first = min(due, key=lambda planned: planned[0])
            self.departing.remove(first)
            reports.append(place(context or self.context, first[1], self.clock.now))
            self.schedule(reports[-1].later)
        return reports

    def deliver_to_inbox(self) -> None:
        """Receive the call events that are due."""
        for trunk_id, network in self.networks.items():
            while events := network.due(self.clock.now):
                receive(self.db, trunk_id, events)
                network.acknowledge([event.key for event in events])

    def deliver(self) -> None:
        """Receive the call events that are due and settle them."""
        self.deliver_to_inbox()
        while settle(self.context, self.clock.now).is_full:
            pass

    def run(
        self,
        until: Callable[[], bool] | DateTime,
        *,
        grain: float = 1.0,
        each: Callable[[], None] = lambda: None,
        limit: int = 20_000,
    ) -> None:
        """Run the engine until a moment, or until a condition holds. The clock advances by at least `grain` seconds."""
        for _ in range(limit):
            self.step()
            each()
            if until() if callable(until) else self.clock.now >= until:
                return
            self.clock.now = self._next_moment(grain, None if callable(until) else until)
        raise AssertionError(f"not done at {self.clock.now} after {limit} steps")

    def _next_moment(self, grain: float, end: DateTime | None) -> DateTime:
        due = self.value(
            """
            SELECT least(
                (SELECT min(next_dispatch_at) FROM batch_progress),
                (SELECT min(scheduled_at) FROM batches WHERE status = 'scheduled'),
                (SELECT min(due_at) FROM bulk_changes),
                (SELECT min(due_at) FROM suppressed_numbers),
                (SELECT min(due_at) FROM contacts WHERE status = 'waiting'),
                (SELECT min(due_at) FROM inbox WHERE settled_at IS NULL),
                (SELECT min(rescue_at) FROM attempts WHERE rescue_at IS NOT NULL))
            """
        )
        reports = [network.next_due() for network in self.networks.values()]
        moments = [at for at in (*reports, due and pendulum.instance(due), end) if at is not None]
        if not moments and not self.departing:
            raise AssertionError(f"nothing is due after {self.clock.now}")
        soon = self.clock.now.add(seconds=grain)
        latest: DateTime = max(min(moments, default=soon), soon)
        # Each call leaves at its own time: together they would exceed a trunk's rate limit.
        return min([latest, *(max(at, self.clock.now.add(microseconds=1)) for at, _ in self.departing)])

    def is_over(self, *batch_ids: BatchId) -> bool:
        read = [self.progress(batch_id) for batch_id in batch_ids]
        return all(one.status in ("completed", "cancelled", "failed") and not one.is_finishing for one in read)

    def rescue(self) -> None:
        rescue(self.context, self.clock.now, self.rng)

    def flush_redis(self) -> None:
        self.leases._redis.flushall()


def made_up_phones(count: int, first: int = 0) -> list[str]:
    """Return valid numbers that belong to nobody: +1 <area> 555 xxxx."""
    areas = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214)
    return [f"+1{areas[n // 10_000]}555{n % 10_000:04}" for n in range(first, first + count)]
