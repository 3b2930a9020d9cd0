"""The time of one dispatch that claims 100 contacts, and of the settle of their 100 ends, by how many are stored.

Both run in this process, without a network. `…_sql_ms`: the part of it in which Postgres was waited for.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine as Connections
from sqlalchemy import event

from dialer import wiring
from dialer.bench import stored_contacts
from dialer.bench.engine import MAX_SLOTS, Ledger
from dialer.bench.figure import Figure, Row, Size, medians
from dialer.bench.servers import Bench
from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.rescue import rescue
from dialer.engine.settle import settle


@dataclass(frozen=True, slots=True)
class Work:
    """How many contacts are stored in the batch, in rising order."""

    stored: tuple[int, ...]
    repeats: int


WORK = {
    Size.QUICK: Work((1_000,), 2),
    Size.USUAL: Work((2_000, 10_000, 100_000, 1_000_000), 15),
    Size.FULL: Work((2_000, 10_000, 100_000, 1_000_000, 10_000_000), 15),
}


def claims(bench: Bench) -> Figure:
    """Claim from one batch that grows."""
    work, ledger, found = WORK[bench.size], bench.ledger(), []
    batch_id = ledger.add_batch(0)
    stored_contacts.store(ledger, batch_id, work.stored[0])
    ledger.start([batch_id])
    # Loads the empty Redis.
    rescue(ledger.context, wiring.clock(), wiring.chance())
    for stored in work.stored:
        stored_contacts.store(ledger, batch_id, stored - ledger.used)
        # The first one prepares statements.
        runs = [measure(ledger, batch_id) for _ in range(work.repeats + 1)][1:]
        found.append({"stored_contacts": stored, **medians(runs)})
    return Figure(found, ledger.violations())


def measure(ledger: Ledger, batch_id: BatchId) -> Row:
    """Claim 100 contacts, report that their calls have ended, and settle that."""
    with timed() as dispatched:
        report = dispatch(ledger.context, [batch_id], ledger.context.db.now(), wiring.chance())
    assert report.claimed == MAX_SLOTS, report
    report_ends(ledger)
    with timed() as settled:
        ended = settle(ledger.context, ledger.context.db.now()).ended
    assert ended == MAX_SLOTS
    names = ("dispatch", dispatched), ("settle", settled)
    return {f"{name}_{part}": milliseconds for name, taken in names for part, milliseconds in taken.items()}


def report_ends(ledger: Ledger) -> None:
    """Put an answered call's end into the inbox for each live attempt."""
    live = ledger.rows("SELECT id, trunk_id FROM attempts WHERE ended_at IS NULL")
    at, outcome = ledger.context.db.now(), Outcome.ANSWERED
    ends = [CallEvent.of(row.id, EventKind.ENDED, at, outcome=outcome, talk_seconds=1.0) for row in live]
    receive(ledger.context.db, live[0].trunk_id, ends)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measure the milliseconds of what runs inside, and those in which Postgres was waited for."""
    taken, began = {"ms": 0.0, "sql_ms": 0.0}, [0.0]

    def before(*_: Any) -> None:
        began[0] = time.perf_counter()

    def after(*_: Any) -> None:
        taken["sql_ms"] += 1000 * (time.perf_counter() - began[0])

    event.listen(Connections, "before_cursor_execute", before)
    event.listen(Connections, "after_cursor_execute", after)
    start = time.perf_counter()
    try:
        yield taken
    finally:
        taken["ms"] = 1000 * (time.perf_counter() - start)
        event.remove(Connections, "before_cursor_execute", before)
        event.remove(Connections, "after_cursor_execute", after)
