"""Settle: reports move attempts forward, ended attempts move their contacts, and freed slots go back to dispatch.

Reports that are late, repeated or reordered change nothing. Where an attempt ends by any other word than a report
(refused by the network, given up by rescue), it is closed here too, so that there is one way in which a call is over.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import structlog
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.call_progress import Verdict, follow
from dialer.domain.ids import AttemptId, BatchId, TrunkId
from dialer.engine.bisect import apart, passing_locks
from dialer.engine.call_health import note_calls
from dialer.engine.context import EngineContext
from dialer.engine.moves import End as End
from dialer.engine.moves import Move, Written, let_go, write
from dialer.errors import Unavailable
from dialer.store import attempts, inbox, quarantine
from dialer.store.attempts import Attempt
from dialer.store.database import Connection, wait_shortly
from dialer.store.inbox import Received

PAGE = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SettleReport:
    """`freed`: batches for dispatch, those whose slots were freed and those that wait for room on the same trunks.

    `outcomes`: how the attempts ended. `oldest_at`: when the first of the reports came in.
    """

    reports: int
    ended: int
    freed: tuple[BatchId, ...]
    outcomes: Mapping[str, int] = field(default_factory=dict)
    oldest_at: DateTime | None = None

    @property
    def is_full(self) -> bool:
        """Say whether there may be more to settle."""
        return self.reports == PAGE


@dataclass(frozen=True, slots=True)
class Closed:
    """Attempts that are over by another word than a report: how many, the batches for dispatch, and how they ended."""

    ended: int
    freed: tuple[BatchId, ...]
    outcomes: Mapping[str, int] = field(default_factory=dict)


def settle(context: EngineContext, now: DateTime) -> SettleReport:
    """Drain one page of the inbox. Several may run at once; a crash leaves the page to the next.

    A report that cannot be settled waits, longer each time, and so does one whose batch is locked by someone else; the
    others are settled. Where only its own data can be to blame, it is put into quarantine, and rescue asks the network.
    """
    try:
        return _settle(context, lambda connection: inbox.take_page(connection, PAGE), now)
    except Unavailable:
        raise
    except Exception:
        log.exception("a page of reports cannot be settled as a whole")
    with context.db.begin() as connection:
        ids = inbox.due(connection, PAGE)
    failed: list[tuple[int, Exception]] = []
    locked: list[int] = []
    reports = apart(
        ids,
        lambda some: _settle(context, lambda connection: inbox.take(connection, some), now),
        lambda row_id, error: failed.append((row_id, error)),
        locked.append,
    )
    _pass_over(context, failed, locked, now)
    return _merged(reports, len(failed) + len(locked))


def _merged(reports: Sequence[SettleReport], passed_over: int) -> SettleReport:
    return SettleReport(
        sum(report.reports for report in reports) + passed_over,
        sum(report.ended for report in reports),
        tuple(dict.fromkeys(of for report in reports for of in report.freed)),
        sum((Counter(report.outcomes) for report in reports), Counter[str]()),
        min((report.oldest_at for report in reports if report.oldest_at), default=None),
    )


def _pass_over(
    context: EngineContext, errors: Sequence[tuple[int, Exception]], locked: Sequence[int], now: DateTime
) -> None:
    """Let reports wait that failed or were locked, and put those into quarantine that alone are to blame."""
    with context.db.begin() as connection:
        inbox.put_off(connection, locked)
        failed = inbox.note_failures(connection, [(row_id, quarantine.fault_of(error)) for row_id, error in errors])
        guilty = inbox.judge(connection, failed)
        inbox.mark_settled(connection, [(one.id, Verdict.QUARANTINED) for one in guilty], now)
        quarantine.keep_settled(connection, [one.id for one in guilty])
    for kind, count in Counter(one.fault.kind for one in failed).items():
        log.error("reports cannot be settled yet", count=count, kind=kind)
    for one in guilty:
        log.error("report in quarantine", report_id=one.id, attempt_id=str(one.attempt_id), reason=one.fault.error)


def _settle(context: EngineContext, take: Callable[[Connection], list[Received]], now: DateTime) -> SettleReport:
    """Settle some reports. Those whose attempt, batch or contact stays locked by someone else are put off."""

    def work(skip_locked: bool) -> tuple[list[Received], Written]:
        with context.db.begin() as connection:
            page = take(connection)
            if not page:
                return page, Written()
            wait_shortly(connection)
            known, held = _lock(connection, {received.event.attempt_id for received in page}, skip_locked)
            moves, verdicts = _follow_all(page, known)
            written = write(connection, moves, now, skip_locked)
            held |= written.held
            of_held = {received.id for received in page if received.event.attempt_id in held}
            inbox.mark_settled(connection, [said for said in verdicts if said[0] not in of_held], now)
            if of_held:
                inbox.put_off(connection, sorted(of_held))
            return page, written

    page, written = passing_locks(work)
    if not page:
        return SettleReport(0, 0, ())
    let_go(context, written.moves, now)
    note_calls(context, written.moves, now)
    oldest_at = min(received.received_at for received in page)
    return SettleReport(len(page), written.ended, written.freed, written.outcomes, oldest_at)


def _lock(
    connection: Connection, attempt_ids: Set[AttemptId], skip_locked: bool
) -> tuple[dict[AttemptId, Attempt], set[AttemptId]]:
    """Lock attempts; return them, and which of the others exist and were passed over."""
    known = attempts.lock(connection, attempt_ids, skip_locked=skip_locked)
    missing = attempt_ids - known.keys()
    return known, attempts.existing(connection, missing) if missing and skip_locked else set()


def close(context: EngineContext, ends: Mapping[AttemptId, End], now: DateTime) -> Closed:
    """End attempts by another word than a report. Called twice: the same.

    An attempt that cannot be closed, or is locked by someone else, is passed over; rescue comes back to it.
    """

    return _move_all(context, list(ends), lambda attempt: ends[attempt.id].close(attempt, now), now)


def follow_networks(context: EngineContext, told: Mapping[AttemptId, Sequence[CallEvent]], now: DateTime) -> Closed:
    """Move attempts on by what their networks have answered when they were asked. Called twice: the same.

    Not by way of the inbox: a report with the same key may be there already and may be what cannot be settled.
    """

    def decide(attempt: Attempt) -> Move | None:
        course, _ = follow(attempt.course, told[attempt.id])
        return None if course.state is attempt.course.state else Move(attempt, course)

    return _move_all(context, [of for of, events in told.items() if events], decide, now)


def _move_all(
    context: EngineContext, attempt_ids: Sequence[AttemptId], decide: Callable[[Attempt], Move | None], now: DateTime
) -> Closed:
    def move(some: Sequence[AttemptId]) -> Written:
        def work(skip_locked: bool) -> Written:
            with context.db.begin() as connection:
                wait_shortly(connection)
                known = attempts.lock(connection, some, skip_locked=skip_locked)
                moves = [move for attempt in known.values() if (move := decide(attempt))]
                written = write(connection, moves, now, skip_locked)
                if written.ended:
                    quarantine.forget(connection, "attempt", [move.attempt.id for move in written.moves])
                return written

        written = passing_locks(work)
        let_go(context, written.moves, now)
        note_calls(context, written.moves, now)
        return written

    def pass_over(attempt_id: AttemptId, error: Exception) -> None:
        with context.db.begin() as connection:
            quarantine.note(connection, "attempt", attempt_id, error, attempt_id)

    done = apart(attempt_ids, move, pass_over) if attempt_ids else []
    return Closed(
        sum(written.ended for written in done),
        tuple(dict.fromkeys(of for written in done for of in written.freed)),
        sum((written.outcomes for written in done), Counter[str]()),
    )


def _follow_all(
    page: Sequence[Received], known: Mapping[AttemptId, Attempt]
) -> tuple[list[Move], list[tuple[int, Verdict]]]:
    """Apply each attempt's reports in the order in which they came. Only its own trunk can know anything of it."""
    reports: dict[tuple[AttemptId, TrunkId], list[Received]] = defaultdict(list)
    for received in page:
        reports[received.event.attempt_id, received.trunk_id].append(received)
    moves: list[Move] = []
    verdicts: list[tuple[int, Verdict]] = []
    for (attempt_id, trunk_id), mine in reports.items():
        attempt = known.get(attempt_id)
        if attempt is None or attempt.trunk_id != trunk_id:
            verdicts += [(received.id, Verdict.UNKNOWN_ATTEMPT) for received in mine]
            continue
        course, said = follow(attempt.course, [received.event for received in mine])
        verdicts += [(received.id, verdict) for received, verdict in zip(mine, said, strict=True)]
        if course.state is not attempt.course.state:
            moves.append(Move(attempt, course))
    return moves, verdicts
