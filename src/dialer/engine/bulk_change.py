"""Bulk change: ends the contacts of batches that are over or have expired, removes what is left of deleted batches, and
skips the contacts of suppressed numbers.

The change itself was acknowledged before: nobody whom it concerns is called any more (P4). Each page is a transaction
and takes what is not done yet, so that a crash in it, or after it, leaves the rest to the next page (P5). Batches take
turns, and so do suppressions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.batch import BatchCounts
from dialer.domain.bulk_change import end_of_open_contacts
from dialer.domain.ids import BatchId
from dialer.engine import quarantine
from dialer.engine.bisect import run_bisecting
from dialer.engine.context import EngineContext
from dialer.store import bulk_changes, deleted_batches, progress, suppressed_numbers
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
    """Do a page of the batch, and one of the suppressed numbers, that have waited longest.

    Safe to run twice, also at once.
    """

    def change(batch_ids: Sequence[BatchId]) -> int:
        return sum(_change_page(context, batch_id, now, page) for batch_id in batch_ids)

    def note(batch_id: BatchId, error: Exception) -> None:
        quarantine.note_batch(context, batch_id, error)

    def skip(row_ids: Sequence[int]) -> int:
        return sum(_skip_page(context, row_id, now, page) for row_id in row_ids)

    again_at = now.add(seconds=AGAIN_SECONDS)
    with context.db.begin() as connection:
        batch_id = bulk_changes.take_due(connection, now, again_at)
        row_id = suppressed_numbers.take_due(connection, now, again_at)
    changed = run_bisecting([batch_id], change, note) if batch_id else []
    # One that fails is in the log, and due again; its numbers are not called meanwhile.
    changed += run_bisecting([row_id], skip, lambda *_: None) if row_id else []
    return BulkChangeReport(sum(changed), goes_on=bool(batch_id or row_id))


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


def _skip_page(context: EngineContext, row_id: int, now: DateTime, page: int) -> int:
    """Skip contacts of suppressed numbers; return how many. Where some are locked, the row is due again later."""
    with context.db.begin() as connection:
        wait_shortly(connection)
        batch_ids = suppressed_numbers.next_batches(connection, row_id)
        found = suppressed_numbers.open_contacts(connection, row_id, batch_ids, page)
        progress.lock_progress(connection, found.values())
        skipped = suppressed_numbers.skip(connection, found)
        if skipped and len(found) == page:
            suppressed_numbers.go_on(connection, row_id, now)
        elif skipped == len(found):
            suppressed_numbers.finish_batches(connection, row_id, now, batch_ids)
        _complete(connection, sorted(set(found.values())), now)
    return skipped


def _complete(connection: Connection, batch_ids: Sequence[BatchId], now: DateTime) -> None:
    """Make those of these batches due of which no contact is left, so that dispatch completes them."""
    counts = progress.open_counts(connection, batch_ids)
    progress.wake(connection, [batch_id for batch_id, left in counts.items() if left == BatchCounts(0, 0, 0)], now)
