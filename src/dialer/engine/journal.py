"""The journal: one line of the log, and one span where traces are sent, for each change of an attempt or a batch.

Called after the commit of the change. A crash in between loses lines; the ledger has every change.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.states import AttemptState, BatchStatus
from dialer.engine.departure import ClaimedCall
from dialer.engine.moves import Move
from dialer.store.attempts import ChangedAttempt
from dialer.store.database import Database
from dialer.store.inbox import ReceivedReport, ReportVerdict

# What a batch that was deleted has in place of a status.
DELETED = "deleted"

log = structlog.get_logger()


class SendSpan(Protocol):
    """Sends a span of the trace of an attempt or a batch; see `tracing.Tracing.span`."""

    def __call__(
        self,
        trace: UUID,
        name: str,
        began_at: DateTime | None,
        ended_at: DateTime | None,
        attributes: Mapping[str, Any],
        *,
        is_first: bool = False,
        linked: Sequence[UUID] = (),
    ) -> None: ...


_span: SendSpan | None = None


def send_spans(send: SendSpan | None) -> None:
    """Send spans from now on, or (None) no more. As with the log, there is one receiver for a process."""
    global _span
    _span = send


def reserved(claimed: Iterable[ClaimedCall], began_at: DateTime, ended_at: DateTime) -> None:
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
        if _span:
            _span(call.attempt.id, "claim", began_at, ended_at, {"trunk_id": str(number.trunk.id)})


def asked(name: str, attempt_ids: Mapping[AttemptId, str], began_at: DateTime, ended_at: DateTime) -> None:
    """Send the spans of a permit, or of the requests to a network, with the answer to each attempt."""
    if _span:
        for attempt_id, answer in attempt_ids.items():
            _span(attempt_id, name, began_at, ended_at, {"answer": answer})


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


def moved(moves: Iterable[Move], began_at: DateTime, ended_at: DateTime) -> None:
    """Log the attempts that reports, refusals or rescue have moved, and finish the traces of those that are over."""
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
        if _span:
            _span(attempt.id, "settle", began_at, ended_at, {"state": call.state.value})
            if move.is_over:
                _finish_trace(_span, move, ended_at)


def _finish_trace(span: SendSpan, move: Move, now: DateTime) -> None:
    attempt, call = move.attempt, move.progress
    facts = {
        "batch_id": str(attempt.batch_id),
        "contact_id": str(attempt.contact_id),
        "trunk_id": str(attempt.trunk_id),
        "state": call.state.value,
        "outcome": call.outcome,
        "cause": call.cause,
        "talk_seconds": call.talk_seconds,
    }
    span(attempt.id, "attempt", attempt.created_at, now, facts, is_first=True, linked=[attempt.batch_id])


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


def received(events: Iterable[CallEvent], began_at: DateTime, ended_at: DateTime) -> None:
    """Log the reports that were stored in the inbox, for whoever debugs a network, and send their spans."""
    for event in events:
        log.debug("report stored", attempt_id=str(event.attempt_id), kind=event.kind.value)
        if _span:
            _span(event.attempt_id, f"report {event.kind}", began_at, ended_at, {"reported_at": str(event.at)})


def batch(db: Database, batch_id: BatchId, status: BatchStatus | str, reason: str | None = None) -> None:
    """Log that a batch was created, has another status, or was deleted: from where, and by which key."""
    source, key_id = db.origin.source.value, str(db.origin.key_id) if db.origin.key_id else None
    log.info("batch changed", batch_id=str(batch_id), status=str(status), reason=reason, source=source, key_id=key_id)
    if _span:
        facts = {"source": source, "key_id": key_id, "reason": reason}
        _span(batch_id, f"batch {status}", None, None, facts, is_first=status is BatchStatus.DRAFT)


def batch_settings(db: Database, batch_id: BatchId, fields: Iterable[str]) -> None:
    """Log which settings of a batch were changed: from where, and by which key."""
    log.info(
        "batch settings changed",
        batch_id=str(batch_id),
        fields=sorted(fields),
        source=db.origin.source.value,
        key_id=str(db.origin.key_id) if db.origin.key_id else None,
    )
