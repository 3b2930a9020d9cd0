"""What is measured again and again: memory, space, queues, latency and calls."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import redis

from dialer.bench.engine import Engine
from dialer.bench.figure import Row
from dialer.bench.process_usage import MIB, shared_out_mib
from dialer.bench.refill import refills
from dialer.domain.ids import BatchId
from dialer.settings import QUEUES

# Those that every call writes, and those that keep or remove what was called.
TABLES = (
    "attempts",
    "attempts_archive",
    "batch_history",
    "batch_progress",
    "batches",
    "bulk_changes",
    "contacts",
    "inbox",
)


def sample(engine: Engine, seconds: float, slots: int) -> Row:
    """Measure the engine, and what its ledger says of the last `seconds`. `slots`: of each batch."""
    return {
        **calls(engine, seconds, slots),
        **queues(engine),
        **{f"{kind}_pss_mib": mib for kind, mib in shared_out_mib(engine.pids).items()},
        **tables(engine),
    }


def calls(engine: Engine, seconds: float, slots: int) -> Row:
    """Return the calls that started per second, and how long freed slots stayed empty.

    A slot counts while its batch has contacts that were never called: afterwards nobody may be due.
    """
    found = engine.rows(
        """
        SELECT a.batch_id, extract(epoch FROM a.placed_at)::float8 AS start,
               extract(epoch FROM a.ended_at)::float8 AS end, extract(epoch FROM dialer_now())::float8 AS now,
               NOT EXISTS (SELECT 1 FROM attempts e WHERE e.contact_id = a.contact_id AND e.id < a.id) AS is_first
        FROM attempts a JOIN batches b ON b.id = a.batch_id
        WHERE a.placed_at IS NOT NULL AND b.archived_at IS NULL
        """
    )
    by_batch: defaultdict[BatchId, list[Any]] = defaultdict(list)
    for call in found:
        by_batch[call.batch_id].append(call)
    since = found[0].now - seconds if found else 0.0
    delays = sorted(delay for of_batch in by_batch.values() for delay in delays_of(of_batch, slots, since))
    return {
        "calls_per_second": sum(call.start >= since for call in found) / seconds,
        "refills": len(delays),
        "refill_median_ms": median(delays) if delays else None,
        "refill_p99_ms": delays[len(delays) * 99 // 100] if delays else None,
    }


def delays_of(calls: Sequence[Any], slots: int, since: float) -> list[float]:
    """Return the milliseconds for which slots of one batch stayed empty that were freed since this time."""
    until = max((call.start for call in calls if call.is_first), default=0.0)
    return [delay for end, delay in refills(calls, slots) if since <= end < until]


def queues(engine: Engine) -> Row:
    """Return how much waits, for how long, and what Redis holds."""
    (oldest,) = engine.rows(
        """
        SELECT coalesce(extract(epoch FROM dialer_now() - min(received_at)), 0)::float8 AS seconds
        FROM inbox WHERE settled_at IS NULL
        """
    )
    with redis.Redis.from_url(engine.settings.redis) as client:
        return {
            "queue": sum(client.llen(queue) for queue in QUEUES),
            "oldest_report_seconds": oldest.seconds,
            "redis_keys": client.dbsize(),
            "redis_used_mib": client.info("memory")["used_memory"] / MIB,
        }


def tables(engine: Engine) -> Row:
    """Return the size of each table with its indexes, that of the indexes alone, and its dead rows."""
    found = engine.rows(
        """
        SELECT relname AS name, pg_total_relation_size(relid)::float8 AS total, n_dead_tup AS dead,
               pg_indexes_size(relid)::float8 AS indexes
        FROM pg_stat_user_tables WHERE relname = ANY(:tables) ORDER BY relname
        """,
        tables=list(TABLES),
    )
    row: dict[str, float] = {}
    for table in found:
        row |= {
            f"{table.name}_mib": table.total / MIB,
            f"{table.name}_indexes_mib": table.indexes / MIB,
            f"{table.name}_dead_rows": table.dead,
        }
    return row
