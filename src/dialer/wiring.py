"""The only place where context are chosen and joined, with the clock and the chance of the process."""

import os
from collections.abc import Callable
from threading import Lock, Thread

from pendulum import DateTime

from dialer.clock import chance as chance
from dialer.clock import clock as clock
from dialer.clock import seconds as seconds
from dialer.engine.context import EngineContext
from dialer.errors import Unavailable
from dialer.log import Outage
from dialer.providers import registry
from dialer.providers.base import Provider, ProviderEnvironment
from dialer.providers.egress import Egress
from dialer.providers.pool import ProviderPool
from dialer.service.trunks import NOT_ALLOWED, REFERENCE
from dialer.settings import Settings
from dialer.store import health
from dialer.store.database import Database, Timeouts
from dialer.store.leases import Leases
from dialer.store.numbers import Trunk

# A step holds no transaction open while it waits for anything but Postgres, or for Redis, which answers within seconds.
STEPS = Timeouts(lock_seconds=5, idle_seconds=10)
# Nor does a request while it waits for its client.
REQUESTS = Timeouts(lock_seconds=2, idle_seconds=30)

REREAD_SECONDS = 5.0


class LedgerClock:
    """The ledger's clock, read every few seconds and carried on by one that never goes back: whatever this machine
    believes, requests are judged by the time that the workers go by. `seconds`: that other clock.
    """

    def __init__(self, db: Database, seconds: Callable[[], float]) -> None:
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


def connecting(settings: Settings) -> Callable[[Trunk], Provider]:
    """Return what makes the provider of a trunk; it raises InvalidInput or Unavailable for one that cannot be used."""

    def connect(trunk: Trunk) -> Provider:
        egress = Egress.to(settings.networks_of(trunk.workspace))
        around = ProviderEnvironment(clock, secret_of(settings, trunk.workspace), settings.public_url, egress)
        return registry.plugin(trunk.provider).connect(trunk.id, trunk.config, around)

    return connect


def secret_of(settings: Settings, workspace: str) -> Callable[[str], str]:
    """Return what reads a value of a trunk's config that may refer to a variable of the environment.

    A variable that is not the workspace's is refused in the same words whether it is set or not.
    """

    def secret(value: str) -> str:
        reference = REFERENCE.fullmatch(value)
        if reference is None:
            return value
        name = reference[1]
        if not settings.may_read(name, workspace):
            raise Unavailable(f"The trunk {NOT_ALLOWED}")
        found = os.environ.get(name)
        if not found:
            raise Unavailable(f"The environment variable {name} is not set in this process")
        return found

    return secret


def context_of(settings: Settings, *, connections: int | None = None, timeouts: Timeouts = STEPS) -> EngineContext:
    """Join the context that every step needs. Nothing is connected until it is used.

    `connections`: how many to Postgres may be open for long; by default what a worker needs.
    """
    database = database_of(settings, pool_size=connections or settings.worker_threads + 2, timeouts=timeouts)
    return EngineContext(database, Leases(settings.redis), ProviderPool(connecting(settings), clock), clock)


def database_of(settings: Settings, *, pool_size: int = 2, timeouts: Timeouts | None = None) -> Database:
    """Make the way to the ledger alone, for what needs nothing else."""
    try:
        return Database(settings.database, pool_size=pool_size, timeouts=timeouts)
    except ValueError:
        raise Unavailable("DIALER_DATABASE_URL is not a database URL (postgresql+psycopg://…)") from None


def check(context: EngineContext) -> None:
    """Raise Unavailable, in words for an operator, unless Postgres, its schema and Redis are fit for use."""
    health.check_database(context.db)
    health.check_leases(context.leases)


def close(context: EngineContext) -> None:
    """Let go of all connections."""
    context.providers.close()
    context.leases.close()
    context.db.close()
