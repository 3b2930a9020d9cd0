"""How long a freed slot stays empty, and how much of the slots is used, while contacts are due.

Calls take 30 seconds on average, in real time. Both figures are computed from the ledger alone.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from dialer.bench.engine import MAX_SLOTS, START_SECONDS, Engine
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import FAST, Bench
from dialer.domain.ids import BatchId

# Together 30 seconds on average, all of them answered.
HALF_MINUTE = {
    "speed": 1.0,
    "outcomes": {"answered": 1.0},
    "setup_seconds": {"min": 0.2, "mean": 0.5, "max": 1.0},
    "ring_seconds": {"min": 0.5, "mean": 1.5, "max": 5.0},
    "talk_seconds": {"min": 4.0, "mean": 28.0, "max": 120.0},
}
# The contacts that a slot may need for each second of the measurement, with some to spare.
CONTACTS_PER_SECOND = 1 / 15


@dataclass(frozen=True, slots=True)
class Work:
    """`slots`: of all batches together. `skip_seconds`: how long the ends of the calls that started together differ
    too little to be counted.
    """

    slots: tuple[int, ...]
    seconds: float
    skip_seconds: float
    slots_per_batch: int = MAX_SLOTS
    network: Mapping[str, Any] = field(default_factory=lambda: HALF_MINUTE)
    contacts_per_second: float = CONTACTS_PER_SECOND


WORK = {
    Size.QUICK: Work((10,), 1.0, 0.1, 5, FAST, 60.0),
    Size.USUAL: Work((100, 1_000, 5_000), 15.0, 10.0),
    Size.FULL: Work((100, 1_000, 5_000), 180.0, 30.0),
}


@dataclass(slots=True)
class Used:
    """What was counted in one batch after another: delays in milliseconds, and seconds of slots."""

    delays: list[float] = field(default_factory=list)
    used: float = 0.0
    allowed: float = 0.0


def refill(bench: Bench) -> Figure:
    """Keep all slots of several batches in demand for a while."""
    work, violations = WORK[bench.size], 0
    found: list[Row] = []
    for slots in work.slots:
        if found:  # Calls of the last size are still up.
            bench.stop()
        engine = bench.engine(network=work.network)
        found.append({"slots": slots, **keep_busy(engine, slots, work)})
        violations += engine.violations()
    return Figure(found, violations)


def keep_busy(engine: Engine, slots: int, work: Work) -> Row:
    """Start batches that use all these slots, and return what the ledger says of them after a while."""
    contacts = round(work.slots_per_batch * (1 + (work.seconds + work.skip_seconds) * work.contacts_per_second))
    batches = slots // work.slots_per_batch
    ids = [engine.add_batch(contacts, max_concurrent_calls=work.slots_per_batch) for _ in range(batches)]
    engine.start(ids)
    has_begun = "SELECT 1 FROM attempts WHERE batch_id = ANY(:ids) LIMIT 1"
    engine.wait_until(lambda: bool(engine.rows(has_begun, ids=ids)), START_SECONDS, "starting the first call")
    until = time.monotonic() + work.skip_seconds + work.seconds
    engine.wait_until(lambda: time.monotonic() > until, 2 * (work.skip_seconds + work.seconds), "the measurement")
    calls = engine.rows(
        """
        SELECT batch_id, extract(epoch FROM placed_at)::float8 AS start, extract(epoch FROM ended_at)::float8 AS end
        FROM attempts WHERE batch_id = ANY(:ids) AND placed_at IS NOT NULL
        """,
        ids=ids,
    )
    engine.run("UPDATE batches SET status = 'cancelled' WHERE status = 'active'")
    by_batch: defaultdict[BatchId, list[Any]] = defaultdict(list)
    for call in calls:
        by_batch[call.batch_id].append(call)
    total = Used()
    for of_batch in by_batch.values():
        count(of_batch, work, total)
    return summary(total)


def count(calls: Sequence[Any], work: Work, total: Used) -> None:
    """Add one batch, from `skip_seconds` after the first start to the last start: then there may be no contact left."""
    starts = [call.start for call in calls]
    first, last = min(starts) + work.skip_seconds, max(starts)
    total.delays += [delay for end, delay in refills(calls, work.slots_per_batch) if end >= first]
    total.used += sum(max(0.0, min(call.end or last, last) - max(call.start, first)) for call in calls)
    total.allowed += work.slots_per_batch * max(0.0, last - first)


def refills(calls: Sequence[Any], slots: int) -> Iterator[tuple[float, float]]:
    """Yield each end of a call that was followed by another call in its slot, and the milliseconds in between.

    The n-th end frees the slot of the n-th start after those that filled all slots.
    """
    starts, ends = sorted(call.start for call in calls), sorted(call.end for call in calls if call.end is not None)
    for end, start in zip(ends, starts[slots:], strict=False):
        yield end, 1000 * (start - end)


def summary(total: Used) -> Row:
    delays = sorted(total.delays)
    return {
        "refills": len(delays),
        "median_ms": median(delays) if delays else None,
        "p99_ms": delays[len(delays) * 99 // 100] if delays else None,
        "longest_ms": delays[-1] if delays else None,
        "utilisation": total.used / total.allowed if total.allowed else None,
    }
