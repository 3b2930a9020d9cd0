"""Real Postgres and Redis for the tests: those of the environment, or embedded ones on free loopback ports."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from hypothesis import settings
from sqlalchemy import create_engine, text

from dialer import embedded
from dialer.embedded import Servers
from dialer.store.database import Database
from dialer.store.leases import Leases
from support.deadline import DEADLINE_SECONDS
from support.empty_database import EMPTY
from support.world import Connections, World

# No deadline: the duration of an example depends on the load of the machine.
settings.register_profile("dialer", deadline=None, print_blob=True)
settings.load_profile("dialer")
# As in the processes: formatting a traceback with the values of large variables takes minutes.
structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ],
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run coroutines on asyncio, as every process does."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    database_url = os.environ.get("DIALER_TEST_DATABASE_URL", "")
    redis_url = os.environ.get("DIALER_TEST_REDIS_URL", "")
    data_dir: Path = tmp_path_factory.mktemp("servers")
    with embedded.running(data_dir, durable=False, need_postgres=not database_url, need_redis=not redis_url) as started:
        yield Servers(database_url or started.database_url, redis_url or started.redis_url)


@pytest.fixture(scope="session")
def migrated(servers: Servers) -> str:
    """The URL of a database whose schema the migrations have created."""
    engine = create_engine(servers.database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    database = Database(servers.database_url)
    database.upgrade()
    database.close()
    return servers.database_url


@pytest.fixture(scope="session")
def database(migrated: str) -> Iterator[Database]:
    """Connections that all tests share, one after the other."""
    database = Database(migrated)
    yield database
    database.close()


@pytest.fixture
def db(database: Database) -> Database:
    """An empty database of the current schema."""
    empty(database)
    return database


@pytest.fixture
def leases(servers: Servers) -> Iterator[Leases]:
    """Leases on a real, empty Redis."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushdb()
    leases = Leases(servers.redis_url, is_virtual=True)
    yield leases
    leases.close()


def empty(database: Database) -> None:
    """Delete all rows; only the row of lease_epoch stays, without an epoch."""
    with database.begin() as connection:
        connection.exec_driver_sql(EMPTY)


@pytest.fixture(scope="session")
def connections(servers: Servers, migrated: str) -> Iterator[Connections]:
    """Connections that all Worlds share, one after the other."""
    connections = Connections(migrated, servers.redis_url)
    yield connections
    connections.close()


@pytest.fixture
def make_world(
    db: Database, leases: Leases, servers: Servers, connections: Connections
) -> Iterator[Callable[..., World]]:
    """Create a World on empty servers: `make_world(outcomes={"answered": 1})`."""
    worlds: list[World] = []

    def make(**profile: Any) -> World:
        lent = None if worlds else connections
        worlds.append(World(servers.database_url, servers.redis_url, profile, lent=lent))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what may take longest, so that no worker has it left when the others are done.

    Cancel coroutines at the deadline, so that a test that hangs still closes its servers and processes.
    """
    items.sort(key=_timeout, reverse=True)
    for item in items:
        if isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            item.obj = _with_deadline(item.obj)


def _timeout(item: pytest.Item) -> float:
    """Return the timeout of a test that has one of its own; 0: it has the usual one."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


def _with_deadline(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def run(**fixtures: Any) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await test(**fixtures)

    return run
