"""A running engine on which a figure is taken: its processes, its database, and what figures ask of both."""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from dialer import wiring
from dialer.bench import contact_list, process_usage
from dialer.cli.supervisor import POLL_SECONDS, Supervisor
from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.roles import Role
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.errors import Unavailable
from dialer.service import agents, batches, contacts, demo_setup, keys
from dialer.service.keys import NewKey
from dialer.service.new_batch import NewBatch
from dialer.settings import Settings
from dialer.store.database import rows, run

EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]
MAX_SLOTS = 100
# A process that used less than this share of a core has finished starting.
IDLE_SHARE = 0.1
START_SECONDS = 120.0


@dataclass(slots=True)
class Ledger:
    """A database with the demo setup, and what the steps need to run in this process. `used`: numbers used so far."""

    settings: Settings
    context: EngineContext
    used: int = field(default=0, init=False)
    workspace_id: WorkspaceId = field(init=False)
    agent_id: AgentId = field(init=False)

    def __post_init__(self) -> None:
        self.workspace_id, self.agent_id = agents.find(self.context.db, demo_setup.WORKSPACE, demo_setup.AGENT)

    def add_batch(self, count: int, **fields: Any) -> BatchId:
        """Create a draft with so many contacts, whose numbers are in no other batch."""
        now, rng = wiring.clock(), wiring.chance()
        settings = {"name": "bench", "agent_id": self.agent_id, "working_days": EVERY_DAY} | fields
        new = NewBatch.read({"max_concurrent_calls": MAX_SLOTS} | settings, now)
        batch_id = batches.create(self.context.db, self.workspace_id, new, now, rng)
        if count:
            file = io.BytesIO(b"".join(contact_list.csv(count, self.used)))
            contacts.import_csv(self.context.db, self.workspace_id, batch_id, file, now, rng)
            self.used += count
        return batch_id

    def start(self, batch_ids: Sequence[BatchId]) -> None:
        """Start these drafts at the same moment."""
        self.run("UPDATE batches SET status = 'active' WHERE id = ANY(:ids)", ids=list(batch_ids))

    def rows(self, sql: str, **values: Any) -> Sequence[Any]:
        """Run one statement in a transaction of its own; return its rows."""
        with self.context.db.begin() as connection:
            return rows(connection, sql, **values)

    def run(self, sql: str, **values: Any) -> int:
        """Run one statement in a transaction of its own; return how many rows it changed."""
        with self.context.db.begin() as connection:
            return run(connection, sql, **values)

    def vacuum(self, *tables: str) -> None:
        """Do what autovacuum would do soon after a large load."""
        with psycopg.connect(driver_url(self.settings.database), autocommit=True) as connection:
            connection.execute(f"VACUUM (ANALYZE) {', '.join(tables)}".encode())

    def api_key(self) -> str:
        """Create a key for the API."""
        new, now = NewKey(role=Role.ADMIN), wiring.clock()
        key: str = keys.create(self.context.db, self.workspace_id, new, now, wiring.chance())["key"]
        return key

    def violations(self) -> int:
        """Audit the whole ledger; return how many rules are broken."""
        return len(audit(self.context.db, wiring.clock()).violations)


@dataclass(slots=True)
class Engine(Ledger):
    """A ledger with the processes of an engine. `server_pids`: of Postgres and Redis."""

    supervisor: Supervisor
    server_pids: Mapping[str, int]

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the engine, its network and its servers by their names."""
        return {**self.supervisor.pids, **self.server_pids}

    def cpu_seconds(self) -> dict[str, float]:
        return process_usage.cpu_seconds(self.pids)

    def wait_until(self, is_true: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait, and keep the processes running meanwhile. Raises Unavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                raise Unavailable(f"The benchmark gave up: {what} took longer than {seconds:.0f} s")
            self.supervisor.tend()
            time.sleep(POLL_SECONDS)

    def wait_for_end(self, batch_ids: Sequence[BatchId], seconds: float) -> None:
        """Wait until these batches are over and their last calls have ended."""

        def are_over() -> bool:
            return not self.rows(
                """
                SELECT 1 FROM batches b JOIN batch_progress p ON p.batch_id = b.id WHERE b.id = ANY(:ids)
                AND (b.status NOT IN ('completed', 'cancelled', 'failed') OR p.dialing > 0) LIMIT 1
                """,
                ids=list(batch_ids),
            )

        self.wait_until(are_over, seconds, "calling the contacts")

    def warm_up(self, network: Mapping[str, Any]) -> None:
        """Call a few contacts on a fast network, change to this one, and wait until every process has started."""
        batch_id = self.add_batch(2 * MAX_SLOTS)
        self.wait_until(lambda: batches.is_reachable(self.context, batch_id), START_SECONDS, "starting the network")
        self.start([batch_id])
        self.wait_for_end([batch_id], START_SECONDS)
        demo_setup.install(self.context.db, network, wiring.clock(), wiring.chance())
        last: dict[str, float] = {}

        def are_idle() -> bool:
            nonlocal last
            before, last = last, self.cpu_seconds()
            return all(last[kind] - before.get(kind, 0) <= IDLE_SHARE * POLL_SECONDS for kind in last)

        self.wait_until(are_idle, START_SECONDS, "starting the processes")


def driver_url(database_url: str) -> str:
    """Return the URL of a database in the form that psycopg takes."""
    return database_url.replace("postgresql+psycopg://", "postgresql://")
