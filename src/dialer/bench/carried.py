"""Calls carried per second, from contacts that are due to settled results, and the CPU time that each costs.

Everything is real except the telephone network, which is a process of its own and a thousand times faster than life.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dialer.bench.engine import Engine
from dialer.bench.figure import Figure, Row, Size, medians
from dialer.bench.servers import Bench

# The processes whose CPU time is the engine's. The network is not ours.
ENGINE = ("worker", "listener", "beat", "api", "postgres", "redis")
GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Work:
    """`contacts`: how many each run calls, by the number of batches. `workers`: how many processes call them."""

    contacts: Mapping[int, int]
    workers: tuple[int, ...]
    repeats: int


WORK = {
    Size.QUICK: Work({2: 60}, (1,), 1),
    # A batch has 100 slots, so a single one takes longer for the same calls.
    Size.USUAL: Work({1: 2_000, 10: 4_000, 50: 4_000}, (1, 2), 3),
    Size.FULL: Work(dict.fromkeys((1, 10, 50), 20_000), (1, 2), 5),
}


def carried(bench: Bench) -> Figure:
    """Carry calls in few and many batches, by one and two workers."""
    work, found, violations = WORK[bench.size], [], 0
    for workers in work.workers:
        engine = bench.engine(workers)
        for batches, contacts in work.contacts.items():
            runs = [carry(engine, batches, contacts) for _ in range(work.repeats)]
            found.append({"workers": workers, "batches": batches, **medians(runs)})
        violations += engine.violations()
    return Figure(found, violations)


def carry(engine: Engine, batches: int, contacts: int) -> Row:
    """Call so many contacts to the end, once each."""
    ids = [engine.add_batch(contacts // batches) for _ in range(batches)]
    before = engine.cpu_seconds()
    engine.start(ids)
    engine.wait_for_end(ids, GIVE_UP_SECONDS)
    used = {kind: seconds - before[kind] for kind, seconds in engine.cpu_seconds().items()}
    (row,) = engine.rows(
        """
        SELECT count(*) AS calls, extract(epoch FROM max(b.completed_at) - min(a.created_at)) AS seconds
        FROM attempts a JOIN batches b ON b.id = a.batch_id WHERE a.batch_id = ANY(:ids)
        """,
        ids=ids,
    )
    return {"calls_per_second": row.calls / float(row.seconds), **cpu_per_call(used, row.calls)}


def cpu_per_call(used: Mapping[str, float], calls: int) -> Row:
    """Return the milliseconds of CPU time for each call: of the engine, and of each kind of process."""
    by_kind = {f"{kind}_ms": 1000 * seconds / calls for kind, seconds in used.items()}
    return {"engine_ms": 1000 * sum(used.get(kind, 0.0) for kind in ENGINE) / calls, **by_kind}
