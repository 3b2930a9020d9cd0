"""The only place where a process gets its parts: database, leases, providers, clock and random numbers.

What only some parts need is imported where they are made: a command that needs the database alone loads nothing else.
"""

import os
import socket
from collections.abc import Callable
from importlib import metadata
from threading import Lock, Thread
from typing import TYPE_CHECKING

from pendulum import DateTime

from dialer.clock import chance as chance
from dialer.clock import clock as clock
from dialer.clock import seconds as seconds
from dialer.clock import steady_clock as steady_clock
from dialer.errors import InvalidInput, Unavailable
from dialer.settings import Settings, secret_in_file
from dialer.store.database import Database, Timeouts

if TYPE_CHECKING:
    from dialer.domain.trunk import Trunk
    from dialer.engine.context import EngineContext
    from dialer.heartbeat import Heartbeat
    from dialer.providers.base import Provider
    from dialer.providers.egress import Egress, Resolve
    from dialer.providers.webhook_client import WebhookClient
    from dialer.store.leases import Leases

# A step keeps no transaction open while it waits for anything but Postgres, or Redis, which answers within seconds.
STEPS = Timeouts(lock_seconds=5, idle_seconds=10)
# A request keeps none open while it waits for its client.
REQUESTS = Timeouts(lock_seconds=2, idle_seconds=30)

REREAD_SECONDS = 5.0
EVERYWHERE = ("0.0.0.0/0", "::/0")


class LedgerClock:
    """The ledger's clock, read every few seconds and continued by a monotonic one, so that API requests use the same
    time as the workers, whatever this machine's clock says. `seconds`: the monotonic clock.
    """

    def __init__(self, db: Database, seconds: Callable[[], float]) -> None:
        from dialer.log import Outage

        self._db, self._seconds = db, seconds
        self._reading = Lock()
        self._outage = Outage("cannot read the clock of Postgres", seconds)
        self._read()

    def __call__(self) -> DateTime:
        now, at = self._known
        passed = self._seconds() - at
        if passed > REREAD_SECONDS and self._reading.acquire(blocking=False):
            Thread(target=self._reread, name="ledger-clock", daemon=True).start()
        return now.add(seconds=passed)

    def _reread(self) -> None:
        try:
            self._read()
        except Unavailable as error:
            self._outage.note(error)
        finally:
            self._reading.release()

    def _read(self) -> None:
        self._known = (self._db.now(), self._seconds())


def version() -> str:
    """Return the version of Dialer."""
    return metadata.version("dialer-engine")


def process_name() -> str:
    """Return a name of this process: its machine, and its id there."""
    return f"{socket.gethostname()}:{os.getpid()}"


def heartbeat_of(settings: Settings, kind: str, threads: int = 0) -> "Heartbeat":
    """Make the heartbeat of this process, of one of the kinds in `heartbeat.KINDS`. Nothing is written yet."""
    from dialer.heartbeat import Heartbeat, run_folder
    from dialer.log import Outage

    outage = Outage("heartbeat cannot be written", seconds)
    return Heartbeat(run_folder(settings.run_dir), kind, seconds, outage.note, threads)


def connecting(settings: Settings, resolve: "Resolve | None" = None) -> "Callable[[Trunk], Provider]":
    """Return a function that makes a trunk's provider, or raises InvalidInput or Unavailable if it cannot be used.

    `resolve`: finds the addresses of a trunk's host; None: the resolver of this machine.
    """
    from dialer.providers import registry
    from dialer.providers.base import ProviderEnvironment
    from dialer.providers.egress import Egress, resolve_host

    def connect(trunk: "Trunk") -> "Provider":
        egress = Egress.to(settings.networks_of(trunk.workspace), resolve or resolve_host)
        environment = ProviderEnvironment(clock, secret_of(settings, trunk.workspace), settings.public_url, egress)
        return registry.plugin(trunk.provider).connect(trunk.id, trunk.config, environment)

    return connect


def secret_of(settings: Settings, workspace: str) -> Callable[[str], str]:
    """Return a function that reads a value of a trunk's config, which may refer to an environment variable.

    The value is that of the variable, or the text of the file that NAME_FILE names for the variable NAME.
    A variable that the workspace may not use is refused with the same message whether it is set or not.
    """
    from dialer.service.trunks import NOT_ALLOWED, REFERENCE

    def secret(value: str) -> str:
        reference = REFERENCE.fullmatch(value)
        if reference is None:
            return value
        name = reference[1]
        if not settings.may_read(name, workspace):
            raise Unavailable(f"The trunk {NOT_ALLOWED}")
        try:
            secret_value = secret_in_file(name) or os.environ.get(name)
        except InvalidInput as error:
            raise Unavailable(f"A secret of the trunk cannot be used: {error}") from None
        if not secret_value:
            raise Unavailable(f"The environment variable {name} is not set in this process")
        return secret_value

    return secret


def context_of(settings: Settings, *, connections: int | None = None, timeouts: Timeouts = STEPS) -> "EngineContext":
    """Make the context that every step needs. Nothing is connected until it is used.

    `connections`: size of the pool of Postgres; by default what a worker needs.
    """
    from dialer.engine.context import EngineContext
    from dialer.providers.pool import ProviderPool

    database = database_of(settings, pool_size=connections or settings.worker_threads + 2, timeouts=timeouts)
    return EngineContext(database, leases_of(settings), ProviderPool(connecting(settings), clock), clock)


def webhook_client_of(settings: Settings) -> "WebhookClient":
    """Make the client that sends webhook messages. Nothing is connected until something is sent."""
    from dialer.providers.webhook_client import WebhookClient

    return WebhookClient(webhook_egress(settings), clock)


def webhook_egress(settings: Settings) -> "Egress":
    """Return where webhook messages may be sent to."""
    from dialer.providers.egress import Egress

    return Egress.to(EVERYWHERE if settings.webhook_allow_private else ())


def database_of(settings: Settings, *, pool_size: int = 2, timeouts: Timeouts | None = None) -> Database:
    """Make the database alone, for commands that need nothing else."""
    try:
        return Database(settings.database, pool_size=pool_size, timeouts=timeouts)
    except ValueError:
        raise Unavailable("DIALER_DATABASE_URL is not a database URL (postgresql+psycopg://…)") from None


def leases_of(settings: Settings) -> "Leases":
    """Make the leases alone, for commands that need nothing else of Redis."""
    from dialer.store.leases import Leases

    return Leases(settings.redis)


def check(context: "EngineContext") -> None:
    """Raise Unavailable, worded for operators, unless Postgres, its schema and Redis can be used."""
    from dialer.store import server_checks

    server_checks.check_database(context.db)
    server_checks.check_leases(context.leases)


def check_servers(context: "EngineContext") -> None:
    """Raise Unavailable unless Postgres and Redis answer this process. An upgraded schema stops none that runs."""
    context.db.now()
    context.leases.ping()


def close(context: "EngineContext") -> None:
    """Close all connections."""
    context.providers.close()
    context.leases.close()
    context.db.close()
