"""Place: the reserved calls of one trunk leave for their network, and its answers are recorded.

    rate     the trunk's rate is checked once more, over all workers: a call that comes too early is told when to retry
    permit   a last check in the ledger, once for each call: still reserved, young enough, batch active, number not
             suppressed, and one that the workspace may call
    place    the requests leave, with no transaction open
    record   writes placed, refused or unclear; notes trunks and agents that fail

It never sleeps: what may not leave yet comes back as a departure of its own. A crash before the permit is committed
leaves reserved attempts; after it, attempts that may have been sent. Rescue finds both, and none is sent again (P1).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog
from pendulum import DateTime

from dialer.domain.attempt import PlacedCall, UnclearCall
from dialer.domain.breaker import LAST_PAUSE_SECONDS
from dialer.domain.calling_rules import CallingRules
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass
from dialer.domain.slots import RateAllowance
from dialer.domain.states import AttemptState
from dialer.domain.timeouts import LEAVE_SECONDS, RESCUE_AFTER
from dialer.domain.trunk import Trunk
from dialer.engine import agent_breaker, journal, settle, trunk_breaker
from dialer.engine.context import EngineContext
from dialer.engine.departure import Departure
from dialer.engine.locked_rows import retry_skipping_locked
from dialer.errors import Contended, Unavailable
from dialer.providers.base import TOO_LATE, CallRequest, Placed, Placement, Refused, Unclear
from dialer.store import attempts, permits
from dialer.store.attempts import ChangedAttempt
from dialer.store.database import wait_shortly
from dialer.store.permits import Permit

# When to try again, where a lock or a server is in the way.
AGAIN_SECONDS = 0.25
# How long a trunk is paused whose network says "too fast" without saying for how long.
TOO_FAST_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PlaceReport:
    """`later`: what must be given to `place` again, each after its time. `causes`: why calls were refused."""

    placed: int = 0
    refused: int = 0
    unclear: int = 0
    later: tuple[Departure, ...] = ()
    causes: Mapping[str, int] = field(default_factory=dict)


def place(context: EngineContext, departure: Departure, now: DateTime) -> PlaceReport:
    """Let these calls leave, as far as they may at this moment. Called twice: each request still leaves once."""
    # Read before the ledger is asked: the time that its answer takes is part of the time in which a call may leave.
    began_at = context.clock()
    permitted_until = began_at.add(seconds=LEAVE_SECONDS)
    # The clock of this machine may be some seconds off: adding this to it gives the ledger's time.
    clock_offset = now - began_at
    # What is too late must not use up the rate: where too much waits, all of it would be too late in turn (P5).
    late = frozenset(request.attempt_id for request in departure.requests if _latest(request) <= now)
    in_time = [attempt_id for attempt_id in departure.attempt_ids if attempt_id not in late]
    try:
        allowance = _pass_rate(context, departure, in_time, now)
        ready, waiting = [*late, *in_time[: allowance.count]], in_time[allowance.count :]
        permit = retry_skipping_locked(_permit, context, ready) if ready else Permit(frozenset(), {}, frozenset())
    except (Contended, Unavailable) as error:
        # Nothing has left. What is too old by then is refused by the ledger.
        log.warning("departure postponed", trunk_id=str(departure.trunk.id), reason=str(error))
        return PlaceReport(later=(replace(departure, wait_seconds=AGAIN_SECONDS),))
    requests = _permitted(departure, permit.may_leave - late, permitted_until, clock_offset)
    forbidden = _forbidden(requests, permit.rules)
    requests = [request for request in requests if request.attempt_id not in forbidden]
    passed, leaving = in_time[: allowance.count], [request.attempt_id for request in requests]
    if not _note_departure(context, departure, passed, leaving, clock_offset):
        forbidden |= dict.fromkeys(leaving, TOO_LATE)
        requests = []
    permitted_at = context.clock()
    answers = _ask_network(context, departure, requests, clock_offset)
    _trace(permit, answers, began_at, permitted_at, context.clock())
    # The ledger counts from the claim, which may be later than the dispatch.
    not_asked = forbidden | dict.fromkeys(permit.may_leave & late, TOO_LATE)
    _pause_if_too_fast(context, departure.trunk, answers, now)
    # First: what the networks answered is known here alone, and what must not leave is found by rescue.
    _record(context, {**answers, **not_asked}, now)
    _put_back(context, permit.refused, now)
    _note_health(context, departure, answers, now)
    later = (departure.only(waiting, allowance.wait_seconds), departure.only(list(permit.later), AGAIN_SECONDS))
    return PlaceReport(
        placed=sum(isinstance(answer, Placed) for answer in answers.values()),
        refused=sum(isinstance(answer, Refused) for answer in answers.values()) + len(permit.refused) + len(not_asked),
        unclear=sum(isinstance(answer, Unclear) for answer in answers.values()),
        later=tuple(postponed for postponed in later if postponed),
        causes=Counter(
            [
                *(answer.cause for answer in {**answers, **not_asked}.values() if isinstance(answer, Refused)),
                *permit.refused.values(),
            ]
        ),
    )


def _trace(
    permit: Permit,
    answers: Mapping[AttemptId, Placement],
    began_at: DateTime,
    permitted_at: DateTime,
    answered_at: DateTime,
) -> None:
    permits_of = dict.fromkeys(permit.may_leave, "permitted") | dict(permit.refused)
    journal.asked("permit", permits_of, began_at, permitted_at)
    said = {attempt_id: type(answer).__name__.lower() for attempt_id, answer in answers.items()}
    journal.asked("place", said, permitted_at, answered_at)


def _pass_rate(
    context: EngineContext, departure: Departure, in_time: Sequence[AttemptId], now: DateTime
) -> RateAllowance:
    if departure.rate is None or not in_time:
        return RateAllowance(len(in_time))
    return context.leases.leave(now, departure.rate, in_time)


def _permit(skip_locked: bool, context: EngineContext, attempt_ids: Sequence[AttemptId]) -> Permit:
    with context.db.begin() as connection:
        return permits.permit(connection, attempt_ids, skip_locked=skip_locked)


def _permitted(
    departure: Departure, may_leave: Set[AttemptId], permitted_until: DateTime, clock_offset: timedelta
) -> list[CallRequest]:
    """Give the permitted requests their last moment: a process that stood still must not send them later (P4).

    Adapters compare it with the clock of this machine, which may be behind that by which the window ends (P3).
    """
    return [
        replace(request, permitted_until=min(permitted_until, _latest(request) - clock_offset))
        for request in departure.requests
        if request.attempt_id in may_leave
    ]


def _latest(request: CallRequest) -> DateTime:
    """Return the moment, by the ledger's clock, from which on a request must not leave, whatever its permit."""
    return request.place_by if request.ring_by is None else min(request.place_by, request.ring_by)


def _forbidden(requests: Sequence[CallRequest], rules: Mapping[AttemptId, CallingRules]) -> dict[AttemptId, Refused]:
    """Refuse the numbers that their workspace may not call: contacts may be older than the rules."""
    reasons = {request.attempt_id: rules[request.attempt_id].refusal(request.to_number) for request in requests}
    return {attempt_id: Refused(reason, CauseClass.CONTACT) for attempt_id, reason in reasons.items() if reason}


def _note_departure(
    context: EngineContext,
    departure: Departure,
    passed: Sequence[AttemptId],
    leaving: Sequence[AttemptId],
    clock_offset: timedelta,
) -> bool:
    """Tell Redis which of the calls that have passed the rate leave now; False: it does not answer, so none may leave.

    The worker may have stood still since they passed. They count toward the rate from now on (P2).
    """
    if departure.rate is None or not passed:
        return True
    withdrawn = [attempt_id for attempt_id in passed if attempt_id not in leaving]
    try:
        context.leases.depart(context.clock() + clock_offset, departure.rate, leaving, withdrawn)
    except Unavailable as error:
        log.warning("departure given up", trunk_id=str(departure.trunk.id), reason=str(error))
        return False
    return True


def _ask_network(
    context: EngineContext, departure: Departure, requests: Sequence[CallRequest], clock_offset: timedelta
) -> dict[AttemptId, Placement]:
    asked_at = context.clock()
    answers = context.providers.place_all([(departure.trunk, request) for request in requests]) if requests else {}
    if departure.rate and answers:
        answered_at = context.clock()
        took_seconds = (answered_at - asked_at).total_seconds()
        with _though_redis_fails(departure.trunk):
            context.leases.answered(answered_at + clock_offset, departure.rate, took_seconds, list(answers))
    return answers


@contextmanager
def _though_redis_fails(trunk: Trunk) -> Iterator[None]:
    """Go on where Redis does not answer: what the network said of the calls must be recorded all the same (P5).

    Until it answers nothing is granted. Calls of which it has not learnt that they were answered count as overdue.
    """
    try:
        yield
    except Unavailable as error:
        log.warning("answers of a network not noted for its rate", trunk_id=str(trunk.id), reason=str(error))


def _pause_if_too_fast(
    context: EngineContext, trunk: Trunk, answers: Mapping[AttemptId, Placement], now: DateTime
) -> None:
    """Pause a trunk for as long as its network asks. Its circuit breaker stays as it is."""
    waits = [
        _retry_after_seconds(answer) or TOO_FAST_SECONDS
        for answer in answers.values()
        if isinstance(answer, Refused) and answer.cause_class is CauseClass.RATE
    ]
    if waits:
        pause_seconds = max(waits)
        log.warning(
            "trunk is paused: its network refuses the rate", trunk_id=str(trunk.id), pause_seconds=pause_seconds
        )
        with _though_redis_fails(trunk):
            context.leases.pause_trunk(now, trunk.id, pause_seconds)


def _retry_after_seconds(answer: Refused) -> float | None:
    """Say when to ask again, as the network wants it, but not so late that a contact is never called again (P5)."""
    seconds = answer.retry_after_seconds
    return None if seconds is None else min(seconds, LAST_PAUSE_SECONDS)


def _put_back(context: EngineContext, refused: Mapping[AttemptId, str], now: DateTime) -> None:
    """Give back what was reserved and must not leave: its contacts are due again at once."""
    if refused:
        ends = {
            attempt_id: settle.AttemptEnd(reason, cause_class=CauseClass.POLICY, again_seconds=0)
            for attempt_id, reason in refused.items()
        }
        settle.close(context, ends, now)


def _record(context: EngineContext, placements: Mapping[AttemptId, Placement], now: DateTime) -> None:
    """Write what the networks answered. Where reports came first, the reports count."""
    placed = [
        PlacedCall(attempt_id, answer.provider_call_id)
        for attempt_id, answer in placements.items()
        if isinstance(answer, Placed)
    ]
    unclear = [
        UnclearCall(attempt_id, answer.reason)
        for attempt_id, answer in placements.items()
        if isinstance(answer, Unclear)
    ]
    refused = {
        attempt_id: settle.AttemptEnd(
            answer.cause, cause_class=answer.cause_class, again_seconds=_retry_after_seconds(answer)
        )
        for attempt_id, answer in placements.items()
        if isinstance(answer, Refused)
    }
    placed_until = now.add(seconds=RESCUE_AFTER[AttemptState.PLACED])
    unclear_until = now.add(seconds=RESCUE_AFTER[AttemptState.UNCLEAR])
    # Two transactions: each locks its attempts in id order, both together would not.
    if placed:
        changed = retry_skipping_locked(_write_placed, context, placed, placed_until)
        journal.answered(AttemptState.PLACED, changed)
    if unclear:
        changed = retry_skipping_locked(_write_unclear, context, unclear, unclear_until)
        journal.answered(AttemptState.UNCLEAR, changed)
    if refused:
        settle.close(context, refused, now)
    context.leases.renew([call.attempt_id for call in placed], placed_until)


def _write_placed(
    skip_locked: bool, context: EngineContext, placed: Sequence[PlacedCall], rescue_at: DateTime
) -> Sequence[ChangedAttempt]:
    """An attempt that stays locked is left to rescue, which asks the network."""
    with context.db.begin() as connection:
        wait_shortly(connection)
        return attempts.mark_placed(connection, placed, rescue_at, skip_locked=skip_locked)


def _write_unclear(
    skip_locked: bool, context: EngineContext, unclear: Sequence[UnclearCall], rescue_at: DateTime
) -> Sequence[ChangedAttempt]:
    """As `_write_placed`."""
    with context.db.begin() as connection:
        wait_shortly(connection)
        return attempts.mark_unclear(connection, unclear, rescue_at, skip_locked=skip_locked)


def _note_health(
    context: EngineContext, departure: Departure, answers: Mapping[AttemptId, Placement], now: DateTime
) -> None:
    trunk_id = departure.trunk.id
    try:
        trunk_breaker.note_placements(context, trunk_id, answers, now, has_failed_before=departure.trunk_has_failed)
        agent_breaker.note_placements(context, trunk_id, answers, now, agent_is_held=departure.agent_is_held)
    except Contended as error:
        # Someone is changing the trunk or the agent, which closes its breaker. What waits to leave must not be lost.
        log.warning("health of the trunk not noted", trunk_id=str(trunk_id), reason=str(error))
