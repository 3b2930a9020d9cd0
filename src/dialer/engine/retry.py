"""Retry: contacts that wait for another attempt become pending when their time has come. Due times live in Postgres."""

from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.engine.parts import Parts
from dialer.store import contacts, progress

PAGE = 5_000


@dataclass(frozen=True, slots=True)
class RetryReport:
    requeued: int
    batches: tuple[BatchId, ...]


def retry(parts: Parts, now: DateTime) -> RetryReport:
    """Requeue a page of the contacts that are due, most overdue first, and wake their batches."""
    with parts.db.begin() as connection:
        due = contacts.batches_to_requeue(connection, now, PAGE)
        if not due:
            return RetryReport(0, ())
        progress.lock_progress(connection, due)
        requeued = contacts.requeue_waiting(connection, due, now, PAGE)
        progress.wake(connection, due, now)
    return RetryReport(requeued, tuple(due))
