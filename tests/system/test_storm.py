"""Real processes and servers that are killed, stopped, emptied and cut off: each batch is completed nevertheless.

The network's own journal shows who was called. `make storm` runs many seeds of the long storms.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx2
import pendulum
import pytest
import redis

from dialer.domain.ids import BatchId
from dialer.domain.roles import Role
from dialer.embedded.server import free_port
from dialer.service import keys
from support.cluster import POLL, Cluster, cluster
from support.deadline import wait_until
from support.network_namespaces import namespace, namespaces_work
from support.proxy import Proxy

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers are killed by pids that only Linux keeps so"),
]

# Calls take at most a second, and the network fails sometimes.
PROFILE = {
    "speed": 40,
    "outcomes": {"answered": 5, "busy": 2, "no_answer": 2, "machine": 1},
    "faults": {"repeated": 0.1, "reordered": 0.1, "timeout_after": 0.01, "server_error": 0.02},
    "timeout_seconds": 1,
}
QUICK = PROFILE | {"speed": 100, "faults": {}}
LIMIT = 30
# Lets trunks connect to the addresses of the network namespaces.
NEARBY = {"DIALER_TRUNK_NETWORKS": "127.0.0.0/8,10.213.0.0/16"}
RETRIES: dict[str, Any] = {"retry_failed": True, "max_retry_attempts": 1, "retry_delays": {"busy": 0, "no_answer": 0}}


def full(made: Cluster) -> None:
    """Start two beats, four workers, two listeners and two APIs; half of them connect through proxies."""
    made.add_simulator()
    for n in (1, 2):
        made.add(f"beat-{n}", "beat", linked=n == 2)
        made.add(f"listener-{n}", "listener", linked=n == 2)
        made.add(f"api-{n}", "api", "--port", str(free_port()))
    for n in range(1, 5):
        made.add(f"worker-{n}", "worker", linked=n > 2)


class Storm:
    """Inject one fault after the other, in the order that the seed decides."""

    def __init__(self, made: Cluster, seed: int) -> None:
        self.made, self.rng = made, Random(seed)
        self.faults: list[str] = []

    def strike(self) -> None:
        made = self.made
        deeds: dict[str, Callable[[], object]] = {
            "kill": self._kill,
            "terminate": self._terminate,
            "restart postgres": made.restart_postgres,
            "kill redis": made.redis.restart_killed,
            "flush redis": self._flush,
            "cut": lambda: self._cut(Proxy.down),
            "silence": lambda: self._cut(Proxy.swallow),
        }
        (deed,) = self.rng.choices(list(deeds), (6, 2, 1, 1, 1, 1, 1))
        self.faults.append(deed)
        deeds[deed]()

    def _kill(self) -> None:
        name = self.rng.choice(sorted(self.made.processes))
        self.faults[-1] += f" {name}"
        self.made.kill(name)

    def _terminate(self) -> None:
        name = self.rng.choice([name for name in sorted(self.made.processes) if name != "simulator"])
        self.faults[-1] += f" {name}"
        # A process that has just started may not have installed its signal handlers yet.
        assert self.made.terminate(name) in (0, -signal.SIGTERM), self.made.log(name)[-2000:]

    def _flush(self) -> None:
        with redis.Redis.from_url(self.made.redis.url) as client:
            client.flushall()

    def _cut(self, how: Callable[[Proxy], None]) -> None:
        for link in self.made.links:
            how(link)
        POLL.wait(self.rng.uniform(0.2, 3))
        for link in self.made.links:
            link.up()


def weather(made: Cluster, seed: int, contacts: int) -> None:
    """Inject faults until most contacts are final, let the rest finish without faults, and check the promises."""
    full(made)
    made.sql("UPDATE trunks SET max_concurrent_calls = :n", n=LIMIT)
    half = contacts // 2
    for first in (0, half):
        made.batch(half, first=first, max_concurrent_calls=LIMIT - 5, **RETRIES)
    storm = Storm(made, seed)
    while made.done() < contacts * 0.8:
        POLL.wait(storm.rng.uniform(0.1, 1.0))
        storm.strike()
        made.restart_dead()
        assert len(storm.faults) < contacts * 0.8, storm.faults
    context = f"seed {seed}: {storm.faults}"
    wait_until(made.restart_dead_until_over, 180, f"all is over after {context}")
    wait_until(made.slots_are_free, 90, f"every slot is free after {context}")
    made.check_promises(LIMIT, calls_each=2)


def test_a_short_storm_of_kills_restarts_and_cuts_loses_nobody_and_rings_nobody_twice(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", PROFILE) as made:
        weather(made, seed=1, contacts=500)


def seeds() -> range:
    first, _, last = os.environ.get("DIALER_STORM_SEEDS", "2-4").partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", seeds())
def test_a_long_storm_loses_nobody_and_rings_nobody_twice(seed: int, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", PROFILE) as made:
        weather(made, seed, contacts=4_000)


def test_a_worker_that_is_told_to_stop_finishes_what_it_holds(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", QUICK) as made:
        full(made)
        made.batch(400, max_concurrent_calls=LIMIT)
        wait_until(lambda: made.done() > 50, 60, "calls are under way")
        assert [made.terminate(f"worker-{n}") for n in range(1, 5)] == [0, 0, 0, 0]
        # No attempt is left between claim and placement, or between placement and its response.
        assert made.rows("SELECT id FROM attempts WHERE state IN ('reserved', 'unclear')") == []
        made.restart_dead()
        wait_until(made.is_over, 120, "all is over")
        made.check_promises(LIMIT, calls_each=1)


def test_a_hundred_pauses_by_the_api_and_a_hundred_in_sql_are_obeyed_at_once(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", QUICK, DIALER_TICK_SECONDS="0.1") as made:
        made.add_simulator()
        made.add("beat-1", "beat")
        made.add("listener-1", "listener")
        for n in (1, 2, 3):
            made.add(f"worker-{n}", "worker")
        port = free_port()
        made.add("api-1", "api", "--port", str(port))
        by_api, by_sql = (made.batch(12_000, first=n * 20_000, max_concurrent_calls=60) for n in (0, 1))
        new = keys.NewKey(name="pauses", role=Role.OPERATOR)
        key = keys.create(made.db, made.installed.workspace_id, new, pendulum.now("UTC"), made.rng)["key"]
        with (
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}) as client,
            ThreadPoolExecutor(2) as both,
        ):
            wait_until(lambda: answers(client), 30, "the API answers")
            wait_until(lambda: made.done() > 20, 60, "calls are under way")

            def ask(batch_id: BatchId, deed: str) -> None:
                assert client.post(f"/v1/batch-calls/{batch_id}/{deed}").status_code == 200

            def in_sql(batch_id: BatchId, status: str) -> None:
                made.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=batch_id)

            first = both.submit(pauses, made, by_api, lambda: ask(by_api, "pause"), lambda: ask(by_api, "resume"))
            second = both.submit(
                pauses, made, by_sql, lambda: in_sql(by_sql, "paused"), lambda: in_sql(by_sql, "active")
            )
            assert first.result() + second.result() > 100


def pauses(made: Cluster, batch_id: BatchId, pause: Callable[[], None], resume: Callable[[], None]) -> int:
    """Pause 100 times; return how often calls were still in progress after the wait."""
    between = 0
    for n in range(100):
        before = made.attempts(batch_id)
        wait_until(lambda before=before: made.attempts(batch_id) > before, 30, "new calls go out")  # type: ignore[misc]
        pause()
        acknowledged = made.attempts(batch_id)
        # Slots still become free: once a call has ended since, dispatch could have placed another.
        calls = made.in_progress(batch_id)
        wait_until(
            lambda calls=calls: made.in_progress(batch_id) < max(calls, 1),  # type: ignore[misc]
            30,
            "a call ends",
        )
        assert made.attempts(batch_id) == acknowledged, f"pause {n}"
        between += made.in_progress(batch_id) > 0
        resume()
    return between


def answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx2.TransportError:
        return False


def test_tasks_left_in_the_queue_by_a_long_outage_are_worked_off_and_do_no_harm(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", QUICK) as made:
        made.add_simulator()
        batch_id = made.batch(200, max_concurrent_calls=LIMIT)
        script = (
            "import sys, json; from dialer.worker import dispatch_task, settle_task, tick_task\n"
            "for ids in json.load(sys.stdin): dispatch_task.delay(ids); settle_task.delay(); tick_task.delay()"
        )
        stale = [[str(batch_id)] if n % 2 else [str(uuid4()), str(batch_id)] for n in range(2_000)]
        environment = {"DIALER_DATABASE_URL": made.postgres.url, "DIALER_REDIS_URL": made.redis.url}
        subprocess.run(
            [sys.executable, "-c", script], input=json.dumps(stale), text=True, check=True, env=os.environ | environment
        )
        with redis.Redis.from_url(made.redis.url) as client:
            assert client.llen("dialer") == 6_000
            made.add("beat-1", "beat")
            made.add("listener-1", "listener")
            for n in (1, 2):
                made.add(f"worker-{n}", "worker")
            wait_until(made.is_over, 150, "all is over")
            wait_until(lambda: client.llen("dialer") < 50, 120, "the queue is worked off")
        made.check_promises(LIMIT, calls_each=1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rabbitmq-server") is None, reason="there is no rabbitmq-server on PATH")
def test_rabbitmq_carries_the_tasks_as_well(tmp_path: Path) -> None:
    with rabbitmq(tmp_path) as url, cluster(tmp_path / "cluster", PROFILE, DIALER_BROKER_URL=url) as made:
        full(made)
        made.sql("UPDATE trunks SET max_concurrent_calls = :n", n=LIMIT)
        made.batch(500, max_concurrent_calls=LIMIT, **RETRIES)
        for n in (1, 2, 3):
            wait_until(lambda n=n: made.done() > 100 * n, 120, "calls are under way")  # type: ignore[misc]
            made.kill(f"worker-{n}")
            made.restart_dead()
        wait_until(made.restart_dead_until_over, 180, "all is over")
        made.check_promises(LIMIT, calls_each=2)


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Run a RabbitMQ on free ports of 127.0.0.1, as root or another user."""
    port, dist = free_port(), free_port()
    environment = os.environ | {
        "RABBITMQ_NODENAME": f"dialer{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "rabbit-log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "flags"),
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
    }
    # Debian's wrapper switches to the rabbitmq user, who cannot write here; the script that it calls does not.
    server = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin") or shutil.which("rabbitmq-server") or ""
    with (folder / "rabbitmq.log").open("wb") as log:
        process = subprocess.Popen([server], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        log_file = folder / "rabbitmq.log"
        wait_until(lambda: "completed with" in log_file.read_text(errors="replace"), 90, "RabbitMQ is up")
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="network namespaces need root, and iproute2")
def test_workers_in_networks_of_their_own_are_cut_off_and_joined_again(tmp_path: Path) -> None:
    with (
        namespace(1) as first,
        namespace(2) as second,
        cluster(tmp_path / "cluster", PROFILE | {"faults": {}}, **NEARBY) as made,
    ):
        made.add_simulator("--host", "0.0.0.0")
        # An address of this machine that is reachable from both namespaces.
        address = f"tcp://{first[2]}:{made.simulator_port}"
        made.sql("UPDATE trunks SET config = jsonb_set(config, '{url}', to_jsonb(CAST(:url AS text)))", url=address)
        made.add("beat-1", "beat")
        made.add("listener-1", "listener")
        proxies = []
        for number in range(1, 5):
            name, _, address = (first, second)[number % 2]
            links = [Proxy(url, host=address) for url in (made.postgres.url, made.redis.url)]
            proxies += links
            made.environment = NEARBY | {"DIALER_DATABASE_URL": links[0].url, "DIALER_REDIS_URL": links[1].url}
            made.add(f"worker-{number}", "worker", prefix=("ip", "netns", "exec", name))
        made.batch(500, max_concurrent_calls=LIMIT)
        for number, (_, cable, _) in enumerate((first, second, first, second), start=1):
            wait_until(lambda number=number: made.done() > 80 * number, 120, "calls are under way")  # type: ignore[misc]
            subprocess.run(["ip", "link", "set", cable, "down"], check=True)
            POLL.wait(4)
            subprocess.run(["ip", "link", "set", cable, "up"], check=True)
        wait_until(made.is_over, 180, "all is over")
        made.check_promises(LIMIT, calls_each=1)
        for proxy in proxies:
            proxy.close()
