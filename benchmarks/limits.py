"""What the parts cost without an engine: the ledger's writes in bare SQL, bare Lua calls, empty Celery tasks."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.baseline import processes
from dialer.bench import process_usage, stored_contacts
from dialer.bench.engine import Ledger, driver_url
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import FAST, Bench
from dialer.domain.ids import BatchId

PAGES = (50, 200, 1_000)
RESERVE = """
WITH chosen AS (
    SELECT id, phone_number FROM contacts WHERE batch_id = %(batch)s AND lane = '' AND status = 'pending'
    ORDER BY priority, due_at, position LIMIT %(page)s FOR NO KEY UPDATE SKIP LOCKED),
dialing AS (
    UPDATE contacts c SET status = 'dialing', attempts = attempts + 1 FROM chosen WHERE c.id = chosen.id)
INSERT INTO attempts (id, batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, state, local_on,
                      utc_on, granted_at, rescue_at, allowed_by)
SELECT gen_random_uuid(), %(batch)s, chosen.id, n.trunk_id, n.id, chosen.phone_number, n.phone_number, 'reserved',
       current_date, current_date, now(), now() + interval '30 seconds', '{}'
FROM chosen, (SELECT id, trunk_id, phone_number FROM phone_numbers LIMIT 1) AS n RETURNING id
"""
PLACED = "UPDATE attempts SET state = 'placed', placed_at = now(), provider_call_id = id::text WHERE id = ANY(%(ids)s)"
SETTLED = """
WITH ended AS (
    UPDATE attempts SET state = 'ended', outcome = 'answered', ended_at = now(), talk_seconds = 30, rescue_at = NULL
    WHERE id = ANY(%(ids)s) RETURNING contact_id)
UPDATE contacts c SET status = 'completed', outcome = 'answered', finished_at = now()
FROM ended WHERE c.id = ended.contact_id
"""
LUA = "redis.call('SADD', KEYS[1], ARGV[1]) return redis.call('SREM', KEYS[1], ARGV[1])"


@dataclass(frozen=True, slots=True)
class Work:
    """How many times each is done."""

    calls: int
    scripts: int
    tasks: int


WORK = {
    Size.QUICK: Work(1_000, 200, 100),
    Size.USUAL: Work(20_000, 20_000, 10_000),
    Size.FULL: Work(100_000, 100_000, 50_000),
}


def limits(bench: Bench) -> Figure:
    """Measure each alone. No audit: nothing is called."""
    work = WORK[bench.size]
    ledger = bench.ledger()
    found = [sql(bench, ledger, page, work.calls) for page in PAGES]
    with processes.running(bench, FAST) as baseline:
        found += [lua(bench, baseline, page, work.scripts) for page in (1, 50)]
        found.append(tasks(baseline, work.tasks))
    return Figure(found)


def sql(bench: Bench, ledger: Ledger, page: int, calls: int) -> Row:
    """Reserve, mark as placed and settle all contacts of a batch, in three transactions for each page."""
    batch_id = ledger.add_batch(0)
    stored_contacts.store(ledger, batch_id, calls)

    def work(connection: psycopg.Connection[Any]) -> None:
        while ids := reserve(connection, batch_id, page):
            connection.execute(PLACED, {"ids": ids})
            connection.execute(SETTLED, {"ids": ids})

    with psycopg.connect(driver_url(ledger.settings.database), autocommit=True) as connection:
        return measured(f"ledger SQL, pages of {page}", calls, lambda: work(connection), bench, "postgres")


def reserve(connection: psycopg.Connection[Any], batch_id: BatchId, page: int) -> list[UUID]:
    return [row[0] for row in connection.execute(RESERVE, {"batch": batch_id, "page": page}).fetchall()]


def lua(bench: Bench, baseline: processes.Baseline, page: int, scripts: int) -> Row:
    """Add to a set and remove from it again, in one script for each."""
    script = baseline.redis.register_script(LUA)

    def work() -> None:
        for _ in range(scripts // page):
            with baseline.redis.pipeline(transaction=False) as pipe:
                for number in range(page):
                    script(["bench:set"], [number], client=pipe)
                pipe.execute()

    return measured(f"Lua calls, {page} for each round trip", scripts, work, bench, "redis")


def measured(what: str, count: int, work: Callable[[], object], bench: Bench, server: str) -> Row:
    """Run `work`; return how many a second, and the CPU time of the server and of this process."""

    def cpu() -> tuple[float, float]:
        return process_usage.cpu_seconds({server: bench.server_pids[server]})[server], sum(os.times()[:2])

    before, began = cpu(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    of_server, of_client = (1000 * (now - then) / count for now, then in zip(cpu(), before, strict=True))
    return {"what": what, "per_second": count / seconds, "server_cpu_ms": of_server, "client_cpu_ms": of_client}


def tasks(baseline: processes.Baseline, count: int) -> Row:
    """Enqueue empty tasks, and let the worker of the baseline take them."""
    enqueue(baseline, 10)
    before, began = baseline.cpu_seconds(), time.perf_counter()
    enqueue(baseline, count)
    seconds = time.perf_counter() - began
    used = {kind: 1000 * (now - before[kind]) / count for kind, now in baseline.cpu_seconds().items()}
    return {
        "what": "empty Celery tasks",
        "per_second": count / seconds,
        "server_cpu_ms": used["redis"],
        "client_cpu_ms": used["worker"],
    }


def enqueue(baseline: processes.Baseline, count: int) -> None:
    baseline.enqueue_nothing(count)
    baseline.wait_until(baseline.is_queue_empty, 600, "taking the tasks")
