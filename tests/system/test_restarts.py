"""What the processes log while Postgres or Redis restarts, or Redis takes no writes, as a replica after a failover."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from dialer.domain.ids import BatchId
from dialer.embedded.server import free_port
from support.cluster import POLL, Cluster, cluster
from support.deadline import wait_until

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers are killed by pids that only Linux keeps so"),
]

PROFILE = {"speed": 60, "outcomes": {"answered": 1}}


MAX_LINES = 5

Outage = Callable[[], object]


def test_a_restart_of_postgres_or_redis_leaves_a_few_lines_and_no_traceback(tmp_path: Path) -> None:
    with cluster(tmp_path, PROFILE) as made:
        made.add_simulator()
        made.add("beat-1", "beat")
        made.add("listener-1", "listener")
        made.add("api-1", "api", "--port", str(free_port()))
        made.add("worker-1", "worker")
        batch_id = made.batch(500, max_concurrent_calls=5)
        wait_until(lambda: made.attempts(batch_id) > 5, 200, "calls are placed")
        for server in (made.postgres, made.redis):
            check_outage(made, server.stop, server.start, batch_id)
        with redis.Redis.from_url(made.redis.url) as client:
            check_outage(
                made, lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE"), batch_id
            )
        # None of them has ended, to be restarted by a process manager.
        assert [name for name, process in made.processes.items() if process.poll() is not None] == []


def check_outage(made: Cluster, fail: Outage, mend: Outage, batch_id: BatchId) -> None:
    before = {name: len(made.log(name)) for name in made.processes}

    def logged(name: str) -> str:
        """Return what is logged beside the changes of attempts, of which each has a line."""
        lines = made.log(name)[before[name] :].splitlines(keepends=True)
        return "".join(line for line in lines if "attempt changed" not in line)

    fail()
    wait_until(lambda: logged("worker-1"), 60, "the worker has noticed")
    # Long enough that each step of each process fails repeatedly.
    POLL.wait(10)
    mend()
    # A restart has ended the connections of this process.
    made.db.close()
    made.context.db.close()
    placed = made.attempts(batch_id)
    wait_until(lambda: made.attempts(batch_id) > placed + 5, 120, "calls are placed again")
    for name in before:
        assert "Traceback" not in logged(name), logged(name)
        assert logged(name).count("\n") <= MAX_LINES, logged(name)
