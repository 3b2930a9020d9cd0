"""Tick: finds the batches that are due, and whether reports or bulk changes wait. Never looks at contacts.

Its work grows with what is due, not with what exists. Safe to run twice at once: each batch is taken by one tick.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus
from dialer.engine import journal, quarantine
from dialer.engine.bisect import run_bisecting
from dialer.engine.context import EngineContext
from dialer.store import batches, bulk_changes, inbox, progress

DUE_LIMIT = 2_000
# A batch whose dispatch task is lost is due again after this.
AGAIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class TickReport:
    """`due`: batches for dispatch, longest due first. `has_reports`: reports wait for settle. `has_bulk_changes`: pages
    of contacts wait to be moved.
    """

    started: int
    due: tuple[BatchId, ...]
    has_reports: bool
    has_bulk_changes: bool = False


def tick(context: EngineContext, now: DateTime) -> TickReport:
    """Start the scheduled batches whose time has come, and hand over those that are due."""
    started = _start(context, now)
    with context.db.begin() as connection:
        due = progress.hand_over_due(connection, now, now.add(seconds=AGAIN_SECONDS), DUE_LIMIT)
        has_reports = not inbox.is_empty(connection)
        has_bulk_changes = bulk_changes.is_due(connection, now)
    return TickReport(started, tuple(due), has_reports, has_bulk_changes)


def _start(context: EngineContext, now: DateTime) -> int:
    """Start the batches whose scheduled time has come; one that cannot be started does not stop the others."""

    def start(batch_ids: Sequence[BatchId]) -> int:
        with context.db.begin() as connection:
            started = batches.start_scheduled(connection, batch_ids, now)
            quarantine.release_batches(connection, batch_ids)
        for batch_id in started:
            journal.batch(context.db, batch_id, BatchStatus.ACTIVE)
        return len(started)

    def on_failure(batch_id: BatchId, error: Exception) -> None:
        quarantine.note_batch(context, batch_id, error)

    with context.db.begin() as connection:
        due = batches.due_to_start(connection, now)
    return sum(run_bisecting(due, start, on_failure)) if due else 0
