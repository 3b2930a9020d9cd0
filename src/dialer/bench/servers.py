"""The Postgres and the Valkey of one benchmark, and the engines on them. Every engine has a database of its own."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from dialer import embedded, wiring
from dialer.bench import secret
from dialer.bench.engine import Engine, Ledger, driver_url
from dialer.bench.figure import Size
from dialer.cli.supervisor import supervised_engine
from dialer.embedded import Servers
from dialer.service import demo_setup
from dialer.settings import Settings

# Calls a thousand times faster than life: the engine is busy, and not the telephone.
FAST = {"speed": 1_000.0}
# Databases of a Valkey.
REDIS_DATABASES = 16


@dataclass(slots=True)
class Bench:
    """What figures are taken with. `echo`: gets messages for the user."""

    size: Size
    folder: Path
    servers: Servers
    echo: Callable[[str], None]
    _open: ExitStack
    _engine: tuple[Any, Engine] | None = field(default=None, init=False)
    _made: int = field(default=0, init=False)

    def engine(self, workers: int = 1, network: Mapping[str, Any] = FAST, listeners: int = 1) -> Engine:
        """Return an engine that has finished starting: the running one if it is the same, else a new one.

        `network`: settings of the simulated network, on top of FAST.
        """
        wanted = (workers, dict(network), listeners)
        if self._engine is None or self._engine[0] != wanted:
            self.stop()
            self._engine = (wanted, self._open.enter_context(self._started(*wanted)))
        return self._engine[1]

    def ledger(self) -> Ledger:
        """Return a new ledger, on which no process works."""
        self.stop()
        settings = self.new_settings()
        context = wiring.context_of(settings)
        self._open.callback(wiring.close, context)
        context.db.upgrade()
        demo_setup.install(context.db, {}, wiring.clock(), wiring.chance())
        return Ledger(settings, context)

    def stop(self) -> None:
        """Stop what runs; the servers stay."""
        self._engine = None
        self._open.close()

    @contextmanager
    def _started(self, workers: int, network: Mapping[str, Any], listeners: int) -> Iterator[Engine]:
        settings = self.new_settings()
        os.environ[secret.VARIABLE] = secret.SECRET
        with supervised_engine(
            settings, workers=workers, network=FAST, echo=self.echo, listeners=listeners, api_port=0
        ) as supervisor:
            context = wiring.context_of(supervisor.settings)
            try:
                engine = Engine(supervisor.settings, context, supervisor, self.server_pids)
                engine.warm_up(network)
                yield engine
            finally:
                wiring.close(context)

    @property
    def server_pids(self) -> dict[str, int]:
        files = {"postgres": "postgres/postmaster.pid", "redis": "redis/server.pid"}
        return {name: int((self.folder / file).read_text().split()[0]) for name, file in files.items()}

    def new_settings(self) -> Settings:
        """Create an empty database, empty a part of Redis, and return settings for both."""
        self._made += 1
        name, part = f"bench_{self._made}", self._made % REDIS_DATABASES
        with psycopg.connect(driver_url(self.servers.database_url), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        redis_url = f"{self.servers.redis_url.rpartition('/')[0]}/{part}"
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        return Settings(
            database_url=f"{self.servers.database_url.rpartition('/')[0]}/{name}",
            redis_url=redis_url,
            broker_url=redis_url,
            data_dir=self.folder / name,
            log_level="warning",
            rate_limit_per_minute=10_000_000,
        )


@contextmanager
def running(size: Size, echo: Callable[[str], None]) -> Iterator[Bench]:
    """Run Postgres and Valkey in a temporary folder until the context ends."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(os.path.realpath(name))
        with embedded.running(folder) as servers, ExitStack() as stack:
            yield Bench(size, folder, servers, echo, stack)
