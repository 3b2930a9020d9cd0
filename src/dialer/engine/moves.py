"""Moves: attempts under their lock are written, with their contacts, counts and due times, in one transaction.

Settle, and whoever ends an attempt by another word than a report, come here, so that there is one way in which a call
is over.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from pendulum import DateTime

from dialer.domain import lane, retry
from dialer.domain.breaker import DROP_SECONDS, drops_at_the_end
from dialer.domain.call import HungUpBy
from dialer.domain.call_progress import Course
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.retry import RetryDecision
from dialer.domain.states import FINAL_BATCH, LIVE_ATTEMPT, AttemptState, ContactStatus
from dialer.domain.timeouts import RESCUE_AFTER, ask_after, typical_talk
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput
from dialer.providers import registry
from dialer.store import agent_health, attempts, batches, contacts, progress
from dialer.store.attempts import Attempt
from dialer.store.batches import Batch
from dialer.store.contacts import Result
from dialer.store.database import Connection

NEIGHBOURS = 50
# A trunk that refuses everything is asked again this often, not as fast as it can refuse.
REFUSED_AGAIN_SECONDS = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class End:
    """The end of an attempt by another word than a report. `outcome` None: surely no call was made.

    `again_seconds`: when the contact of such an attempt is due again; None: by the rule for refusals.
    """

    cause: str
    outcome: Outcome | None = None
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE
    again_seconds: float | None = None

    def _may_close(self, attempt: Attempt) -> bool:
        """A call that was seen cannot be refused any more; one that is over stays as it is."""
        if self.outcome is None:
            return attempt.course.state in (AttemptState.RESERVED, AttemptState.UNCLEAR)
        return attempt.course.state in LIVE_ATTEMPT

    def close(self, attempt: Attempt, now: DateTime) -> "Move | None":
        """Move a locked attempt to its end; None: it stays as it is."""
        if not self._may_close(attempt):
            return None
        state = AttemptState.REFUSED if self.outcome is None else AttemptState.ENDED
        course = replace(attempt.course, state=state, outcome=self.outcome, cause=self.cause, ended_at=now)
        return Move(attempt, course, self.cause_class, self.again_seconds)


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

    @property
    def is_counted(self) -> bool:
        """Say whether it uses up one of its contact's attempts: not where no call was made, or its network failed."""
        is_spared = self.course.is_network_failure and self.attempt.contact_refusals < retry.MOST_NETWORK_FAILURES
        return not (self.is_refused or is_spared)


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction has written. `held`: the attempts that it passed over since their batch or contact is locked.

    `freed`: batches for dispatch.
    """

    moves: tuple[Move, ...] = ()
    freed: tuple[BatchId, ...] = ()
    held: frozenset[AttemptId] = frozenset()

    @property
    def ended(self) -> int:
        return sum(move.is_over for move in self.moves)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(str(move.course.outcome) for move in self.moves if move.course.outcome)


def write(connection: Connection, moves: Sequence[Move], now: DateTime, skip_locked: bool) -> Written:
    """Write attempts, contacts and due times; say which batches dispatch should see.

    The counts are locked before the batches are read: a cancellation either is seen here, or waits and then sees the
    contacts that are written here.
    """
    free = _lock_rest(connection, moves, skip_locked)
    held = frozenset(move.attempt.id for move in moves if move.attempt.id not in free)
    moves = tuple(move for move in moves if move.attempt.id in free)
    over = [move for move in moves if move.is_over]
    if moves:
        written = [
            attempts.Written(move.attempt.id, move.course, _rescue_at(move, now), move.is_counted) for move in moves
        ]
        attempts.write_courses(connection, written)
    if not over:
        return Written(moves, (), held)
    loaded = {batch.id: batch for batch in batches.load(connection, {move.attempt.batch_id for move in over})}
    contacts.write_results(connection, [_result(move, loaded[move.attempt.batch_id], now) for move in over])
    _note_talk(connection, over, loaded)
    _note_drops(connection, over, loaded, now)
    return Written(moves, _wake(connection, over, now), held)


def _lock_rest(connection: Connection, moves: Sequence[Move], skip_locked: bool) -> set[AttemptId]:
    """Lock what else the end of an attempt changes, in the order of all locks; return the attempts that can move on."""
    over = [move.attempt for move in moves if move.is_over]
    going_on = {move.attempt.id for move in moves if not move.is_over}
    if not over:
        return going_on
    free = progress.lock_progress(connection, {attempt.batch_id for attempt in over}, skip_locked=skip_locked)
    over = [attempt for attempt in over if attempt.batch_id in free]
    people = contacts.lock(connection, {attempt.contact_id for attempt in over}, skip_locked=skip_locked)
    return going_on | {attempt.id for attempt in over if attempt.contact_id in people}


def _note_talk(connection: Connection, over: Sequence[Move], loaded: Mapping[BatchId, Batch]) -> None:
    """Keep how long a conversation of each batch typically lasts: that is when rescue asks about the others."""
    typical: dict[BatchId, float] = {}
    for move in over:
        if move.course.talk_seconds:
            batch = loaded[move.attempt.batch_id]
            typical[batch.id] = typical_talk(typical.get(batch.id, batch.talk_seconds), move.course.talk_seconds)
    if typical:
        progress.note_talk(connection, typical)


def _tells_of_destination(course: Course) -> bool:
    """Say whether a call shows if there is anything where answered calls go: not if the person hung up at once."""
    if course.outcome is not Outcome.ANSWERED or course.talk_seconds is None:
        return False
    return course.talk_seconds >= DROP_SECONDS or course.facts.hung_up_by is not HungUpBy.CALLEE


def _note_drops(connection: Connection, over: Sequence[Move], loaded: Mapping[BatchId, Batch], now: DateTime) -> None:
    """Count the people in a row who answered and were dropped at once by a switch: their destination is missing.

    After a few of them the agent is held on that trunk.
    """
    talks: dict[agent_health.OnTrunk, list[float]] = defaultdict(list)
    for move in sorted(over, key=lambda move: _ended_at(move, now)):
        if _tells_of_destination(move.course):
            talks[loaded[move.attempt.batch_id].agent_id, move.attempt.trunk_id].append(move.course.talk_seconds or 0)
    if not talks:
        return
    drops = {of: drops_at_the_end(seconds) for of, seconds in talks.items()}
    agent_health.talked(connection, [of for of, seconds in talks.items() if drops[of] < len(seconds)])
    if not any(drops.values()):
        return
    providers = agent_health.providers(connection, {trunk_id for _, trunk_id in talks})
    on_switches = {of: n for of, n in drops.items() if n and registry.is_switch(providers[of[1]])}
    for agent_id, trunk_id in agent_health.dropped(connection, on_switches, now):
        log.warning("agent is failing", agent_id=str(agent_id), trunk_id=str(trunk_id), reason=agent_health.DROPPED)


def _wake(connection: Connection, over: Sequence[Move], now: DateTime) -> tuple[BatchId, ...]:
    """Make the batches with freed slots due, so that tick finds them if their dispatch task is lost."""
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
    if move.is_over:
        return None
    ask_at = now.add(seconds=ask_after(move.course.state, move.attempt.batch_talk_seconds))
    if move.course.answered_at is None or move.attempt.max_call_seconds is None:
        return ask_at
    return min(ask_at, max(now, move.course.answered_at.add(seconds=move.attempt.max_call_seconds)))


def _result(move: Move, batch: Batch, now: DateTime) -> Result:
    """Decide what an attempt that is over does to its contact. In a batch that is over nobody is called again."""
    attempt, course = move.attempt, move.course
    if move.again_seconds is not None:
        decision, outcome = RetryDecision(ContactStatus.WAITING, move.again_seconds), None
    elif course.outcome is None or not move.is_counted:
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
        counts=move.is_counted,
        refusals=int(not move.is_counted and move.again_seconds is None and move.cause_class is not CauseClass.RATE),
    )


def _ended_at(move: Move, now: DateTime) -> DateTime:
    """Say when a call ended by our clock: the network's may be wrong by years, and the contact would wait for them."""
    return max(move.attempt.created_at, min(move.course.ended_at or now, now))


def _due_at(batch: Batch, attempt: Attempt, due_at: DateTime) -> DateTime:
    """Move a due time into the next open window. Where none is known, dispatch will say why nothing is called.

    Should an operator change the window, the delay alone counts for those that wait (the trigger follow_retry_rules).
    """
    try:
        opens_at = batch.window and lane.next_open(batch.window, attempt.lane, due_at)
    except InvalidInput:
        # A zone that this system does not know must not stop the reports of others.
        return due_at
    return opens_at or due_at


def let_go(context: EngineContext, moves: Sequence[Move], now: DateTime) -> None:
    """Tell Redis after the commit. Should this be lost, rescue finds the leases by their deadlines."""
    context.leases.release([move.attempt.lease for move in moves if move.is_over and not move.is_refused])
    context.leases.put_back([move.attempt.lease for move in moves if move.is_refused])
    for state, seconds in RESCUE_AFTER.items():
        live = [move.attempt.id for move in moves if move.course.state is state and not move.is_over]
        context.leases.renew(live, now.add(seconds=seconds))
