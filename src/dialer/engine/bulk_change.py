"""Bulk change: ends the contacts of batches that are over or have expired, and removes what is left of deleted batches.

The change itself was acknowledged before: its batch is not called any more (P4). Each page is a transaction and takes
what is not done yet, so that a crash in it, or after it, leaves the rest to the next page (P5). Batches take turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.bulk_change import end_of_open_contacts
from dialer.domain.ids import BatchId
from dialer.engine import quarantine
from dialer.engine.bisect import run_bisecting
from dialer.engine.context import EngineContext
from dialer.store import bulk_changes, deleted_batches, progress
from dialer.store.database import Connection, wait_shortly

# Some 100 ms of a worker, and of a lock on the counts of the batch.
PAGE = 2_000
# When a page is tried again whose worker died, or whose rows another session has locked.
AGAIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class BulkChangeReport:
    """How many contacts were ended, or rows removed. `goes_on`: other pages may be due."""

    changed: int
    goes_on: bool


def bulk_change(context: EngineContext, now: DateTime, page: int = PAGE) -> BulkChangeReport:
    """Do a page of the bulk change that has waited longest. Safe to run twice, also at once."""

    def change(batch_ids: Sequence[BatchId]) -> int:
        return sum(_change_page(context, batch_id, now, page) for batch_id in batch_ids)

    def on_failure(batch_id: BatchId, error: Exception) -> None:
        quarantine.note_batch(context, batch_id, error)

    with context.db.begin() as connection:
        batch_id = bulk_changes.take_due(connection, now, now.add(seconds=AGAIN_SECONDS))
    if batch_id is None:
        return BulkChangeReport(0, goes_on=False)
    return BulkChangeReport(sum(run_bisecting([batch_id], change, on_failure)), goes_on=True)


def _change_page(context: EngineContext, batch_id: BatchId, now: DateTime, page: int) -> int:
    with context.db.begin() as connection:
        wait_shortly(connection)
        progress.lock_progress(connection, [batch_id])
        changed, is_done = _change(connection, batch_id, page)
        if is_done:
            bulk_changes.finish(connection, batch_id)
            # An expired batch is completed by dispatch, now that no contact is left.
            progress.wake(connection, [batch_id], now)
        elif changed:
            bulk_changes.go_on(connection, batch_id, now)
        quarantine.release_batches(connection, [batch_id])
    return changed


def _change(connection: Connection, batch_id: BatchId, page: int) -> tuple[int, bool]:
    """Return how many rows were changed, and whether none is left to be changed."""
    batch = bulk_changes.read(connection, batch_id)
    if batch is None:
        deleted_batches.forget_earlier_days(connection)
        removed = deleted_batches.remove_page(connection, batch_id, page)
        return removed, removed == 0
    end = end_of_open_contacts(batch.status, is_expired=batch.is_expired)
    if end is None:
        return 0, True
    changed = bulk_changes.end_contacts(connection, batch_id, end, page)
    return changed, changed == batch.open
