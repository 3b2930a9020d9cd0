"""The only place where parts are chosen and joined, and where the clock and chance of a process come from."""

import time
from random import Random, SystemRandom

import pendulum
from pendulum import DateTime

from dialer.engine.parts import Parts
from dialer.errors import Unavailable
from dialer.providers.base import Provider
from dialer.providers.carriers import Carriers
from dialer.providers.simulator import NetworkProfile, Simulator
from dialer.settings import Settings
from dialer.store import health
from dialer.store.database import Database
from dialer.store.leases import Leases
from dialer.store.numbers import Trunk


def clock() -> DateTime:
    """The present moment, in UTC."""
    return pendulum.now("UTC")


def seconds() -> float:
    """A clock for durations, which never goes back."""
    return time.perf_counter()


def chance() -> Random:
    """The process's source of chance."""
    return SystemRandom()


def connect(trunk: Trunk) -> Provider:
    """Make the provider of a trunk; InvalidInput or Unavailable where its configuration cannot be used."""
    match trunk.provider:
        case "simulator":
            return Simulator(trunk.id, NetworkProfile.parse(trunk.config), clock)
        case other:
            raise Unavailable(f"No provider named {other}")


def parts_of(settings: Settings, *, connections: int | None = None) -> Parts:
    """Join the parts that every step needs. Nothing is connected until it is used.

    `connections`: how many to Postgres may be open for long; by default what a worker needs.
    """
    database = database_of(settings, pool_size=connections or settings.worker_threads + 2)
    return Parts(database, Leases(settings.redis), Carriers(connect, clock))


def database_of(settings: Settings, *, pool_size: int = 2) -> Database:
    """Make the way to the ledger alone, for what needs nothing else."""
    try:
        return Database(settings.database, pool_size=pool_size)
    except ValueError:
        raise Unavailable("DIALER_DATABASE_URL is not a database URL (postgresql+psycopg://…)") from None


def check(parts: Parts) -> None:
    """Raise Unavailable, in words for an operator, unless Postgres, its schema and Redis are fit for use."""
    health.check_database(parts.db)
    health.check_leases(parts.leases)


def close(parts: Parts) -> None:
    """Let go of all connections."""
    parts.carriers.close()
    parts.leases.close()
    parts.db.close()
