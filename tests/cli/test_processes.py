"""The processes of a cluster: tasks are thin wrappers, each is needed, and a worker's log holds nothing but events."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
import redis

import dialer
from api.conftest import Api
from cli.conftest import Dialer
from dialer.service import webhook_endpoints
from dialer.service.webhook_endpoints import NewWebhookEndpoint
from dialer.settings import Settings
from dialer.store.database import Database
from support.deadline import DEADLINE_SECONDS, wait_until
from support.proxy import proxied
from support.webhook_receiver import receiving
from support.world import World

SOURCE = Path(dialer.__file__).parent


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
        for name in re.findall(r"(\w+)_task\.delay\b", file.read_text("utf-8"))
    }
    assert registered == {f"dialer.{task.name.removesuffix('_task')}" for task in tasks()}
    assert registered == scheduled | delayed
    assert {"dialer.tick", "dialer.retry", "dialer.rescue"} <= scheduled


@contextmanager
def running(*command: str) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "dialer", *command],
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


def wait_until_ready(client: httpx2.Client) -> None:
    def is_ready() -> bool:
        with suppress(httpx2.ConnectError):
            return client.get("../readyz").is_success
        return False

    wait_until(is_ready)


def test_a_worker_with_json_logs_prints_no_banner_and_no_warning_of_root_and_leaves_on_term(
    worker: ModuleType, db: Database, broker: redis.Redis
) -> None:
    with running("worker") as process:
        assert process.stderr is not None
        worker.rescue_task.delay()
        assert json.loads(process.stderr.readline())["event"] == "leases rebuilt from the ledger"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert out.strip() in ("", "worker: Warm shutdown (MainProcess)")


def test_a_worker_sends_webhook_messages_and_leaves_on_term_while_an_endpoint_does_not_answer(
    worker: ModuleType, world: World, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALER_WEBHOOK_ALLOW_PRIVATE", "true")
    with receiving() as receiver, running("worker") as process:
        new = NewWebhookEndpoint(url=receiver.url)
        webhook_endpoints.create(world.db, world.installed.workspace_id, new, world.clock.now, world.rng)

        def send(count: int) -> None:
            world.sql("UPDATE batches SET status = 'active' WHERE id = :id", id=world.batch(1, start=False))
            # Its process has the clock of this machine.
            world.sql("UPDATE webhook_deliveries SET retry_until = clock_timestamp() + interval '1 hour'")
            worker.webhooks_task.delay()
            wait_until(lambda: len(receiver.requests) == count)

        send(1)
        receiver.is_held = True
        send(2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_SECONDS)
        receiver.is_held = False
    assert process.returncode == 0
    assert world.rows("SELECT status, attempts FROM webhook_deliveries ORDER BY position") == [
        ("delivered", 1),
        ("pending", 0),
    ]


def test_a_beat_leaves_on_term_also_in_the_middle_of_a_tick(
    worker: ModuleType, db: Database, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxied(os.environ["DIALER_REDIS_URL"]) as link:
        monkeypatch.setenv("DIALER_BROKER_URL", link.url)
        with running("beat") as process:
            wait_until(lambda: broker.llen(worker.BEAT_QUEUE))
            link.swallow()
            assert link.has_swallowed.wait(DEADLINE_SECONDS), "no tick is under way"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0


def test_an_api_ends_its_open_streams_and_leaves_on_term(world: World, in_cluster: None, unused_port: int) -> None:
    api = Api(world, Settings(database_url=world.database_url, redis_url=world.redis_url))
    key = {"Authorization": f"Bearer {api.key()}"}
    with (
        running("api", "--port", str(unused_port)) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{unused_port}/v1", headers=key, timeout=DEADLINE_SECONDS) as client,
    ):
        wait_until_ready(client)
        new = {"name": "x", "agent_id": str(world.installed.agent_id)}
        batch_id = client.post("/batch-calls", json=new).json()["data"]["id"]
        with client.sse(f"/batch-calls/{batch_id}/events") as stream:
            events = iter(stream)
            assert next(events).event == "progress"
            process.send_signal(signal.SIGTERM)
            assert list(events) == []
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert {json.loads(line)["event"] for line in err.splitlines()} == {"request"}


def test_an_api_that_is_told_to_stop_while_it_starts_does(world: World, in_cluster: None, unused_port: int) -> None:
    with running("api", "--port", str(unused_port)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Dialer's API is at ")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0


def test_an_api_whose_port_is_taken_says_so_in_one_line(world: World, in_cluster: None, unused_port: int) -> None:
    with socket.create_server(("127.0.0.1", unused_port)), running("api", "--port", str(unused_port)) as process:
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    assert err == f"dialer: The API cannot be served at 127.0.0.1:{unused_port}: Address already in use\n"


def test_an_up_whose_port_is_taken_starts_nothing(dialer: Dialer, tmp_path: Path, unused_port: int) -> None:
    with socket.create_server(("127.0.0.1", unused_port)):
        refusal = dialer("up", "--data-dir", "data", "--port", str(unused_port)).refusal
    assert refusal.startswith(f"dialer: Port {unused_port} is already in use")
    assert list(tmp_path.iterdir()) == []


def test_a_beat_ticks_without_a_banner_and_leaves_on_term(
    worker: ModuleType, db: Database, broker: redis.Redis
) -> None:
    with running("beat") as process:
        wait_until(lambda: broker.llen(worker.BEAT_QUEUE))
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=DEADLINE_SECONDS) == ("", "")
    assert process.returncode == 0
