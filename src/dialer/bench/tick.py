"""The time of one tick, with many active batches of which none, one in a hundred or all are due."""

import time
from dataclasses import dataclass
from statistics import median

from dialer import wiring
from dialer.bench.engine import Ledger
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import Bench
from dialer.engine.tick import tick


@dataclass(frozen=True, slots=True)
class Work:
    """The numbers of active batches, in rising order."""

    active: tuple[int, ...]
    repeats: int


WORK = {
    Size.QUICK: Work((100,), 3),
    Size.USUAL: Work((100, 1_000, 10_000, 100_000), 15),
    Size.FULL: Work((100, 1_000, 10_000, 100_000), 50),
}


def ticks(bench: Bench) -> Figure:
    """Add batches to one ledger, and tick in this process."""
    work, ledger, found, present = WORK[bench.size], bench.ledger(), [], 0
    for active in work.active:
        add_idle(ledger, active - present)
        present = active
        found += [measure(ledger, active, due, work.repeats) for due in (0, active // 100, active)]
    return Figure(found, ledger.violations())


def add_idle(ledger: Ledger, count: int) -> None:
    """Add active batches that are due tomorrow."""
    ledger.run(
        """
        INSERT INTO batches (id, workspace_id, agent_id, name)
        SELECT gen_random_uuid(), :workspace, :agent, 'idle' FROM generate_series(1, :count)
        """,
        workspace=ledger.workspace_id,
        agent=ledger.agent_id,
        count=count,
    )
    ledger.run("UPDATE batches SET status = 'active' WHERE status = 'draft'")
    ledger.run("UPDATE batch_progress SET next_dispatch_at = dialer_now() + interval '1 day'")
    ledger.vacuum("batches", "batch_progress")


def measure(ledger: Ledger, active: int, due: int, repeats: int) -> Row:
    """Tick several times, and make the batches that a tick has taken due again in between."""
    taken = []
    for _ in range(repeats):
        make_due(ledger, due)
        now, began = wiring.clock(), time.perf_counter()
        report = tick(ledger.context, now)
        taken.append(1000 * (time.perf_counter() - began))
        assert min(due, 1) <= len(report.due) <= due
    make_due(ledger, 0)
    return {"active_batches": active, "due": due, "tick_ms": median(taken), "longest_ms": max(taken)}


def make_due(ledger: Ledger, count: int) -> None:
    """Make so many batches due, and the others due tomorrow; rows that are so already are not written."""
    ledger.run(
        """
        UPDATE batch_progress p SET next_dispatch_at = wanted.at FROM (
            SELECT batch_id, dialer_now() + CASE WHEN row_number() OVER (ORDER BY batch_id) <= :count
                             THEN interval '-1 second' ELSE interval '1 day' END AS at FROM batch_progress
            ) AS wanted
        WHERE p.batch_id = wanted.batch_id
          AND CASE WHEN wanted.at < dialer_now() THEN p.next_dispatch_at >= dialer_now()
                   ELSE p.next_dispatch_at < dialer_now() + interval '1 hour' END
        """,
        count=count,
    )
