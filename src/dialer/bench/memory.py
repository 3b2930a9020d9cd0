"""Memory of each kind of process: when it has started, and after a few thousand calls."""

from collections.abc import Mapping

from dialer.bench.carried import carry
from dialer.bench.engine import Engine
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.process_usage import resident_mib, shared_out_mib
from dialer.bench.servers import Bench

Measures = Mapping[str, Mapping[str, float]]

BATCHES = 10
WORK = {Size.QUICK: 50, Size.USUAL: 6_000, Size.FULL: 100_000}


def memory(bench: Bench) -> Figure:
    """Measure an engine that has just started, call the contacts, and measure it again."""
    engine = bench.engine()
    started = measures(engine)
    carry(engine, BATCHES, WORK[bench.size])
    after = measures(engine)
    return Figure([row(kind, started, after) for kind in started["pss"]], engine.violations())


def row(kind: str, started: Measures, after: Measures) -> Row:
    return {
        "process": kind,
        **{f"started_{name}_mib": by_kind[kind] for name, by_kind in started.items()},
        **{f"after_{name}_mib": by_kind[kind] for name, by_kind in after.items()},
    }


def measures(engine: Engine) -> Measures:
    """Measure the memory: shared pages divided by their users (PSS), and counted in each of them (RSS)."""
    return {"pss": shared_out_mib(engine.pids), "rss": resident_mib(engine.pids)}
