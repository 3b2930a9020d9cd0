"""Retention: archives the attempts of batches that ended long ago; removes old reports, webhook messages and
idempotency responses, and the batches that their workspaces do not keep.

Contacts and their outcomes stay with their batch. A batch that is not over is never touched, nor is a suppression.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pendulum import DateTime

from dialer.engine.context import EngineContext
from dialer.store import archive, idempotency, quarantine, webhook_deliveries
from dialer.store.database import Connection

PAGE = 10_000
# Deleting a batch locks it, and its contacts are removed by bulk changes, a batch after the other.
BATCHES_PAGE = 100
# How long the response to an idempotency key is kept: a day is promised, and a client may be late.
ANSWER_HOURS = 48
# How long webhook messages are kept that were delivered or given up.
WEBHOOK_DAYS = 7


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """How many batches and attempts were archived; how many reports and responses (`answers`) were removed, and batches
    deleted.
    """

    batches: int
    attempts: int
    reports: int
    answers: int
    deleted: int


def retention(
    context: EngineContext,
    now: DateTime,
    days: int,
    webhook_days: int = WEBHOOK_DAYS,
    batches_days: int | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> RetentionReport:
    """Archive batches that have been over for `days`, page by page. A crash leaves the rest to the next run.

    `webhook_days`: how long webhook messages are kept after their end. `batches_days`: how long batches are kept after
    theirs, with their contacts and calls, if their workspace says nothing; None: for ever. `is_stopped`: after a page,
    whether to leave the rest to the next run.
    """
    in_pages = partial(_in_pages, context, is_stopped)
    before = now.subtract(days=days)
    with context.db.begin() as connection:
        marked = archive.mark_batches(connection, before, now)
    moved = in_pages(lambda connection: archive.move_attempts(connection, PAGE))
    removed = in_pages(lambda connection: archive.remove_reports(connection, before, PAGE))
    in_pages(lambda connection: quarantine.remove_reports(connection, before, PAGE))
    sent_before = now.subtract(days=webhook_days)
    in_pages(lambda connection: webhook_deliveries.remove_finished(connection, sent_before, PAGE))
    in_pages(lambda connection: webhook_deliveries.remove_orphans(connection, PAGE))
    answered_before = now.subtract(hours=ANSWER_HOURS)
    answers = in_pages(lambda connection: idempotency.remove(connection, answered_before, PAGE))
    deleted = in_pages(
        lambda connection: archive.delete_batches(connection, now, batches_days, BATCHES_PAGE), BATCHES_PAGE
    )
    return RetentionReport(marked, moved, removed, answers, deleted)


def _in_pages(
    context: EngineContext, is_stopped: Callable[[], bool], page: Callable[[Connection], int], size: int = PAGE
) -> int:
    done = 0
    while not is_stopped():
        with context.db.begin() as connection:
            changed = page(connection)
        done += changed
        if changed < size:
            break
    return done
