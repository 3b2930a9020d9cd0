"""The processes of one machine: the dead are started again, later and later, and not for ever."""

import time
from pathlib import Path
from threading import Event

import pytest

from dialer.cli.supervisor import MAX_QUICK_DEATHS, SETTLED_SECONDS, Machine, Restarts, machine
from dialer.embedded import Servers
from dialer.errors import Unavailable
from dialer.settings import Settings
from support.deadline import DEADLINE_SECONDS
from support.world import World

POLL = Event()


def test_a_process_that_dies_quickly_is_started_later_and_later_and_then_no_more() -> None:
    restarts = Restarts(0.5)
    pauses = [restarts.pause_after(1.0) for _ in range(MAX_QUICK_DEATHS)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_a_process_that_had_lived_is_started_at_once_and_its_quick_deaths_are_forgotten() -> None:
    restarts = Restarts(0.5)
    for _ in range(MAX_QUICK_DEATHS - 1):
        restarts.pause_after(0.0)
    assert restarts.pause_after(SETTLED_SECONDS) == 0.0
    assert restarts.pause_after(0.0) == 0.5


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def tend_for_long(running: Machine) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        running.tend()
        POLL.wait(0.02)


def test_a_process_that_cannot_start_ends_the_whole_and_its_log_says_why(log_dir: Path) -> None:
    said: list[str] = []
    running = Machine(Settings(data_dir=log_dir.parent), said.append, first_pause_seconds=0.001)
    running.start("worker-1", "db", "no-such-command")
    with pytest.raises(Unavailable, match=r"worker-1 keeps dying, last with exit code 2; .*worker-1\.log says why"):
        tend_for_long(running)
    running.stop()
    assert len(said) == MAX_QUICK_DEATHS - 1
    log = (log_dir / "worker-1.log").read_text()
    assert log.count("Error: No such command 'no-such-command'") == MAX_QUICK_DEATHS


def test_starting_it_voids_the_leases_that_redis_remembers(world: World, servers: Servers, tmp_path: Path) -> None:
    settings = Settings(database_url=servers.database_url, redis_url=servers.redis_url, data_dir=tmp_path)
    assert world.leases.epoch() is not None
    with machine(settings, workers=0, network={}, tell=print):
        assert world.leases.epoch() is None
