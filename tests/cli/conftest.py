"""The command `dialer` in this process: what it prints, and with which code it ends."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pendulum
import pytest
import redis
import structlog

from api.conftest import Api, Served
from dialer import log
from dialer.cli import main
from dialer.embedded import Servers
from dialer.providers.simulator import serve
from dialer.service import demo_setup
from dialer.settings import Settings
from dialer.store.database import Database, rows
from support.deadline import DEADLINE_SECONDS
from support.world import World


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line on standard error with which a request is refused; what starts servers says its steps first."""
        assert (self.code, self.out) == (1, ""), self
        *steps, line = self.err.splitlines()
        assert line.startswith("dialer: "), line
        assert all(step.endswith((" …", ",", ".")) for step in steps), steps
        return line


Dialer = Callable[..., Result]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every command run in an empty folder, without settings; put back what it makes of TERM and of logs."""
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(f"DIALER_{field.upper()}", raising=False)
    of_signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = logging.getLogger()
    level, of_logs, configured = root.level, root.handlers[:], structlog.get_config()
    yield
    for number, handler in of_signals.items():
        signal.signal(number, handler)
    root.setLevel(level)
    root.handlers[:] = of_logs
    structlog.configure(**configured)


@pytest.fixture
def dialer(capsys: pytest.CaptureFixture[str]) -> Dialer:
    def run(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        result = capsys.readouterr()
        assert "Traceback" not in result.err
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, result.out, result.err)

    return run


@pytest.fixture
def in_cluster(migrated: str, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the servers of the tests in the environment."""
    monkeypatch.setenv("DIALER_DATABASE_URL", migrated)
    monkeypatch.setenv("DIALER_REDIS_URL", servers.redis_url)


@pytest.fixture
def api(world: World) -> Api:
    return Api(world, Settings(database_url=world.database_url, redis_url=world.redis_url))


@pytest.fixture
def served(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # The server is in this process, and its log would stand among what the commands say.
    monkeypatch.setenv("DIALER_LOG_LEVEL", "error")
    log.configure("console", "error")
    with api.served() as served:
        monkeypatch.setenv("DIALER_URL", served.url.removesuffix("/v1"))
        monkeypatch.setenv("DIALER_API_KEY", api.key())
        yield served


@pytest.fixture
def network() -> Iterator[str]:
    """Serve a simulated network in a thread; yields its address."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve("127.0.0.1", 0, lambda: pendulum.now("UTC")))
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield server.url
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(DEADLINE_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def installed(in_cluster: None, db: Database, network: str) -> Database:
    """A cluster whose network answers, and in which nobody works."""
    demo_setup.install(db, {"url": network}, pendulum.now("UTC"), Random(7))
    return db


def query(db: Database, sql: str) -> Any:
    with db.begin() as connection:
        return rows(connection, sql)[0][0]


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def broker(servers: Servers) -> "Iterator[redis.Redis]":
    """A Redis that is empty before and after."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushdb()
        yield client
        client.flushdb()
