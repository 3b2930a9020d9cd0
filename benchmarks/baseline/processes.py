"""The processes of the baseline, on the servers of a benchmark: network, worker, listener and beat."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from celery import Celery

from benchmarks.baseline.names import EMPTY_TASK, QUEUE, TRUNK, UNACKNOWLEDGED, slots_key
from dialer import embedded
from dialer.bench import contact_list, process_usage
from dialer.bench.engine import driver_url
from dialer.bench.servers import Bench
from dialer.cli.supervisor import POLL_SECONDS
from dialer.embedded.processes import RestartPolicy, SupervisedProcess
from dialer.embedded.server import free_port
from dialer.errors import Unavailable
from dialer.providers.simulator.config import NetworkProfile
from dialer.settings import Settings

ROOT = Path(__file__).parents[2]
CELERY = ("-m", "celery", "--app", "benchmarks.baseline.app", "--quiet")
# As many processes as an engine of Dialer has threads, and none of the work is CPU-bound for long.
CONCURRENCY = 4
RESTART_SECONDS = 0.5


class Baseline:
    """The running baseline. `journal`: the folder with the network's own record of its calls."""

    def __init__(self, settings: Settings, server_pids: Mapping[str, int], profile: Mapping[str, Any]) -> None:
        self.journal = settings.data_dir / "simulator" / f"{TRUNK}.jsonl"
        self._log_dir = settings.data_dir
        self._log_dir.mkdir(parents=True)
        self._server_pids = server_pids
        self._processes: dict[str, SupervisedProcess] = {}
        self._used = 0
        self._port = free_port()
        url = f"tcp://127.0.0.1:{self._port}"
        self._environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "BASELINE_DATABASE": driver_url(settings.database),
            "BASELINE_REDIS": settings.redis,
            "BASELINE_NETWORK_PORT": str(self._port),
            "BASELINE_PROFILE": json.dumps(NetworkProfile.parse({**profile, "url": url}).to_config()),
        }
        self.database = psycopg.connect(driver_url(settings.database), autocommit=True)
        self.database.execute((Path(__file__).parent / "schema.sql").read_bytes())
        self.redis = redis.Redis.from_url(settings.redis)

    def start(self) -> None:
        """Start the network, then the processes that connect to it, and wait until all have started."""
        journal = ("--journal", str(self.journal.parent))
        self._start("simulator", "-m", "dialer", "simulator", "--port", str(self._port), *journal)
        self.wait_until(lambda: self.journal.parent.exists(), 30, "starting the network")
        concurrency = ("--concurrency", str(CONCURRENCY))
        self._start("worker", *CELERY, "worker", *concurrency, "--without-gossip", "--without-mingle")
        self._start("listener", "-m", "benchmarks.baseline.listener")
        self._start("beat", *CELERY, "beat", "--schedule", str(self._log_dir / "beat"))

    def add_campaign(self, contacts: int, slots: int, max_retries: int = 0, retry_seconds: float = 0.0) -> int:
        """Add a campaign that is not active, with contacts whose numbers are in no other."""
        sql = "INSERT INTO campaigns (max_concurrent, max_retries, retry_seconds) VALUES (%s, %s, %s) RETURNING id"
        ((campaign_id,),) = self.database.execute(sql, [slots, max_retries, retry_seconds]).fetchall()
        phones = [phone for phone, *_ in contact_list.lines(contacts, self._used)]
        self._used += contacts
        sql = "INSERT INTO contacts (campaign_id, phone) SELECT %s, unnest(%s::text[])"
        self.database.execute(sql, [campaign_id, phones])
        return int(campaign_id)

    def activate(self, campaign_ids: Sequence[int]) -> None:
        """Start these campaigns at the same moment."""
        self.database.execute("UPDATE campaigns SET status = 'active' WHERE id = ANY(%s)", [list(campaign_ids)])

    def open_contacts(self) -> int:
        """Count the contacts that are not final."""
        ((count,),) = self.database.execute("SELECT count(*) FROM contacts WHERE finished_at IS NULL").fetchall()
        return int(count)

    def held_slots(self) -> int:
        """Return how many slots the semaphores say are in use; a negative one lets too many calls start."""
        return sum(abs(int(self.redis.get(key) or 0)) for key in self.redis.scan_iter(slots_key("*")))

    def enqueue_nothing(self, count: int) -> None:
        """Enqueue empty tasks."""
        with Celery(broker=self._environment["BASELINE_REDIS"]) as app:
            for _ in range(count):
                app.send_task(EMPTY_TASK, ignore_result=True)

    def is_queue_empty(self) -> bool:
        """Return whether the worker has taken all tasks."""
        return not self.redis.llen(QUEUE) and not self.redis.hlen(UNACKNOWLEDGED)

    def kill_worker(self) -> None:
        """Kill the worker and its children with kill -9; it is started again."""
        os.killpg(self._processes["worker"].process.pid, signal.SIGKILL)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds by kind of process."""
        pids = {name: process.process.pid for name, process in self._processes.items()}
        return process_usage.cpu_seconds({**pids, **self._server_pids})

    def wait_until(self, is_true: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait, and restart processes that die meanwhile. Raises Unavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                raise Unavailable(f"The baseline gave up: {what} took longer than {seconds:.0f} s")
            for process in self._processes.values():
                process.tend()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop everything; what the worker has not done is not needed."""
        for supervised in self._processes.values():
            if supervised.process.poll() is None:
                os.killpg(supervised.process.pid, signal.SIGKILL)
            supervised.process.wait()
        self.database.close()
        self.redis.close()

    def _start(self, name: str, *arguments: str) -> None:
        log = self._log_dir / f"{name}.log"

        def launch() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                command = [sys.executable, *arguments]
                return embedded.child(command, env=self._environment, cwd=ROOT, stdout=output, stderr=output)

        self._processes[name] = SupervisedProcess(name, log, RestartPolicy(RESTART_SECONDS), launch)


@contextmanager
def running(bench: Bench, profile: Mapping[str, Any]) -> Iterator[Baseline]:
    """Run the baseline until the context ends. `profile`: of the simulated network."""
    bench.stop()
    baseline = Baseline(bench.new_settings(), bench.server_pids, profile)
    try:
        baseline.start()
        yield baseline
    finally:
        baseline.stop()
