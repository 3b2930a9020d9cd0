"""Real processes on a disturbed database: a schema that changes, rows that stay locked, a worker that is stopped.

The network's own journal shows how each call ended.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from dialer.domain.ids import BatchId
from dialer.store.database import rows, run
from support.cluster import DIALER, POLL, Cluster, cluster
from support.deadline import wait_until

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers are killed by pids that only Linux keeps so"),
]

PROFILE = {"speed": 60, "outcomes": {"answered": 5, "busy": 2, "no_answer": 2, "machine": 1}}
LIMIT = 20
UNFIT_SECONDS = 6
# The beginning of the claim statement.
CLAIMS = "query LIKE '%free_numbers AS MATERIALIZED%'"
WAITS = f"wait_event_type = 'Lock' AND {CLAIMS}"
STANDS_STILL = f"state = 'idle in transaction' AND {CLAIMS}"


@contextmanager
def working(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    with cluster(folder, PROFILE) as made:
        made.add_simulator()
        made.add("beat-1", "beat")
        made.add("listener-1", "listener")
        for n in range(1, workers + 1):
            made.add(f"worker-{n}", "worker")
        yield made


def has_called(made: Cluster, batch_id: BatchId, count: int) -> bool:
    return made.attempts(batch_id) >= count


def truth(made: Cluster) -> dict[Any, Any]:
    return {call.attempt_id: call.outcome for call in made.calls()}


def outcomes(made: Cluster) -> dict[Any, Any]:
    return {row.id: row.outcome for row in made.rows("SELECT id, outcome FROM attempts WHERE outcome IS NOT NULL")}


def test_a_schema_that_changes_under_load_and_does_not_fit_for_seconds_loses_no_report(tmp_path: Path) -> None:
    with working(tmp_path / "cluster") as made:
        batch_id = made.batch(160, max_concurrent_calls=LIMIT)
        wait_until(lambda: made.done() > 30, 60, "calls are under way")
        for table in ("attempts", "inbox", "contacts", "batches", "batch_progress", "attempts_archive"):
            made.sql(f"ALTER TABLE {table} ADD COLUMN of_an_operator text")
        before = made.done()
        wait_until(lambda: made.done() > before + 30, 60, "calls go on with the new columns")
        made.sql("ALTER TABLE attempts RENAME COLUMN cause TO taken_away")
        POLL.wait(UNFIT_SECONDS)
        made.sql("ALTER TABLE attempts RENAME COLUMN taken_away TO cause")
        wait_until(made.is_over, 120, "all is over")
        assert made.rows("SELECT kind, subject, error FROM quarantine") == []
        assert outcomes(made) == truth(made)
        assert made.attempts(batch_id) == 160
        made.check_promises(LIMIT, calls_each=1)


def doctor(made: Cluster) -> str:
    environment = {"DIALER_DATABASE_URL": made.postgres.url, "DIALER_REDIS_URL": made.redis.url}
    done = subprocess.run(
        [*DIALER, "doctor"], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout


def test_a_transaction_that_is_left_open_stops_its_own_batch_alone_and_is_explained(tmp_path: Path) -> None:
    with working(tmp_path / "cluster") as made:
        stuck = made.batch(60, name="spring sale", max_concurrent_calls=LIMIT)
        wait_until(lambda: has_called(made, stuck, 5), 60, "calls are under way")
        with made.db.begin() as operator:
            run(operator, "UPDATE batches SET priority = 1 WHERE id = :id", id=stuck)
            calls = made.attempts(stuck)
            free = [made.batch(60, first=100 * n, max_concurrent_calls=LIMIT) for n in (1, 2)]
            wait_until(lambda: made.is_over(*free), 60, "the other batches are over")
            assert made.attempts(stuck) == calls
            message = "rows are locked by a session that does not end its transaction"
            wait_until(lambda: message in made.log("worker-1") + made.log("worker-2"), 40, "a worker logs it")
            assert "Batch spring sale is locked by a transaction of session" in doctor(made)
        wait_until(made.is_over, 60, "the batch goes on when it is released")
        assert (made.log("worker-1") + made.log("worker-2")).count(message) == 1
        assert outcomes(made) == truth(made)
        made.check_promises(3 * LIMIT, calls_each=1)


def test_a_worker_that_stands_still_in_the_middle_of_a_claim_stops_nobody_and_redis_is_rebuilt(tmp_path: Path) -> None:
    with working(tmp_path / "cluster", workers=1) as made:
        stuck = made.batch(60, max_concurrent_calls=LIMIT)
        wait_until(lambda: has_called(made, stuck, 5), 60, "calls are under way")
        wait_until(lambda: stop_in_a_claim(made, stuck), 60, "the worker stands still in a claim")
        with redis.Redis.from_url(made.redis.url) as client:
            client.flushall()
        made.add("worker-2", "worker")
        free = made.batch(60, first=100, max_concurrent_calls=LIMIT)
        wait_until(made.is_over, 90, "all is over, also what the claim had locked")
        assert made.attempts(free) >= 60
        os.kill(made.processes["worker-1"].pid, signal.SIGCONT)
        last = made.batch(30, first=200, max_concurrent_calls=LIMIT)
        wait_until(lambda: made.is_over(last), 60, "both workers go on")
        assert outcomes(made) == truth(made)
        made.check_promises(2 * LIMIT, calls_each=1)


def stop_in_a_claim(made: Cluster, batch_id: BatchId) -> bool:
    """Stop the worker while its claim waits for a lock, then release the lock, so that its transaction stays open."""
    worker = made.processes["worker-1"].pid
    with made.db.begin() as holder:
        rows(holder, "SELECT 1 FROM batch_days WHERE batch_id = :id FOR UPDATE", id=batch_id)
        wait_until(lambda: sessions(made, WAITS), 30, "a claim waits")
        os.kill(worker, signal.SIGSTOP)
    # The claim may have timed out just before the worker was stopped: then no lock is held, so try again.
    wait_until(lambda: not sessions(made, WAITS), 10, "the claim does not wait any more")
    if sessions(made, STANDS_STILL):
        return True
    os.kill(worker, signal.SIGCONT)
    return False


@pytest.mark.slow
@pytest.mark.skipif("DIALER_PREVIOUS" not in os.environ, reason="DIALER_PREVIOUS names no folder with its sources")
def test_workers_of_the_previous_release_go_on_under_load_while_the_schema_is_upgraded(tmp_path: Path) -> None:
    source, revision = os.environ["DIALER_PREVIOUS"], "0004"
    main = f"import sys; sys.path.insert(0, {source!r}); sys.argv[0] = 'dialer'; from dialer.cli import main; main()"
    made = Cluster(tmp_path / "cluster", PROFILE, {}, revision)
    try:
        made.add_simulator()
        old = {"beat-1": "beat", "listener-1": "listener", "worker-1": "worker", "worker-2": "worker"}
        for name, command in old.items():
            made.add_command(name, [sys.executable, "-c", main], command)
        made.batch(1500, start=False, max_concurrent_calls=LIMIT)
        made.sql("UPDATE batches SET status = 'active'")
        wait_until(lambda: made.done() > 60, 60, "calls are under way")
        made.db.upgrade()
        wait_until(lambda: made.done() > 120, 60, "workers of the previous release go on")
        with broken(made, "NEW.state = 'ended' AND random() < 0.3"):
            wait_until(lambda: made.rows("SELECT 1 FROM set_aside"), 60, "one of them sets a report aside")
        made.add("worker-3", "worker")
        for name in old:
            made.terminate(name)
        made.add("beat-2", "beat")
        made.add("listener-2", "listener")
        wait_until(made.is_over, 120, "all is over")
        assert made.rows("SELECT kind, subject, error FROM quarantine") == []
        assert outcomes(made) == truth(made)
        made.check_promises(LIMIT, calls_each=1)
    finally:
        made.close()


@contextmanager
def broken(made: Cluster, when: str) -> Iterator[None]:
    made.sql(
        f"""
        CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE 'this row is broken' USING ERRCODE = 'XX001'; END$$;
        CREATE TRIGGER break_it BEFORE UPDATE ON attempts FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION break_it()
        """
    )
    try:
        yield
    finally:
        made.sql("DROP FUNCTION break_it CASCADE")


def sessions(made: Cluster, where: str) -> int:
    (row,) = made.rows(f"SELECT count(*) AS n FROM pg_stat_activity WHERE {where} AND pid <> pg_backend_pid()")
    return int(row.n)
