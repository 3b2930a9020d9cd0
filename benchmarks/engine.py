"""Measures the engine on this machine: real servers, one worker process, the simulated network.

    python benchmarks/engine.py refill        how long a slot stays empty while contacts are waiting
    python benchmarks/engine.py throughput    how many calls one worker process places in a second
    python benchmarks/engine.py rate          how much of a trunk's calls per second is used in a minute

All read the ledger after the run, and audit it.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from random import Random

from rich.console import Console

from dialer import wiring
from dialer.cli.progress import watch
from dialer.cli.run_batch import wait_until_ready
from dialer.cli.supervisor import supervised_engine
from dialer.domain.ids import BatchId
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.providers.simulator.network import most_in_any_second
from dialer.service import agents, batches, contacts, demo_setup
from dialer.service.new_batch import NewBatch
from dialer.settings import Settings
from dialer.store.database import rows, run

WEEK = [1, 2, 3, 4, 5, 6, 7]


def main() -> None:
    """Run one measurement and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["refill", "throughput", "rate"])
    parser.add_argument("--contacts", type=int, default=3_000)
    parser.add_argument("--speed", type=float, help="how much faster than life calls run")
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--calls-per-second", type=int, default=10)
    asked = parser.parse_args()
    speed = asked.speed or {"refill": 10.0, "throughput": 1_000.0, "rate": 10.0}[asked.what]
    with tempfile.TemporaryDirectory(prefix="dialer-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings(data_dir=Path(folder))
        workers = 2 if asked.what == "rate" else 1
        with supervised_engine(settings, workers=workers, network={"speed": speed}, echo=print) as supervisor:
            context = wiring.context_of(supervisor.settings)
            if asked.what == "rate":
                asked.contacts, asked.batches = 70 * asked.calls_per_second, 2
                with context.db.begin() as connection:
                    run(connection, "UPDATE trunks SET calls_per_second = :rate", rate=asked.calls_per_second)
            batch_ids = [start(context, asked.contacts // asked.batches, first) for first in range(asked.batches)]
            for batch_id in batch_ids:
                watch(context.db, batch_id, supervisor.tend, Console(stderr=True))
            if asked.what == "rate":
                rate(context, asked.calls_per_second)
            else:
                {"refill": refill, "throughput": throughput}[asked.what](context)
            report = audit(context.db, wiring.clock())
            print("audit clean" if report.is_clean else report)
            wiring.close(context)


def start(context: EngineContext, count: int, first: int) -> BatchId:
    """Start a batch of so many contacts with 100 slots."""
    workspace_id, agent_id = agents.find(context.db, demo_setup.WORKSPACE, demo_setup.AGENT)
    now, rng = wiring.clock(), Random(first)
    fields = {"name": f"bench {first}", "agent_id": agent_id, "working_days": WEEK, "max_concurrent_calls": 100}
    batch_id = batches.create(context.db, workspace_id, NewBatch.read(fields, now), now, rng)
    with tempfile.TemporaryFile() as file:
        numbers = (f"+1{201 + first}555{line:04}\n" for line in range(count))
        file.writelines(line.encode() for line in ("phone\n", *numbers))
        file.seek(0)
        contacts.import_csv(context.db, workspace_id, batch_id, file, now, rng)
    wait_until_ready(context, batch_id)
    batches.schedule(context, workspace_id, batch_id, wiring.clock())
    return batch_id


def refill(context: EngineContext) -> None:
    """The n-th end of a call frees the slot of the n-th start after the first hundred starts."""
    with context.db.begin() as connection:
        attempts = rows(connection, "SELECT placed_at, ended_at FROM attempts WHERE placed_at IS NOT NULL")
    starts = sorted(row.placed_at for row in attempts)[100:]
    ends = sorted(row.ended_at for row in attempts)[: len(starts)]
    delays = sorted((start - end).total_seconds() * 1000 for start, end in zip(starts, ends, strict=True))
    seconds = (starts[-1] - starts[0]).total_seconds()
    print(f"{len(delays)} slots refilled, {len(delays) / seconds:.1f} calls/s")
    print(f"delay from the end of a call to the next call in its slot: median {statistics.median(delays):.0f} ms, "
          f"p90 {delays[len(delays) * 90 // 100]:.0f} ms, p99 {delays[len(delays) * 99 // 100]:.0f} ms, "
          f"max {delays[-1]:.0f} ms")  # fmt: skip


def throughput(context: EngineContext) -> None:
    """Calls placed per second between the first and the last placement."""
    with context.db.begin() as connection:
        (row,) = rows(connection, "SELECT count(*) AS n, max(placed_at) - min(placed_at) AS took FROM attempts")
    print(f"{row.n} calls placed in {row.took.total_seconds():.1f} s: {row.n / row.took.total_seconds():.0f} calls/s")


def rate(context: EngineContext, calls_per_second: int) -> None:
    """The calls of one minute, which begins when the first ten seconds are over."""
    with context.db.begin() as connection:
        attempts = rows(connection, "SELECT sent_at FROM attempts WHERE sent_at IS NOT NULL ORDER BY sent_at")
    moments = [round((row.sent_at - attempts[0].sent_at).total_seconds() * 1_000_000) for row in attempts]
    minute = [moment for moment in moments if 10_000_000 <= moment < 70_000_000]
    used = len(minute) / 60 / calls_per_second
    print(
        f"{len(minute)} calls in a minute: {used:.3f} of the rate; {most_in_any_second(moments)} at most in any second"
    )


if __name__ == "__main__":
    sys.exit(main())
