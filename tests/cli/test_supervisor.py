"""The processes of one engine: dead ones are restarted with backoff, and not forever."""

import time
from pathlib import Path
from threading import Event

import pytest

from dialer.cli.supervisor import Supervisor, supervised_engine
from dialer.embedded import Servers
from dialer.embedded.processes import MAX_FAILED_STARTS, STARTED_SECONDS, RestartPolicy
from dialer.errors import Unavailable
from dialer.settings import Settings
from support.deadline import DEADLINE_SECONDS
from support.world import World

POLL = Event()


def test_a_process_that_fails_to_start_is_restarted_with_backoff_and_then_no_more() -> None:
    policy = RestartPolicy(0.5)
    backoffs = [policy.backoff_after(1.0) for _ in range(MAX_FAILED_STARTS)]
    assert backoffs == [0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_a_process_that_had_started_is_restarted_at_once_and_its_failed_starts_are_forgotten() -> None:
    policy = RestartPolicy(0.5)
    for _ in range(MAX_FAILED_STARTS - 1):
        policy.backoff_after(0.0)
    assert policy.backoff_after(STARTED_SECONDS) == 0.0
    assert policy.backoff_after(0.0) == 0.5


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def tend_for_long(supervisor: Supervisor) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        supervisor.tend()
        POLL.wait(0.02)


def test_a_process_that_cannot_start_ends_the_whole_and_its_log_says_why(log_dir: Path) -> None:
    messages: list[str] = []
    supervisor = Supervisor(Settings(data_dir=log_dir.parent), messages.append, first_backoff_seconds=0.001)
    supervisor.start("worker-1", "db", "no-such-command")
    with pytest.raises(Unavailable, match=r"worker-1 keeps dying, last with exit code 2; .*worker-1\.log says why"):
        tend_for_long(supervisor)
    supervisor.stop()
    assert len(messages) == MAX_FAILED_STARTS - 1
    log = (log_dir / "worker-1.log").read_text()
    assert log.count("Error: No such command 'no-such-command'") == MAX_FAILED_STARTS


def test_starting_it_voids_the_leases_that_redis_remembers(world: World, servers: Servers, tmp_path: Path) -> None:
    settings = Settings(database_url=servers.database_url, redis_url=servers.redis_url, data_dir=tmp_path)
    assert world.leases.epoch() is not None
    with supervised_engine(settings, workers=0, network={}, echo=print):
        assert world.leases.epoch() is None
