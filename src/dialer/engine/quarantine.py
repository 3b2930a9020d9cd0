"""Quarantine: what happens to a report, an attempt or a batch that cannot be processed.

    report that cannot be settled   waits, longer each time; once only its own data can be to blame, it is quarantined
    report that cannot be stored    is refused, so that its network sends it again; then kept here, and accepted
    attempt that cannot be closed   is noted; rescue tries it again
    batch that cannot be processed  is noted, and tried again after a minute

When only the row itself can be to blame is decided in `domain.quarantine`. Nothing here raises because of the row, so
that it cannot stop the others (P5).
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import structlog
from pendulum import DateTime

from dialer.domain.batch import NextDispatch
from dialer.domain.call import CallEvent
from dialer.domain.call_progress import Verdict
from dialer.domain.ids import AttemptId, BatchId, TrunkId
from dialer.engine.context import EngineContext
from dialer.store import inbox, progress, quarantine
from dialer.store.database import Connection, Database
from dialer.store.inbox import ReportVerdict

# What holds a batch back that could not be dispatched.
ERROR = "error"
PAGE = 200

log = structlog.get_logger()


def put_off_reports(
    context: EngineContext, errors: Mapping[int, Exception], locked: Sequence[int], now: DateTime
) -> None:
    """Let reports wait that failed or whose rows are locked; quarantine those whose own data alone can be to blame."""
    with context.db.begin() as connection:
        inbox.put_off(connection, locked)
        faults = {report_id: quarantine.fault_of(error) for report_id, error in errors.items()}
        failed = inbox.note_failures(connection, faults)
        to_blame = inbox.judge(connection, failed)
        verdicts = [ReportVerdict(report.id, Verdict.QUARANTINED) for report in to_blame]
        inbox.mark_settled(connection, verdicts, now)
        quarantine.keep_settled(connection, [report.id for report in to_blame])
    for kind, count in Counter(report.fault.kind for report in failed).items():
        log.error("reports cannot be settled yet", count=count, kind=kind)
    for report in to_blame:
        log.error(
            "report in quarantine",
            report_id=report.id,
            attempt_id=str(report.attempt_id),
            reason=report.fault.error,
        )


def keep_unstorable(db: Database, trunk_id: TrunkId, event: CallEvent, error: Exception) -> bool:
    """Count that a report could not be stored; True: it is kept in quarantine and counts as received."""
    with db.begin() as connection:
        return quarantine.count_refused(connection, trunk_id, event, error)


def reopen_left_behind(context: EngineContext) -> None:
    """Have reports settled that a worker of the previous release closed when they failed."""
    with context.db.begin() as connection:
        ids = inbox.left_behind(connection, PAGE)
        if ids:
            inbox.reopen(connection, ids)
            quarantine.forget(connection, "report", ids)
            log.info("reports of the previous release are settled after all", count=len(ids))


def note_attempt(context: EngineContext, attempt_id: AttemptId, error: Exception) -> None:
    """Note an attempt that could not be closed. Rescue comes back to it."""
    with context.db.begin() as connection:
        quarantine.note(connection, "attempt", attempt_id, error, attempt_id)


def release_attempts(connection: Connection, attempt_ids: Sequence[AttemptId]) -> None:
    """Remove attempts that could be closed after all."""
    quarantine.forget(connection, "attempt", attempt_ids)


def note_batch(context: EngineContext, batch_id: BatchId, error: Exception) -> None:
    """Note a batch that could not be started or whose retries could not be requeued. It is tried after a minute."""
    with context.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, error)


def hold_batch(context: EngineContext, batch_id: BatchId, error: Exception, now: DateTime) -> None:
    """Note a batch that could not be dispatched, and dispatch it again after a minute."""
    with context.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, error)
        if progress.lock_progress(connection, [batch_id], skip_locked=True):
            again_at = now.add(seconds=quarantine.AGAIN_SECONDS)
            progress.write_next_dispatches(connection, [NextDispatch(batch_id, again_at, ERROR)])


def release_batches(connection: Connection, batch_ids: Sequence[BatchId]) -> None:
    """Remove batches that could be processed after all."""
    quarantine.forget(connection, "batch", batch_ids)
