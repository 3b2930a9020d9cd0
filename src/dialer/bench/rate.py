"""How much of a trunk's calls per second is used while contacts are due, and the most calls in any second."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dialer.bench.engine import Engine
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import FAST, Bench
from dialer.providers.simulator.network import most_in_any_second

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """Counted for `seconds`, after the first `skip_seconds`."""

    calls_per_second: tuple[int, ...]
    seconds: int
    skip_seconds: int
    workers: int = 2
    network: Mapping[str, Any] = field(default_factory=lambda: {"speed": 10.0})


WORK = {
    Size.QUICK: Work((20,), 1, 1, 1, FAST),
    Size.USUAL: Work((20,), 10, 5),
    Size.FULL: Work((5, 20, 100), 60, 10),
}


def rate(bench: Bench) -> Figure:
    """Call the contacts of two batches over one trunk."""
    work, found, violations = WORK[bench.size], [], 0
    for calls_per_second in work.calls_per_second:
        engine = bench.engine(work.workers, work.network)
        found.append({"calls_per_second": calls_per_second, **measure(engine, calls_per_second, work)})
        violations += engine.violations()
        # The trunk keeps its rate.
        bench.stop()
    return Figure(found, violations)


def measure(engine: Engine, calls_per_second: int, work: Work) -> Row:
    engine.run("UPDATE trunks SET calls_per_second = :rate", rate=calls_per_second)
    total = (work.seconds + work.skip_seconds) * calls_per_second
    ids = [engine.add_batch(total // 2) for _ in range(2)]
    engine.start(ids)
    engine.wait_for_end(ids, 3 * (work.seconds + work.skip_seconds) + 60)
    sent = engine.rows("SELECT sent_at FROM attempts WHERE sent_at IS NOT NULL AND batch_id = ANY(:ids)", ids=ids)
    first = min(row.sent_at for row in sent)
    moments = [round((row.sent_at - first).total_seconds() * MICROSECONDS) for row in sent]
    counted = range(work.skip_seconds * MICROSECONDS, (work.skip_seconds + work.seconds) * MICROSECONDS)
    used = sum(moment in counted for moment in moments)
    return {
        "used_share": used / (calls_per_second * work.seconds),
        "most_in_any_second": most_in_any_second(moments),
    }
