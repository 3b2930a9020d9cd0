"""The journal: one line of the log, and one span where traces are sent, for each change of an attempt or a batch.

Called after the commit of the change. A crash in between loses lines; the ledger has every change.
"""

from collections.abc import Iterable

import structlog

from dialer.domain.ids import BatchId
from dialer.domain.states import AttemptState, BatchStatus
from dialer.engine.departure import ClaimedCall
from dialer.engine.moves import Move
from dialer.store.attempts import ChangedAttempt
from dialer.store.database import Database
from dialer.store.inbox import ReceivedReport, ReportVerdict

# What a batch that was deleted has in place of a status.
DELETED = "deleted"

log = structlog.get_logger()


def reserved(claimed: Iterable[ClaimedCall]) -> None:
    """Log the attempts that a claim has made. Numbers are masked where lines are written."""
    for call in claimed:
        number = call.grant.number
        log.info(
            "attempt changed",
            attempt_id=str(call.attempt.id),
            state="reserved",
            batch_id=str(call.batch.id),
            contact_id=str(call.attempt.contact_id),
            trunk_id=str(number.trunk.id),
            to_number=call.attempt.to_number,
            from_number=number.phone_number,
        )


def answered(state: AttemptState, changed: Iterable[ChangedAttempt]) -> None:
    """Log the attempts that a network's answer to their placement, or to rescue, has moved: `placed` or `unclear`."""
    for row in changed:
        log.info(
            "attempt changed",
            attempt_id=str(row.id),
            state=state.value,
            batch_id=str(row.batch_id),
            contact_id=str(row.contact_id),
            trunk_id=str(row.trunk_id),
            provider_call_id=row.provider_call_id,
            cause=row.cause,
        )


def moved(moves: Iterable[Move]) -> None:
    """Log the attempts that reports, refusals or rescue have moved."""
    for move in moves:
        attempt, call = move.attempt, move.progress
        log.info(
            "attempt changed",
            attempt_id=str(attempt.id),
            state=call.state.value,
            batch_id=str(attempt.batch_id),
            contact_id=str(attempt.contact_id),
            trunk_id=str(attempt.trunk_id),
            outcome=call.outcome,
            cause=call.cause,
            talk_seconds=call.talk_seconds,
        )


def settled(reports: Iterable[ReceivedReport], verdicts: Iterable[ReportVerdict]) -> None:
    """Log what became of each report, for whoever debugs a network."""
    verdict_of = {verdict.id: verdict.verdict for verdict in verdicts}
    for report in reports:
        log.debug(
            "report settled",
            attempt_id=str(report.event.attempt_id),
            trunk_id=str(report.trunk_id),
            report_id=report.id,
            kind=report.event.kind.value,
            verdict=verdict_of.get(report.id),
        )


def batch(db: Database, batch_id: BatchId, status: BatchStatus | str, reason: str | None = None) -> None:
    """Log that a batch was created, has another status, or was deleted: from where, and by which key."""
    log.info(
        "batch changed",
        batch_id=str(batch_id),
        status=str(status),
        reason=reason,
        source=db.origin.source.value,
        key_id=str(db.origin.key_id) if db.origin.key_id else None,
    )


def batch_settings(db: Database, batch_id: BatchId, fields: Iterable[str]) -> None:
    """Log which settings of a batch were changed: from where, and by which key."""
    log.info(
        "batch settings changed",
        batch_id=str(batch_id),
        fields=sorted(fields),
        source=db.origin.source.value,
        key_id=str(db.origin.key_id) if db.origin.key_id else None,
    )
