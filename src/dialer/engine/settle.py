"""Settle: reports move attempts forward, ended attempts move their contacts, and freed slots go back to dispatch.

Reports that are late, repeated or reordered change nothing. Where an attempt ends by any other word than a report
(refused by the network, given up by rescue), it is closed here too, so that there is one way in which a call is over.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog
from pendulum import DateTime

from dialer.domain import lane, retry
from dialer.domain.course import Course, Verdict, follow
from dialer.domain.ids import AttemptId, BatchId, TrunkId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.patience import RESCUE_AFTER
from dialer.domain.retry import RetryDecision
from dialer.domain.states import FINAL_BATCH, LIVE_ATTEMPT, AttemptState, ContactStatus
from dialer.engine.apart import apart
from dialer.engine.parts import Parts
from dialer.errors import Contended, InvalidInput, Unavailable
from dialer.store import attempts, batches, contacts, inbox, progress, set_aside
from dialer.store.attempts import Attempt
from dialer.store.batches import Batch
from dialer.store.contacts import Result
from dialer.store.database import Connection
from dialer.store.inbox import Received

PAGE = 500
NEIGHBOURS = 50
# A trunk that refuses everything is asked again this often, not as fast as it can refuse.
REFUSED_AGAIN_SECONDS = 1

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
class End:
    """The end of an attempt by another word than a report. `outcome` None: surely no call was made.

    `again_seconds`: when the contact of such an attempt is due again; None: by the rule for refusals.
    """

    cause: str
    outcome: Outcome | None = None
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE
    again_seconds: float | None = None

    def may_close(self, attempt: Attempt) -> bool:
        """A call that was seen cannot be refused any more; one that is over stays as it is."""
        if self.outcome is None:
            return attempt.course.state in (AttemptState.RESERVED, AttemptState.UNCLEAR)
        return attempt.course.state in LIVE_ATTEMPT


@dataclass(frozen=True, slots=True)
class Move:
    """An attempt under its lock, and where it has come to. `cause_class` says whose fault a refusal is.

    `again_seconds`: as of `End`.
    """

    attempt: Attempt
    course: Course
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE
    again_seconds: float | None = None

    @property
    def is_over(self) -> bool:
        return self.course.state not in LIVE_ATTEMPT

    @property
    def is_refused(self) -> bool:
        return self.course.state is AttemptState.REFUSED


def settle(parts: Parts, now: DateTime) -> SettleReport:
    """Drain one page of the inbox. Several may run at once; a crash leaves the page to the next.

    A report that cannot be settled, whatever is wrong with it, is set aside; rescue asks the network about its attempt.
    """
    try:
        return _settle(parts, lambda connection: inbox.take_page(connection, PAGE), now)
    except (Contended, Unavailable):
        raise
    except Exception:
        log.exception("a page of reports cannot be settled as a whole")
    with parts.db.begin() as connection:
        ids = inbox.oldest(connection, PAGE)
    return _merged(
        apart(
            ids,
            lambda some: _settle(parts, lambda connection: inbox.take(connection, some), now),
            lambda row_id, error: _set_report_aside(parts, row_id, error, now),
        )
    )


def _merged(reports: Sequence[SettleReport]) -> SettleReport:
    return SettleReport(
        sum(report.reports for report in reports),
        sum(report.ended for report in reports),
        tuple(dict.fromkeys(of for report in reports for of in report.freed)),
        sum((Counter(report.outcomes) for report in reports), Counter[str]()),
        min((report.oldest_at for report in reports if report.oldest_at), default=None),
    )


def _set_report_aside(parts: Parts, row_id: int, error: Exception, now: DateTime) -> None:
    with parts.db.begin() as connection:
        for received in inbox.take(connection, [row_id]):
            set_aside.note(connection, "report", row_id, error, received.event.attempt_id)
        inbox.mark_settled(connection, [(row_id, Verdict.SET_ASIDE)], now)


def _settle(parts: Parts, take: Callable[[Connection], list[Received]], now: DateTime) -> SettleReport:
    with parts.db.begin() as connection:
        page = take(connection)
        if not page:
            return SettleReport(0, 0, ())
        known = attempts.lock(connection, [received.event.attempt_id for received in page])
        moves, verdicts = _follow_all(page, known)
        freed = _write(connection, moves, now)
        inbox.mark_settled(connection, verdicts, now)
    _let_go(parts, moves, now)
    outcomes = Counter(str(move.course.outcome) for move in moves if move.course.outcome)
    oldest_at = min(received.received_at for received in page)
    return SettleReport(len(page), sum(move.is_over for move in moves), freed, outcomes, oldest_at)


def close(parts: Parts, ends: Mapping[AttemptId, End], now: DateTime) -> tuple[BatchId, ...]:
    """End attempts by another word than a report; return the batches for dispatch. Called twice: the same.

    An attempt that cannot be closed is set aside; rescue comes back to it.
    """

    def pass_over(attempt_id: AttemptId, error: Exception) -> None:
        with parts.db.begin() as connection:
            set_aside.note(connection, "attempt", attempt_id, error, attempt_id)

    freed = apart(list(ends), lambda some: _close(parts, {of: ends[of] for of in some}, now), pass_over)
    return tuple(dict.fromkeys(of for part in freed for of in part))


def _close(parts: Parts, ends: Mapping[AttemptId, End], now: DateTime) -> tuple[BatchId, ...]:
    with parts.db.begin() as connection:
        known = attempts.lock(connection, list(ends))
        moves = [
            _end(attempt, ends[attempt_id], now)
            for attempt_id, attempt in known.items()
            if ends[attempt_id].may_close(attempt)
        ]
        freed = _write(connection, moves, now)
    _let_go(parts, moves, now)
    return freed


def _end(attempt: Attempt, end: End, now: DateTime) -> Move:
    state = AttemptState.REFUSED if end.outcome is None else AttemptState.ENDED
    course = replace(attempt.course, state=state, outcome=end.outcome, cause=end.cause, ended_at=now)
    return Move(attempt, course, end.cause_class, end.again_seconds)


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


def _write(connection: Connection, moves: Sequence[Move], now: DateTime) -> tuple[BatchId, ...]:
    """Write attempts, contacts and due times; return the batches that dispatch should see.

    The counts are locked before the batches are read: a cancellation either is seen here, or waits and then sees the
    contacts that are written here.
    """
    over = [move for move in moves if move.is_over]
    batch_ids = sorted({move.attempt.batch_id for move in over})
    if over:
        progress.lock_progress(connection, batch_ids)
    if moves:
        timed = [(move.attempt.id, move.course, _rescue_at(move, now)) for move in moves]
        attempts.write_courses(connection, timed)
    if not over:
        return ()
    loaded = {batch.id: batch for batch in batches.load(connection, batch_ids)}
    contacts.write_results(connection, [_result(move, loaded[move.attempt.batch_id], now) for move in over])
    return _wake(connection, over, now)


def _wake(connection: Connection, over: Sequence[Move], now: DateTime) -> tuple[BatchId, ...]:
    """Make the batches with freed slots due, so that tick finds them if nobody else does."""
    refused = [move.attempt for move in over if move.is_refused]
    if refused:
        attempts.give_back_days(connection, [(attempt.batch_id, attempt.local_on) for attempt in refused])
        again_at = now.add(seconds=REFUSED_AGAIN_SECONDS)
        progress.wake(connection, [attempt.batch_id for attempt in refused], again_at)
    ended = [move.attempt for move in over if not move.is_refused]
    if not ended:
        return ()
    freed = [attempt.batch_id for attempt in ended]
    progress.wake(connection, freed, now)
    neighbours = progress.held_by_room(connection, list({attempt.trunk_id for attempt in ended}), NEIGHBOURS)
    return tuple(dict.fromkeys([*freed, *neighbours]))


def _rescue_at(move: Move, now: DateTime) -> DateTime | None:
    return None if move.is_over else now.add(seconds=RESCUE_AFTER[move.course.state])


def _result(move: Move, batch: Batch, now: DateTime) -> Result:
    """Decide what an attempt that is over does to its contact. In a batch that is over nobody is called again."""
    attempt, course = move.attempt, move.course
    if move.again_seconds is not None:
        decision, outcome = RetryDecision(ContactStatus.WAITING, move.again_seconds), None
    elif course.outcome is None:
        decision = retry.after_refusal(move.cause_class, attempt.contact_refusals + 1)
        outcome = Outcome.INVALID_NUMBER if decision.status is ContactStatus.FAILED else None
    else:
        decision = retry.after_call(batch.retry, course.outcome, attempt.contact_attempts)
        outcome = course.outcome
    reason = course.cause
    if decision.status is ContactStatus.WAITING and batch.status in FINAL_BATCH:
        status = ContactStatus.CANCELLED if outcome is None else ContactStatus.FAILED
        decision, reason = RetryDecision(status), f"batch_{batch.status}"
    delay = decision.delay_seconds
    return Result(
        contact_id=attempt.contact_id,
        status=decision.status,
        reason=reason,
        outcome=outcome,
        due_at=None if delay is None else _due_at(batch, attempt, _ended_at(move, now).add(seconds=delay)),
        finished_at=now if delay is None else None,
        counts=not move.is_refused,
        refusals=int(move.is_refused and move.again_seconds is None and move.cause_class is not CauseClass.RATE),
    )


def _ended_at(move: Move, now: DateTime) -> DateTime:
    """Say when a call ended by our clock: the network's may be wrong by years, and the contact would wait for them."""
    return max(move.attempt.created_at, min(move.course.ended_at or now, now))


def _due_at(batch: Batch, attempt: Attempt, due_at: DateTime) -> DateTime:
    """Move a due time into the next open window. Where none is known, dispatch will say why nothing is called."""
    try:
        opens_at = batch.window and lane.next_open(batch.window, attempt.lane, due_at)
    except InvalidInput:
        # A zone that this system does not know must not stop the reports of others.
        return due_at
    return opens_at or due_at


def _let_go(parts: Parts, moves: Sequence[Move], now: DateTime) -> None:
    """Tell Redis after the commit. Should this be lost, rescue finds the leases by their deadlines."""
    parts.leases.release([move.attempt.lease for move in moves if move.is_over and not move.is_refused])
    parts.leases.put_back([move.attempt.lease for move in moves if move.is_refused])
    for state, seconds in RESCUE_AFTER.items():
        live = [move.attempt.id for move in moves if move.course.state is state and not move.is_over]
        parts.leases.renew(live, now.add(seconds=seconds))
