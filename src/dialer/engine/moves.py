"""Moves: locked attempts are written with their contacts, counts and due times, in one transaction.

Settle calls it for reports and for attempts that end without one, so that there is one way in which a call is over.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from pendulum import DateTime

from dialer.domain import retry
from dialer.domain.attempt import Attempt, AttemptUpdate
from dialer.domain.batch import Batch
from dialer.domain.call_progress import CallProgress
from dialer.domain.callback import CallbackAnswer
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.retry import RetryDecision
from dialer.domain.states import FINAL_BATCH, LIVE_ATTEMPT, AttemptState, ContactStatus
from dialer.domain.timeouts import RESCUE_AFTER, ask_after, typical_talk
from dialer.engine import agent_breaker, callbacks
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput
from dialer.store import attempts, batches, contacts, progress
from dialer.store.agent_health import OnTrunk
from dialer.store.contacts import ContactResult
from dialer.store.database import Connection

NEIGHBOURS = 50
# How soon a batch is dispatched again after a refusal: a trunk may refuse faster than that.
REFUSED_AGAIN_SECONDS = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """The end of an attempt without a report. `outcome` None: no call was made, so the attempt is refused.

    `again_seconds`: after how long the contact of a refused attempt is due again; None: by the rule for refusals.
    """

    cause: str
    outcome: Outcome | None = None
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE
    again_seconds: float | None = None

    def _may_close(self, attempt: Attempt) -> bool:
        """A call that its network has confirmed cannot be refused any more (P1); one that is over stays as it is."""
        if self.outcome is None:
            return attempt.progress.state in (AttemptState.RESERVED, AttemptState.UNCLEAR)
        return attempt.progress.state in LIVE_ATTEMPT

    def close(self, attempt: Attempt, now: DateTime) -> "Move | None":
        """Move a locked attempt to its end; None: it stays as it is."""
        if not self._may_close(attempt):
            return None
        state = AttemptState.REFUSED if self.outcome is None else AttemptState.ENDED
        ended = replace(attempt.progress, state=state, outcome=self.outcome, cause=self.cause, ended_at=now)
        return Move(attempt, ended, self.cause_class, self.again_seconds, is_reported=False)


@dataclass(frozen=True, slots=True)
class Move:
    """A locked attempt, and how far its call has come since. `cause_class`: what a refusal is due to.

    `again_seconds`: as in `AttemptEnd`. `is_reported`: its network says so.
    """

    attempt: Attempt
    progress: CallProgress
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE
    again_seconds: float | None = None
    is_reported: bool = True

    @property
    def is_over(self) -> bool:
        return self.progress.state not in LIVE_ATTEMPT

    @property
    def is_refused(self) -> bool:
        return self.progress.state is AttemptState.REFUSED

    @property
    def is_counted(self) -> bool:
        """Say whether it uses up one of its contact's attempts: not if no call was made, or if the network failed."""
        is_spared = self.progress.is_network_failure and self.attempt.contact_refusals < retry.MOST_NETWORK_FAILURES
        return not (self.is_refused or is_spared)


@dataclass(frozen=True, slots=True)
class WrittenMoves:
    """What a transaction has written. `freed`: batches for dispatch.

    `held`: attempts that it skipped, because another session has locked their batch or contact. `persons_wait`:
    contacts wait for their person, who was in one of the calls that are over.
    """

    moves: tuple[Move, ...] = ()
    freed: tuple[BatchId, ...] = ()
    held: frozenset[AttemptId] = frozenset()
    persons_wait: bool = False

    @property
    def ended(self) -> int:
        return sum(move.is_over for move in self.moves)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(str(move.progress.outcome) for move in self.moves if move.progress.outcome)

    @property
    def talks(self) -> tuple[float, ...]:
        """How long those calls lasted that were answered and are over, in seconds."""
        return tuple(move.progress.talk_seconds for move in self.moves if move.is_over and move.progress.talk_seconds)


def write_moves(connection: Connection, moves: Sequence[Move], now: DateTime, skip_locked: bool) -> WrittenMoves:
    """Write attempts, contacts and due times; return also the batches for dispatch.

    The counts are locked before the batches are read: a cancellation is either seen here, or waits and then sees the
    contacts that are written here (P4).
    """
    free = _lock_rest(connection, moves, skip_locked)
    held = frozenset(move.attempt.id for move in moves if move.attempt.id not in free)
    moves = tuple(move for move in moves if move.attempt.id in free)
    over = [move for move in moves if move.is_over]
    loaded = _load(connection, over)
    asked = callbacks.answers(connection, [(move.attempt, move.progress) for move in over], loaded, now)
    if moves:
        attempts.write_updates(connection, [_update(move, asked, now) for move in moves])
    if not over:
        return WrittenMoves(moves, (), held)
    results = [_result(move, loaded[move.attempt.batch_id], asked.get(move.attempt.id), now) for move in over]
    contacts.write_results(connection, results)
    _note_typical_talk(connection, over, loaded)
    _note_talks(connection, over, loaded, now)
    persons_wait = contacts.wait_for_persons(connection, [move.attempt.id for move in over])
    return WrittenMoves(moves, _wake(connection, over, now), held, persons_wait)


def _lock_rest(connection: Connection, moves: Sequence[Move], skip_locked: bool) -> set[AttemptId]:
    """Lock the batch counts and contacts of attempts that are over, in lock order; return the attempts to write."""
    over = [move.attempt for move in moves if move.is_over]
    going_on = {move.attempt.id for move in moves if not move.is_over}
    if not over:
        return going_on
    free = progress.lock_progress(connection, {attempt.batch_id for attempt in over}, skip_locked=skip_locked)
    over = [attempt for attempt in over if attempt.batch_id in free]
    locked_contacts = contacts.lock(connection, {attempt.contact_id for attempt in over}, skip_locked=skip_locked)
    return going_on | {attempt.id for attempt in over if attempt.contact_id in locked_contacts}


def _load(connection: Connection, over: Sequence[Move]) -> dict[BatchId, Batch]:
    batch_ids = {move.attempt.batch_id for move in over}
    return {batch.id: batch for batch in batches.load(connection, batch_ids)} if batch_ids else {}


def _update(move: Move, asked: Mapping[AttemptId, CallbackAnswer], now: DateTime) -> AttemptUpdate:
    callback = asked.get(move.attempt.id, CallbackAnswer(move.attempt.callback_at))
    rescue_at = _rescue_at(move, now)
    return AttemptUpdate(move.attempt.id, move.progress, rescue_at, move.is_counted, move.is_reported, callback)


def _note_typical_talk(connection: Connection, over: Sequence[Move], loaded: Mapping[BatchId, Batch]) -> None:
    """Update the typical length of each batch's conversations: after twice that, rescue asks about a call."""
    typical: dict[BatchId, float] = {}
    for move in over:
        if move.progress.talk_seconds:
            batch = loaded[move.attempt.batch_id]
            typical[batch.id] = typical_talk(typical.get(batch.id, batch.talk_seconds), move.progress.talk_seconds)
    if typical:
        progress.note_talk(connection, typical)


def _note_talks(connection: Connection, over: Sequence[Move], loaded: Mapping[BatchId, Batch], now: DateTime) -> None:
    """Have the agents' breakers judge the answered calls that show whether their destination exists."""
    talks: dict[OnTrunk, list[float]] = defaultdict(list)
    for move in sorted(over, key=lambda move: _ended_at(move, now)):
        if move.progress.shows_destination:
            talk_seconds = move.progress.talk_seconds or 0
            talks[loaded[move.attempt.batch_id].agent_id, move.attempt.trunk_id].append(talk_seconds)
    agent_breaker.note_talks(connection, talks, now)


def _wake(connection: Connection, over: Sequence[Move], now: DateTime) -> tuple[BatchId, ...]:
    """Make the batches with freed slots due, so that tick finds them if their dispatch task is lost (P6)."""
    refused = [move.attempt for move in over if move.is_refused]
    if refused:
        attempts.give_back_days(connection, refused)
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
    if move.is_over:
        return None
    ask_at = now.add(seconds=ask_after(move.progress.state, move.attempt.batch_talk_seconds))
    if move.progress.answered_at is None or move.attempt.max_call_seconds is None:
        return ask_at
    return min(ask_at, max(now, move.progress.answered_at.add(seconds=move.attempt.max_call_seconds)))


def _result(move: Move, batch: Batch, callback: CallbackAnswer | None, now: DateTime) -> ContactResult:
    """Decide what an attempt that is over does to its contact. In a batch that is over none is called again (P4)."""
    result = _by_rules(move, batch, now)
    if callback is None or callback.at is None:
        return result
    return replace(result, status=ContactStatus.WAITING, due_at=callback.at, finished_at=None, is_callback=True)


def _by_rules(move: Move, batch: Batch, now: DateTime) -> ContactResult:
    attempt, call = move.attempt, move.progress
    if move.again_seconds is not None:
        decision, outcome = RetryDecision(ContactStatus.WAITING, move.again_seconds), None
    elif call.outcome is None or not move.is_counted:
        decision = retry.after_refusal(move.cause_class, attempt.contact_refusals + 1)
        outcome = Outcome.INVALID_NUMBER if decision.status is ContactStatus.FAILED else None
    else:
        decision = retry.after_call(batch.retry, call.outcome, attempt.contact_attempts)
        outcome = call.outcome
    reason = call.cause
    if decision.status is ContactStatus.WAITING and batch.status in FINAL_BATCH:
        status = ContactStatus.CANCELLED if outcome is None else ContactStatus.FAILED
        decision, reason = RetryDecision(status), f"batch_{batch.status}"
    delay = decision.delay_seconds
    return ContactResult(
        contact_id=attempt.contact_id,
        status=decision.status,
        reason=reason,
        outcome=outcome,
        due_at=None if delay is None else _due_at(batch, attempt, _ended_at(move, now).add(seconds=delay)),
        finished_at=now if delay is None else None,
        counts=move.is_counted,
        refusals=int(not move.is_counted and move.again_seconds is None and move.cause_class is not CauseClass.RATE),
    )


def _ended_at(move: Move, now: DateTime) -> DateTime:
    """Say when a call ended, by our clock: the network's may be years ahead, and the contact would wait (P5)."""
    return max(move.attempt.created_at, min(move.progress.ended_at or now, now))


def _due_at(batch: Batch, attempt: Attempt, due_at: DateTime) -> DateTime:
    """Move a due time into the next open window. Where there is none, dispatch finds out why the batch is held.

    When an operator changes the window, the trigger follow_retry_rules sets waiting contacts back to the delay alone.
    """
    try:
        opens_at = batch.window and attempt.lane.next_open(batch.window, due_at)
    except InvalidInput:
        # A zone that this system does not know must not stop other contacts' reports.
        return due_at
    return opens_at or due_at


def release_leases(context: EngineContext, moves: Sequence[Move], now: DateTime) -> None:
    """Release or renew leases in Redis after the commit. If this is lost, rescue finds them by their deadlines."""
    context.leases.release([move.attempt.lease for move in moves if move.is_over and not move.is_refused])
    context.leases.put_back([move.attempt.lease for move in moves if move.is_refused])
    for state, seconds in RESCUE_AFTER.items():
        live = [move.attempt.id for move in moves if move.progress.state is state and not move.is_over]
        context.leases.renew(live, now.add(seconds=seconds))
