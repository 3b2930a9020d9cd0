"""Tick: find the batches that are due, in proportion to what is due and not to what exists. Never looks at contacts.

Safe to run twice at once: what one tick has taken, the other passes over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.engine.bisect import apart
from dialer.engine.context import EngineContext
from dialer.store import batches, inbox, progress, quarantine

DUE_LIMIT = 2_000
# A batch that was handed over and lost on the way is due again after this.
AGAIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class TickReport:
    """`due`: batches for dispatch, longest due first. `has_reports`: the inbox waits for settle."""

    started: int
    due: tuple[BatchId, ...]
    has_reports: bool


def tick(context: EngineContext, now: DateTime) -> TickReport:
    """Start the scheduled batches whose time has come and hand over what is due."""
    started = _start(context, now)
    with context.db.begin() as connection:
        due = progress.hand_over_due(connection, now, now.add(seconds=AGAIN_SECONDS), DUE_LIMIT)
        has_reports = not inbox.is_empty(connection)
    return TickReport(started, tuple(due), has_reports)


def _start(context: EngineContext, now: DateTime) -> int:
    """Start what is scheduled; a batch that cannot be started does not keep the others from it."""

    def start(some: Sequence[BatchId]) -> int:
        with context.db.begin() as connection:
            started = batches.start_scheduled(connection, some, now)
            quarantine.forget(connection, "batch", some)
            return started

    def pass_over(batch_id: BatchId, error: Exception) -> None:
        with context.db.begin() as connection:
            quarantine.note(connection, "batch", batch_id, error)

    with context.db.begin() as connection:
        due = batches.due_to_start(connection, now)
    return sum(apart(due, start, pass_over)) if due else 0
