"""Settle: reports move attempts forward, attempts that are over move their contacts on, freed slots go to dispatch.

Reports that are late, repeated or reordered change nothing. Where an attempt ends without a report (refused by the
network, given up by rescue), it is closed here too, so that there is one way in which a call is over.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import structlog
from pendulum import DateTime

from dialer.domain.attempt import Attempt
from dialer.domain.call import CallEvent
from dialer.domain.call_progress import Verdict, follow
from dialer.domain.ids import AttemptId, BatchId, TrunkId
from dialer.engine import callbacks, journal, quarantine
from dialer.engine.bisect import run_bisecting
from dialer.engine.context import EngineContext
from dialer.engine.locked_rows import retry_skipping_locked
from dialer.engine.moves import AttemptEnd as AttemptEnd
from dialer.engine.moves import Move, WrittenMoves, release_leases, write_moves
from dialer.engine.trunk_breaker import note_calls
from dialer.errors import Unavailable
from dialer.store import attempts, inbox
from dialer.store.database import Connection, wait_shortly
from dialer.store.inbox import ReceivedReport, ReportVerdict

PAGE = 500

# What moves an attempt without a report: an end, or the events that its network answers when it is asked.
Change = AttemptEnd | Sequence[CallEvent]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SettleReport:
    """`freed`: batches for dispatch, those whose slots were freed and those that wait for room on the same trunks.

    `outcomes`: how the attempts ended. `oldest_at`: when the first of the reports came in. `talks`: how long the
    answered calls lasted, in seconds. `persons_wait`: contacts whose person was in one of these calls wait for retry.
    """

    reports: int
    ended: int
    freed: tuple[BatchId, ...]
    outcomes: Mapping[str, int] = field(default_factory=dict)
    oldest_at: DateTime | None = None
    talks: tuple[float, ...] = ()
    persons_wait: bool = False

    @property
    def is_full(self) -> bool:
        """Say whether there may be more to settle."""
        return self.reports == PAGE


@dataclass(frozen=True, slots=True)
class Closed:
    """Attempts that are over without a report: how many, the batches for dispatch, and how the attempts ended."""

    ended: int
    freed: tuple[BatchId, ...]
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettledPage:
    """The reports that one transaction has taken, and what it has written."""

    reports: Sequence[ReceivedReport] = ()
    verdicts: Sequence[ReportVerdict] = ()
    written: WrittenMoves = field(default_factory=WrittenMoves)


@dataclass(frozen=True, slots=True)
class LockedAttempts:
    """`known`: attempts whose rows are locked now. `held`: those that exist and another session has locked."""

    known: Mapping[AttemptId, Attempt]
    held: Set[AttemptId]


@dataclass(frozen=True, slots=True)
class Followed:
    """What reports do: the attempts that they move, and what becomes of each report.

    `details`: reports with something that is stored beside the state: what agents report after the end of a call, and
    outcomes that are reported before it.
    """

    moves: Sequence[Move]
    verdicts: Sequence[ReportVerdict]
    details: Sequence[CallEvent]


def settle(context: EngineContext, now: DateTime) -> SettleReport:
    """Drain one page of the inbox. Several may run at once; a crash leaves the page to the next.

    A report that cannot be settled waits, longer each time, and so does one whose batch is locked by another session;
    the others are settled. Where only its own data can be to blame, it is quarantined, and rescue asks the network.
    """
    try:
        return _settle(context, None, now)
    except Unavailable:
        raise
    except Exception:
        log.exception("a page of reports cannot be settled as a whole")
    with context.db.begin() as connection:
        ids = inbox.due(connection, PAGE)
    errors: dict[int, Exception] = {}
    locked: list[int] = []

    def settle_part(report_ids: Sequence[int]) -> SettleReport:
        return _settle(context, report_ids, now)

    def on_failure(report_id: int, error: Exception) -> None:
        errors[report_id] = error

    reports = run_bisecting(ids, settle_part, on_failure, locked.append)
    quarantine.put_off_reports(context, errors, locked, now)
    return _merged(reports, len(errors) + len(locked))


def _merged(reports: Sequence[SettleReport], passed_over: int) -> SettleReport:
    return SettleReport(
        sum(report.reports for report in reports) + passed_over,
        sum(report.ended for report in reports),
        tuple(dict.fromkeys(batch_id for report in reports for batch_id in report.freed)),
        sum((Counter(report.outcomes) for report in reports), Counter[str]()),
        min((report.oldest_at for report in reports if report.oldest_at), default=None),
        tuple(talk for report in reports for talk in report.talks),
        any(report.persons_wait for report in reports),
    )


def _settle(context: EngineContext, report_ids: Sequence[int] | None, now: DateTime) -> SettleReport:
    """Settle these reports, or a page of those that are due. Those with rows that stay locked are put off."""
    began_at = context.clock()
    page = retry_skipping_locked(_settle_page, context, report_ids, now)
    if not page.reports:
        return SettleReport(0, 0, ())
    written = page.written
    ended_at = context.clock()
    release_leases(context, written.moves, now)
    note_calls(context, written.moves, now)
    journal.moved(written.moves, began_at, ended_at)
    journal.settled(page.reports, page.verdicts)
    oldest_at = min(report.received_at for report in page.reports)
    return SettleReport(
        len(page.reports),
        written.ended,
        written.freed,
        written.outcomes,
        oldest_at,
        written.talks,
        written.persons_wait,
    )


def _settle_page(
    skip_locked: bool, context: EngineContext, report_ids: Sequence[int] | None, now: DateTime
) -> SettledPage:
    with context.db.begin() as connection:
        page = inbox.take_page(connection, PAGE) if report_ids is None else inbox.take(connection, report_ids)
        if not page:
            return SettledPage()
        wait_shortly(connection)
        locked = _lock(connection, {report.event.attempt_id for report in page}, skip_locked)
        followed = _follow_all(page, locked.known)
        written = write_moves(connection, followed.moves, now, skip_locked)
        details = [event for event in followed.details if event.attempt_id not in written.held]
        held = locked.held | written.held | _write_details(connection, details, now)
        put_off = {report.id for report in page if report.event.attempt_id in held}
        inbox.mark_settled(connection, [verdict for verdict in followed.verdicts if verdict.id not in put_off], now)
        if put_off:
            inbox.put_off(connection, sorted(put_off))
        return SettledPage(page, followed.verdicts, written)


def _write_details(connection: Connection, details: Sequence[CallEvent], now: DateTime) -> set[AttemptId]:
    """Write what is stored beside the state; return the attempts whose batch or contact is locked."""
    if details:
        attempts.write_details(connection, details)
    asked = [event for event in details if event.facts.callback_at is not None]
    return {event.attempt_id for event in asked if not callbacks.report_late(connection, event, now)}


def _lock(connection: Connection, attempt_ids: Set[AttemptId], skip_locked: bool) -> LockedAttempts:
    known = attempts.lock(connection, attempt_ids, skip_locked=skip_locked)
    missing = attempt_ids - known.keys()
    return LockedAttempts(known, attempts.existing(connection, missing) if missing and skip_locked else set())


def _follow_all(page: Sequence[ReceivedReport], known: Mapping[AttemptId, Attempt]) -> Followed:
    """Apply each attempt's reports in the order in which they came. Only its own trunk may report on it."""
    by_attempt: dict[tuple[AttemptId, TrunkId], list[ReceivedReport]] = defaultdict(list)
    for report in page:
        by_attempt[report.event.attempt_id, report.trunk_id].append(report)
    moves: list[Move] = []
    verdicts: list[ReportVerdict] = []
    details: list[CallEvent] = []
    for (attempt_id, trunk_id), reports in by_attempt.items():
        attempt = known.get(attempt_id)
        if attempt is None or attempt.trunk_id != trunk_id:
            verdicts += [ReportVerdict(report.id, Verdict.UNKNOWN_ATTEMPT) for report in reports]
            continue
        progress, of_reports = follow(attempt.progress, [report.event for report in reports])
        verdicts += [ReportVerdict(report.id, verdict) for report, verdict in zip(reports, of_reports, strict=True)]
        details += [
            report.event
            for report, verdict in zip(reports, of_reports, strict=True)
            if (report.event.early_outcome if verdict is Verdict.APPLIED else report.event.facts.is_agents)
        ]
        if progress.state is not attempt.progress.state:
            moves.append(Move(attempt, progress))
    return Followed(moves, verdicts, details)


def close(context: EngineContext, ends: Mapping[AttemptId, AttemptEnd], now: DateTime) -> Closed:
    """End attempts without a report. Called twice: the same.

    An attempt that cannot be closed, or is locked by another session, is passed over; rescue comes back to it.
    """
    return _move_all(context, ends, now)


def follow_networks(context: EngineContext, events: Mapping[AttemptId, Sequence[CallEvent]], now: DateTime) -> Closed:
    """Move attempts on by what their networks answered when rescue asked. Called twice: the same.

    Not through the inbox: a report with the same key may be there already, and may be the one that cannot be settled.
    """
    return _move_all(context, {attempt_id: reported for attempt_id, reported in events.items() if reported}, now)


def _move_all(context: EngineContext, changes: Mapping[AttemptId, Change], now: DateTime) -> Closed:
    def move(attempt_ids: Sequence[AttemptId]) -> WrittenMoves:
        began_at = context.clock()
        written = retry_skipping_locked(_move, context, attempt_ids, changes, now)
        ended_at = context.clock()
        release_leases(context, written.moves, now)
        note_calls(context, written.moves, now)
        journal.moved(written.moves, began_at, ended_at)
        return written

    def on_failure(attempt_id: AttemptId, error: Exception) -> None:
        quarantine.note_attempt(context, attempt_id, error)

    done = run_bisecting(list(changes), move, on_failure) if changes else []
    return Closed(
        sum(written.ended for written in done),
        tuple(dict.fromkeys(batch_id for written in done for batch_id in written.freed)),
        sum((written.outcomes for written in done), Counter[str]()),
    )


def _move(
    skip_locked: bool,
    context: EngineContext,
    attempt_ids: Sequence[AttemptId],
    changes: Mapping[AttemptId, Change],
    now: DateTime,
) -> WrittenMoves:
    with context.db.begin() as connection:
        wait_shortly(connection)
        known = attempts.lock(connection, attempt_ids, skip_locked=skip_locked)
        moves = [move for attempt in known.values() if (move := _changed(attempt, changes[attempt.id], now))]
        written = write_moves(connection, moves, now, skip_locked)
        if written.ended:
            quarantine.release_attempts(connection, [move.attempt.id for move in written.moves])
        return written


def _changed(attempt: Attempt, change: Change, now: DateTime) -> Move | None:
    """Apply an end or a network's answer to a locked attempt; None: it changes nothing."""
    if isinstance(change, AttemptEnd):
        return change.close(attempt, now)
    progress, _ = follow(attempt.progress, change)
    return None if progress.state is attempt.progress.state else Move(attempt, progress)
