"""Every command that runs until it is told to stop obeys TERM and Ctrl-C, whatever its parent ignored or blocked.

`run` is tried in test_run.py; those that run everything on this machine in tests/system/test_up.py.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
import redis

from cli.conftest import query
from dialer.store.database import Database
from support.deadline import DEADLINE_SECONDS, wait_until
from support.dialer_up import SIGNAL_IGNORING_DIALER

COMMANDS = {
    "worker": (),
    "beat": (),
    "listener": (),
    "api": ("--port", "PORT"),
    "simulator": ("--port", "PORT"),
}


@pytest.fixture
def has_started(installed: Database, broker: redis.Redis, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """How each command shows that it works. The worker: by what it logs of the first task."""
    from dialer.worker import BEAT_QUEUE, rescue_task

    rescue_task.delay()

    def says(text: str) -> Callable[[], object]:
        return lambda: text in (tmp_path / "output").read_text()

    return {
        "worker": says("leases rebuilt from the ledger"),
        "beat": lambda: broker.llen(BEAT_QUEUE),
        "listener": lambda: query(installed, "SELECT count(*) FROM trunk_links WHERE linked_at IS NOT NULL"),
        "api": says("documentation at /docs"),
        "simulator": says("simulated network at"),
    }


@pytest.mark.parametrize("how", [SIGTERM, SIGINT])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_parent_ignored_and_blocked_its_signals_stops_when_it_is_told_to(
    command: str, how: Signals, has_started: dict[str, Callable[[], object]], unused_port: int, tmp_path: Path
) -> None:
    given = [option.replace("PORT", str(unused_port)) for option in COMMANDS[command]]
    output = tmp_path / "output"
    with output.open("wb") as written:
        process = subprocess.Popen([*SIGNAL_IGNORING_DIALER, command, *given], stdout=written, stderr=written)
    try:
        wait_until(lambda: process.poll() is not None or has_started[command]())
        process.send_signal(how)
        assert process.wait(DEADLINE_SECONDS) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()
