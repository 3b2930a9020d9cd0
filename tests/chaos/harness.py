"""The processes of all scenarios, with connections and clocks of their own, and the servers that they use."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pendulum import DateTime

from chaos.database_faults import DatabaseFaults
from chaos.fault_points import (
    DepartedRequests,
    InstrumentedDatabase,
    InstrumentedProvider,
    LateRequests,
    ShortTimeoutDatabase,
    instrumented_redis,
)
from chaos.monitor import Monitor
from chaos.turn_scheduler import Actor
from dialer.domain.ids import TrunkId
from dialer.engine.context import EngineContext
from dialer.engine.departure import Departure
from dialer.providers.pool import ProviderPool
from dialer.providers.simulator import SimulatedNetwork
from dialer.store.leases import Leases
from support.world import MONDAY, Connections, World

WORKERS = 4
LISTENERS = 2


@dataclass
class Process:
    """A process of the engine, with its own connections, clock and random generator.

    Its steps use the database's clock. Only the deadlines of requests use its own clock, which is wrong by up to
    SKEW_SECONDS.
    """

    actor: Actor
    context: EngineContext
    skew_seconds: float
    rng: Random
    clock: Callable[[], DateTime]
    # The calls that it is to place, and when. They are in memory only.
    departures: list[tuple[DateTime, Departure]] = field(default_factory=list)

    @property
    def now(self) -> DateTime:
        return self.clock()


class Harness:
    """The processes and the servers that they use. Created once and shared by many scenarios."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url, self.redis_url = database_url, redis_url
        self.monitor = Monitor(database_url, redis_url)
        self.database_faults = DatabaseFaults(database_url)
        self.connections = Connections(database_url, redis_url, ShortTimeoutDatabase)
        self.world: World | None = None
        self.late: LateRequests = []
        self.departed: DepartedRequests = []
        names = [f"worker{n}" for n in range(WORKERS)] + [f"listener{n}" for n in range(LISTENERS)] + ["operator"]
        self.processes = {name: self._process(name) for name in names}

    def use(self, world: World) -> None:
        self.world = world
        self.late.clear()
        self.departed.clear()

    def network(self, trunk_id: TrunkId) -> SimulatedNetwork:
        """Return the network of a trunk in the current scenario."""
        assert self.world is not None
        return self.world.networks[trunk_id]

    def close(self) -> None:
        for process in self.processes.values():
            process.context.providers.close()
            process.context.leases.close()
            process.context.db.close()
        self.connections.close()
        self.database_faults.close()
        self.monitor.close()

    def _process(self, name: str) -> Process:
        actor = Actor(name, lambda _: None)

        def true_now() -> DateTime:
            return self.world.clock.now if self.world else MONDAY

        def own_now() -> DateTime:
            return true_now().add(seconds=process.skew_seconds)

        def connect(trunk: Any) -> InstrumentedProvider:
            network = lambda: self.network(trunk.id)  # noqa: E731
            return InstrumentedProvider(network, actor, true_now, self.late, self.departed, own_now)

        db = InstrumentedDatabase(self.database_url, actor, self.monitor, true_now)
        leases = Leases(instrumented_redis(self.redis_url, actor), is_virtual=True)
        # Run what only the first use of a connection runs, so that the first scenario has no additional fault points.
        db.revision()
        leases.acquire(MONDAY, [], [])
        context = EngineContext(db, leases, ProviderPool(connect, own_now), own_now)
        process = Process(actor, context, 0.0, Random(0), true_now)
        return process
