"""How many requests a second one API process answers, in what time, and at what cost."""

import json
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

from dialer import wiring
from dialer.bench import secret
from dialer.bench.engine import Engine
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import Bench
from dialer.domain.ids import TrunkId, uuid7
from dialer.store import configuration


@dataclass(frozen=True, slots=True)
class Work:
    """How long so many clients ask for each kind of request."""

    seconds: float
    clients: tuple[int, ...]


WORK = {
    Size.QUICK: Work(0.3, (1,)),
    Size.USUAL: Work(3, (1, 16)),
    Size.FULL: Work(8, (1, 4, 16)),
}


def api(bench: Bench) -> Figure:
    """Read one batch, create small ones, also with an idempotency key, and report one call event at a time."""
    work, engine = WORK[bench.size], bench.engine()
    key, agent = engine.api_key(), str(engine.agent_id)
    targets = {"read": str(engine.add_batch(0)), "create": agent, "create_once": agent, "report": add_platform(engine)}
    found = [
        measure(engine, key, kind, target, clients, work.seconds)
        for kind, target in targets.items()
        for clients in work.clients
    ]
    return Figure(found, engine.violations())


def add_platform(engine: Engine) -> str:
    """Add a trunk whose network reports by HTTP; return its id."""
    config, now = {"url": "http://127.0.0.1/calls", "secret": f"env:{secret.VARIABLE}"}, wiring.clock()
    with engine.context.db.begin() as connection:
        new_id = TrunkId(uuid7(now, wiring.chance()))
        return str(configuration.ensure_trunk(connection, new_id, engine.workspace_id, "platform", "http", config))


def measure(engine: Engine, key: str, kind: str, target: str, clients: int, seconds: float) -> Row:
    command = [sys.executable, "-m", "dialer.bench.requests", engine.supervisor.url, key, kind, target]
    before = engine.cpu_seconds()
    asked = subprocess.run([*command, str(seconds), str(clients)], capture_output=True, check=True)
    taken = sorted(json.loads(asked.stdout))
    cpu = {kind: 1000 * (used - before[kind]) / len(taken) for kind, used in engine.cpu_seconds().items()}
    return {
        "request": kind,
        "clients": clients,
        "per_second": len(taken) / seconds,
        "median_ms": median(taken),
        "p95_ms": taken[len(taken) * 95 // 100],
        "api_cpu_ms": cpu["api"],
        "postgres_cpu_ms": cpu["postgres"],
    }
