"""Retention: archives the attempts of batches that ended long ago; removes old reports, webhook messages and
idempotency responses.

Contacts and their outcomes stay with their batch. A batch that is not over is never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pendulum import DateTime

from dialer.engine.context import EngineContext
from dialer.store import archive, idempotency, quarantine, webhook_deliveries
from dialer.store.database import Connection

PAGE = 10_000
# How long the response to an idempotency key is kept: a day is promised, and a client may be late.
ANSWER_HOURS = 48
# How long webhook messages are kept that were delivered or given up.
WEBHOOK_DAYS = 7


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """How many batches and attempts were archived; how many reports and responses (`answers`) were removed."""

    batches: int
    attempts: int
    reports: int
    answers: int


def retention(context: EngineContext, now: DateTime, days: int, webhook_days: int = WEBHOOK_DAYS) -> RetentionReport:
    """Archive batches that have been over for `days`, page by page. A crash leaves the rest to the next run.

    `webhook_days`: how long webhook messages are kept after their end.
    """
    before = now.subtract(days=days)
    with context.db.begin() as connection:
        marked = archive.mark_batches(connection, before, now)
    moved = _in_pages(context, lambda connection: archive.move_attempts(connection, PAGE))
    removed = _in_pages(context, lambda connection: archive.remove_reports(connection, before, PAGE))
    _in_pages(context, lambda connection: quarantine.remove_reports(connection, before, PAGE))
    sent_before = now.subtract(days=webhook_days)
    _in_pages(context, lambda connection: webhook_deliveries.remove_finished(connection, sent_before, PAGE))
    _in_pages(context, lambda connection: webhook_deliveries.remove_orphans(connection, PAGE))
    answered_before = now.subtract(hours=ANSWER_HOURS)
    answers = _in_pages(context, lambda connection: idempotency.remove(connection, answered_before, PAGE))
    return RetentionReport(marked, moved, removed, answers)


def _in_pages(context: EngineContext, page: Callable[[Connection], int]) -> int:
    done = 0
    while True:
        with context.db.begin() as connection:
            changed = page(connection)
        done += changed
        if changed < PAGE:
            return done
