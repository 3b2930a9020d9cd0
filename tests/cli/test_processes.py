"""The processes of a cluster: tasks are thin wrappers, each is needed, and a worker's log holds nothing but events."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import ModuleType

import pytest
import redis

import dialer
from dialer.embedded import Servers
from dialer.store.database import Database

SOURCE = Path(dialer.__file__).parent
POLL = Event()


@pytest.fixture
def worker(in_cluster: None) -> ModuleType:
    from dialer import worker

    return worker


def tasks() -> Iterator[ast.FunctionDef]:
    for node in ast.parse((SOURCE / "worker.py").read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "step" for d in node.decorator_list):
            yield node


def test_a_task_is_at_most_five_lines() -> None:
    lengths = {task.name: sum(len(ast.unparse(line).splitlines()) for line in task.body) for task in tasks()}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > 5} == {}


def test_every_task_of_the_schedule_is_registered_and_every_registered_one_is_called(worker: ModuleType) -> None:
    registered = {name for name in worker.app.tasks if name.startswith("dialer.")}
    scheduled = {entry["task"] for entry in worker.app.conf.beat_schedule.values()}
    delayed = {
        f"dialer.{name}"
        for file in (SOURCE / "worker.py", SOURCE / "cli" / "processes.py")
        for name in re.findall(r"(\w+)\.delay\b", file.read_text("utf-8"))
    }
    assert registered == {f"dialer.{task.name}" for task in tasks()}
    assert registered == scheduled | delayed
    assert {"dialer.tick", "dialer.retry", "dialer.rescue"} <= scheduled


@contextmanager
def running(command: str) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "dialer", command],
        env=os.environ | {"DIALER_LOG_FORMAT": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def broker(servers: Servers) -> "Iterator[redis.Redis]":
    """A Redis that is empty before and after."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


def test_a_worker_with_json_logs_prints_no_banner_and_no_warning_of_root_and_leaves_on_term(
    worker: ModuleType, db: Database, broker: redis.Redis
) -> None:
    with running("worker") as process:
        assert process.stderr is not None
        worker.rescue.delay()
        assert json.loads(process.stderr.readline())["event"] == "leases rebuilt from the ledger"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out.strip() in ("", "worker: Warm shutdown (MainProcess)")


def test_a_beat_ticks_without_a_banner_and_leaves_on_term(
    worker: ModuleType, db: Database, broker: redis.Redis
) -> None:
    with running("beat") as process:
        deadline = time.monotonic() + 20
        while not broker.llen(worker.BEAT_QUEUE):
            assert time.monotonic() < deadline, "no tick came"
            POLL.wait(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
