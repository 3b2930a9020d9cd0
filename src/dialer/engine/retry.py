"""Retry: contacts that wait for another attempt become pending at their due time, which is stored in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.engine import quarantine
from dialer.engine.bisect import run_bisecting
from dialer.engine.context import EngineContext
from dialer.engine.locked_rows import retry_skipping_locked
from dialer.store import contacts, progress
from dialer.store.database import wait_shortly

PAGE = 5_000


@dataclass(frozen=True, slots=True)
class RetryReport:
    """How many contacts became pending, and the batches for dispatch."""

    requeued: int
    batches: tuple[BatchId, ...]


def retry(context: EngineContext, now: DateTime, page: int = PAGE) -> RetryReport:
    """Requeue a page of the contacts that are due, most overdue first, and wake their batches.

    A batch whose contacts cannot be requeued, or that another session has locked, does not stop the others.
    """
    passed_over: set[BatchId] = set()
    while True:
        with context.db.begin() as connection:
            due = contacts.batches_to_requeue(connection, now, page, passed_over)
        if not due:
            return RetryReport(0, ())
        reports = _requeue(context, due, now)
        done = {batch_id for report in reports for batch_id in report.batches}
        # The contacts of batches that are passed over must not fill every page (P6).
        passed_over |= set(due) - done
        if done:
            requeued = sum(report.requeued for report in reports)
            return RetryReport(requeued, tuple(batch_id for batch_id in due if batch_id in done))


def _requeue(context: EngineContext, due: Sequence[BatchId], now: DateTime) -> list[RetryReport]:
    def requeue(batch_ids: Sequence[BatchId]) -> RetryReport:
        return retry_skipping_locked(_requeue_batches, context, batch_ids, now)

    def on_failure(batch_id: BatchId, error: Exception) -> None:
        quarantine.note_batch(context, batch_id, error)

    return run_bisecting(due, requeue, on_failure)


def _requeue_batches(
    skip_locked: bool, context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime
) -> RetryReport:
    with context.db.begin() as connection:
        wait_shortly(connection)
        free = sorted(progress.lock_progress(connection, batch_ids, skip_locked=skip_locked))
        requeued = contacts.requeue_waiting(connection, free, now, PAGE)
        progress.wake(connection, free, now)
        quarantine.release_batches(connection, free)
        return RetryReport(requeued, tuple(free))
