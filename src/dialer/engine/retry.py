"""Retry: contacts that wait for another attempt become pending when their time has come. Due times live in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.engine.bisect import apart, passing_locks
from dialer.engine.context import EngineContext
from dialer.store import contacts, progress, quarantine
from dialer.store.database import wait_shortly

PAGE = 5_000


@dataclass(frozen=True, slots=True)
class RetryReport:
    requeued: int
    batches: tuple[BatchId, ...]


def retry(context: EngineContext, now: DateTime, page: int = PAGE) -> RetryReport:
    """Requeue a page of the contacts that are due, most overdue first, and wake their batches.

    A batch whose contacts cannot be requeued, or that is locked by someone else, does not keep those of others from it.
    """
    passed_over: set[BatchId] = set()
    while True:
        with context.db.begin() as connection:
            due = contacts.batches_to_requeue(connection, now, page, passed_over)
        if not due:
            return RetryReport(0, ())
        requeued = _requeue(context, due, now)
        done = {batch_id for some in requeued for batch_id in some.batches}
        # Contacts of those that are passed over must not fill every page.
        passed_over |= set(due) - done
        if done:
            return RetryReport(sum(some.requeued for some in requeued), tuple(of for of in due if of in done))


def _requeue(context: EngineContext, due: Sequence[BatchId], now: DateTime) -> list[RetryReport]:
    def requeue(some: Sequence[BatchId], skip_locked: bool) -> RetryReport:
        with context.db.begin() as connection:
            wait_shortly(connection)
            free = sorted(progress.lock_progress(connection, some, skip_locked=skip_locked))
            requeued = contacts.requeue_waiting(connection, free, now, PAGE)
            progress.wake(connection, free, now)
            quarantine.forget(connection, "batch", free)
            return RetryReport(requeued, tuple(free))

    def pass_over(batch_id: BatchId, error: Exception) -> None:
        with context.db.begin() as connection:
            quarantine.note(connection, "batch", batch_id, error)

    return apart(due, lambda some: passing_locks(lambda skip_locked: requeue(some, skip_locked)), pass_over)
