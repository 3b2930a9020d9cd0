"""The processes of a cluster: tasks are thin wrappers, each is needed, and a worker's log holds nothing but events."""

import ast
import json
import logging
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
from typing import Any

import httpx2
import pytest
import redis
from kombu.message import Message

import dialer
from api.conftest import Api
from cli.conftest import Dialer
from dialer import wiring
from dialer.beat_scheduler import steady
from dialer.service import webhook_endpoints
from dialer.service.webhook_endpoints import NewWebhookEndpoint
from dialer.settings import QUEUES, Settings
from dialer.store.database import Database, run
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


def test_a_task_that_cannot_be_acknowledged_while_the_broker_is_away_leaves_no_traceback(
    worker: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        no_ack_consumers = ()

        def basic_ack(self, *_: object, **__: object) -> None:
            raise ConnectionError("closed by server")

    noted: list[Exception] = []
    monkeypatch.setattr(worker.outage, "note", noted.append)
    logger = logging.getLogger("celery.worker.request")
    monkeypatch.setattr(logger, "filters", [worker._is_no_lost_acknowledgement])
    message: Any = Message(channel=Away(), delivery_tag="6ae4")  # type: ignore[no-untyped-call]  # kombu has no types
    message.ack_log_error(logger, (ConnectionError,))
    assert (caplog.records, len(noted)) == ([], 1)
    logger.error("something else")
    assert len(caplog.records) == 1


def test_beat_does_not_stand_still_when_the_clock_of_its_machine_is_set_back(worker: ModuleType) -> None:
    # Celery compares the times of its own clock; this one goes on with the monotonic clock.
    assert {entry["schedule"].nowfun for entry in worker.app.conf.beat_schedule.values()} == {steady}


def test_a_flood_of_bulk_changes_takes_no_place_in_the_queue_and_no_thread_from_the_steps_of_calling(
    worker: ModuleType, world: World, broker: redis.Redis
) -> None:
    for task in (worker.bulk_change_task, worker.retention_task) * 20:
        task.delay()
    assert [broker.llen(queue) for queue in worker.QUEUES] == [0, 0, 40]
    world.sql("INSERT INTO bulk_changes (batch_id) VALUES (gen_random_uuid())")
    with world.db.begin() as held:
        run(held, "LOCK TABLE batch_progress IN ACCESS EXCLUSIVE MODE")
        # As Celery's threads run them: each returns at once, and is done once.
        for _ in range(20):
            worker.bulk_change_task()
            worker.retention_task()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: world.value(waiting))
        assert worker.bulk_waiting <= set(worker.BULK_STEPS)
    wait_until(lambda: not world.value("SELECT count(*) FROM bulk_changes"))


def test_a_worker_works_on_the_queues_of_the_purposes_that_it_is_given(in_cluster: None, dialer: Dialer) -> None:
    from dialer.cli.processes import _celery_queues

    assert _celery_queues("bulk") == "dialer.bulk"
    assert _celery_queues("calls, bulk").split(",") == list(QUEUES)
    assert "--queues: 'imports' is none of calls, bulk" in dialer("worker", "--queues", "imports").err


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


def logged_events(err: str) -> list[str]:
    return [json.loads(line)["event"] for line in err.splitlines()]


def test_a_worker_with_json_logs_prints_no_banner_and_no_warning_of_root_is_alive_and_leaves_on_term(
    worker: ModuleType,
    db: Database,
    broker: redis.Redis,
    dialer: Dialer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DIALER_RUN_DIR", str(tmp_path))
    with running("worker") as process:
        assert process.stderr is not None
        worker.rescue_task.delay()
        first, second = (json.loads(process.stderr.readline()) for _ in range(2))
        assert (first["event"], first["kind"], first["version"]) == ("process started", "worker", wiring.version())
        assert second["event"] == "leases rebuilt from the ledger"
        assert dialer("alive", "worker").out.startswith(f"worker {process.pid} is alive: ")
        assert dialer("alive", "beat").refusal == "dialer: No beat runs here, or it has only just been started"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert logged_events(err) == ["process stopped"]
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
    assert set(logged_events(err)) == {"process started", "batch changed", "request", "process stopped"}


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
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert (out, logged_events(err)) == ("", ["process started", "process stopped"])
    assert process.returncode == 0
