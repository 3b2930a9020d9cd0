"""Retry: contacts that wait for another attempt become pending when their time has come. Due times live in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.engine.apart import apart
from dialer.engine.parts import Parts
from dialer.store import contacts, progress, set_aside

PAGE = 5_000


@dataclass(frozen=True, slots=True)
class RetryReport:
    requeued: int
    batches: tuple[BatchId, ...]


def retry(parts: Parts, now: DateTime) -> RetryReport:
    """Requeue a page of the contacts that are due, most overdue first, and wake their batches.

    A batch whose contacts cannot be requeued does not keep those of others from it.
    """

    def requeue(some: Sequence[BatchId]) -> int:
        with parts.db.begin() as connection:
            progress.lock_progress(connection, some)
            requeued = contacts.requeue_waiting(connection, some, now, PAGE)
            progress.wake(connection, some, now)
        return requeued

    def pass_over(batch_id: BatchId, error: Exception) -> None:
        with parts.db.begin() as connection:
            set_aside.note(connection, "batch", batch_id, error)

    with parts.db.begin() as connection:
        due = contacts.batches_to_requeue(connection, now, PAGE)
    return RetryReport(sum(apart(due, requeue, pass_over)), tuple(due)) if due else RetryReport(0, ())
