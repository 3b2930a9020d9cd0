"""Place: reserved calls of one trunk leave for their network, and what it answered is recorded.

    rate     the trunk's rate is passed once more, over all workers: who comes too early is told when to come again
    permit   a last look in the ledger: still reserved, young enough, batch active, number not suppressed, and one that
             the workspace may call; once a call
    place    the requests leave, with no transaction open
    record   placed, refused or unclear; trunks that fail are noted

It never sleeps: what may not leave yet comes back as a departure of its own. A crash before the permit is committed
leaves reserved attempts; after it, attempts that may have been sent. Both are found by rescue, and none is sent again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog
from pendulum import DateTime

from dialer.domain.breaker import AGENT_PAUSE_SECONDS, LAST_PAUSE_SECONDS
from dialer.domain.calling_rules import CallingRules
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.domain.pacing import RateLimit
from dialer.domain.states import AttemptState
from dialer.domain.timeouts import LEAVE_SECONDS, RESCUE_AFTER
from dialer.engine import settle
from dialer.engine.bisect import passing_locks
from dialer.engine.context import EngineContext
from dialer.errors import Contended, Unavailable
from dialer.providers.base import TOO_LATE, CallRequest, Placed, Placement, Refused, Unclear
from dialer.store import agent_health, attempts, departures, trunk_breaker
from dialer.store.database import wait_shortly
from dialer.store.departures import Permit
from dialer.store.lease_requests import Left
from dialer.store.numbers import Trunk

# When to try again, where a lock or a server is in the way.
AGAIN_SECONDS = 0.25
# How long a trunk is left alone whose network says "too fast", and not for how long.
TOO_FAST_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Departure:
    """Reserved calls of one trunk that leave together, `wait_seconds` after this was made, or as soon as they may.

    `rate`: what they pass where they leave; None: the trunk has none. `trunk_has_failed`: its last placement did.
    `agent_is_held`: an agent of one of them is held on this trunk; this asks whether its destination is there again.
    """

    trunk: Trunk
    requests: tuple[CallRequest, ...]
    wait_seconds: float = 0.0
    rate: RateLimit | None = None
    trunk_has_failed: bool = False
    agent_is_held: bool = False

    @property
    def attempt_ids(self) -> list[AttemptId]:
        return [request.attempt_id for request in self.requests]

    def of(self, attempt_ids: Sequence[AttemptId], wait_seconds: float) -> "Departure | None":
        """Return the departure of only these attempts, after this wait; None: of no attempt."""
        requests = tuple(request for request in self.requests if request.attempt_id in attempt_ids)
        return replace(self, requests=requests, wait_seconds=wait_seconds) if requests else None


@dataclass(frozen=True, slots=True)
class PlaceReport:
    """`later`: what must be given to `place` again, each after its time."""

    placed: int = 0
    refused: int = 0
    unclear: int = 0
    later: tuple[Departure, ...] = ()


def place(context: EngineContext, departure: Departure, now: DateTime) -> PlaceReport:
    """Let these calls leave, as far as they may at this moment. Called twice: each request leaves once all the same."""
    # Read before the ledger is asked: the time that the answer takes is part of the time in which a call may leave.
    began_at = context.clock()
    permitted_until = began_at.add(seconds=LEAVE_SECONDS)

    def at_present() -> DateTime:
        """Carry `now` on by what has passed since: the clock of this machine may be some seconds off."""
        return now + (context.clock() - began_at)

    # What is too late must not use up the rate: where too much waits, all of it would be too late in turn (P5).
    late = frozenset(request.attempt_id for request in departure.requests if request.place_by <= now)
    in_time = [attempt_id for attempt_id in departure.attempt_ids if attempt_id not in late]
    try:
        left = _pass_rate(context, departure, in_time, now)
        ready, waiting = [*late, *in_time[: left.count]], in_time[left.count :]
        permit = _permit(context, ready) if ready else Permit(frozenset(), {}, frozenset())
    except (Contended, Unavailable) as error:
        # Nothing has left. What is too old by then is refused by the ledger.
        log.warning("departure postponed", trunk_id=str(departure.trunk.id), reason=str(error))
        return PlaceReport(later=(replace(departure, wait_seconds=AGAIN_SECONDS),))
    requests = [
        replace(request, permitted_until=permitted_until)
        for request in departure.requests
        if request.attempt_id in permit.may_leave - late
    ]
    forbidden = _forbidden(requests, permit.rules)
    requests = [request for request in requests if request.attempt_id not in forbidden]
    passed = in_time[: left.count]
    if not _depart(context, departure, passed, [request.attempt_id for request in requests], at_present()):
        forbidden |= {request.attempt_id: TOO_LATE for request in requests}
        requests = []
    asked_at = at_present()
    answers = context.providers.place_all([(departure.trunk, request) for request in requests]) if requests else {}
    if departure.rate and answers:
        answered_at = at_present()
        took_seconds = (answered_at - asked_at).total_seconds()
        context.leases.answered(answered_at, departure.rate, took_seconds, list(answers))
    # The ledger counts from the claim, which may be later than the dispatch.
    not_asked = forbidden | dict.fromkeys(permit.may_leave & late, TOO_LATE)
    _pause_if_too_fast(context, departure.trunk, answers, now)
    _put_back(context, permit.refused, now)
    _record(context, {**answers, **not_asked}, now)
    try:
        _note_health(context, departure, answers, now)
        _note_agents(context, departure, answers, now)
    except Contended as error:
        # Someone is changing the trunk or the agent, which closes its breaker. What waits to leave must not be lost.
        log.warning("health of the trunk not noted", trunk_id=str(departure.trunk.id), reason=str(error))
    later = (departure.of(waiting, left.wait_seconds), departure.of(list(permit.later), AGAIN_SECONDS))
    return PlaceReport(
        placed=sum(isinstance(answer, Placed) for answer in answers.values()),
        refused=sum(isinstance(answer, Refused) for answer in answers.values()) + len(permit.refused) + len(not_asked),
        unclear=sum(isinstance(answer, Unclear) for answer in answers.values()),
        later=tuple(one for one in later if one),
    )


def _forbidden(requests: Sequence[CallRequest], rules: Mapping[AttemptId, CallingRules]) -> dict[AttemptId, Refused]:
    """Refuse the numbers that their workspace may not call: contacts may have been loaded before it was told so."""
    reasons = {request.attempt_id: rules[request.attempt_id].refusal(request.to_number) for request in requests}
    return {attempt_id: Refused(reason, CauseClass.CONTACT) for attempt_id, reason in reasons.items() if reason}


def _pass_rate(context: EngineContext, departure: Departure, in_time: Sequence[AttemptId], now: DateTime) -> Left:
    if departure.rate is None or not in_time:
        return Left(len(in_time))
    return context.leases.leave(now, departure.rate, in_time)


def _depart(
    context: EngineContext,
    departure: Departure,
    passed: Sequence[AttemptId],
    leaving: Sequence[AttemptId],
    now: DateTime,
) -> bool:
    """Tell the rate which of the calls that have passed it leave now; False: Redis does not answer, so none may leave.

    A worker may have stood still since they passed. They count from now on (P2).
    """
    if departure.rate is None or not passed:
        return True
    try:
        context.leases.depart(now, departure.rate, leaving, [id_ for id_ in passed if id_ not in leaving])
    except Unavailable as error:
        log.warning("departure given up", trunk_id=str(departure.trunk.id), reason=str(error))
        return False
    return True


def _permit(context: EngineContext, attempt_ids: Sequence[AttemptId]) -> Permit:
    def permit(skip_locked: bool) -> Permit:
        with context.db.begin() as connection:
            return departures.permit(connection, attempt_ids, skip_locked=skip_locked)

    return passing_locks(permit)


def _pause_if_too_fast(
    context: EngineContext, trunk: Trunk, answers: Mapping[AttemptId, Placement], now: DateTime
) -> None:
    """Let nothing leave on a trunk for as long as its network wants to be left alone. Its breaker stays as it is."""
    waits = [
        _again_seconds(answer) or TOO_FAST_SECONDS
        for answer in answers.values()
        if isinstance(answer, Refused) and answer.cause_class is CauseClass.RATE
    ]
    if waits:
        pause_seconds = max(waits)
        log.warning(
            "trunk is paused: its network refuses the rate", trunk_id=str(trunk.id), pause_seconds=pause_seconds
        )
        context.leases.pause_trunk(now, trunk.id, pause_seconds)


def _again_seconds(answer: Refused) -> float | None:
    """Say when to ask again, as the network wants it, but not so late that a contact is never called again (P5)."""
    seconds = answer.retry_after_seconds
    return None if seconds is None else min(seconds, LAST_PAUSE_SECONDS)


def _put_back(context: EngineContext, refused: Mapping[AttemptId, str], now: DateTime) -> None:
    """Give back what was reserved and must not leave: its contacts are due again at once."""
    if refused:
        ends = {
            attempt_id: settle.End(reason, cause_class=CauseClass.POLICY, again_seconds=0)
            for attempt_id, reason in refused.items()
        }
        settle.close(context, ends, now)


def _record(context: EngineContext, placements: Mapping[AttemptId, Placement], now: DateTime) -> None:
    """Write what the networks said. Reports may have overtaken it; then they have the say."""
    placed = [(id_, answer.provider_call_id) for id_, answer in placements.items() if isinstance(answer, Placed)]
    unclear = [(id_, answer.reason) for id_, answer in placements.items() if isinstance(answer, Unclear)]
    refused = {
        id_: settle.End(answer.cause, cause_class=answer.cause_class, again_seconds=_again_seconds(answer))
        for id_, answer in placements.items()
        if isinstance(answer, Refused)
    }
    placed_until = now.add(seconds=RESCUE_AFTER[AttemptState.PLACED])
    unclear_until = now.add(seconds=RESCUE_AFTER[AttemptState.UNCLEAR])
    # Two transactions: each locks its attempts in id order, both together would not.
    if placed:
        _write(context, partial(attempts.mark_placed, placed=placed, rescue_at=placed_until))
    if unclear:
        _write(context, partial(attempts.mark_unclear, unclear=unclear, rescue_at=unclear_until))
    if refused:
        settle.close(context, refused, now)
    context.leases.renew([id_ for id_, _ in placed], placed_until)


def _write(context: EngineContext, mark: Callable[..., int]) -> None:
    """Write what is known of some calls. One that stays locked is left to rescue, which asks the network."""

    def write(skip_locked: bool) -> None:
        with context.db.begin() as connection:
            wait_shortly(connection)
            mark(connection, skip_locked=skip_locked)

    passing_locks(write)


def _note_health(
    context: EngineContext, departure: Departure, answers: Mapping[AttemptId, Placement], now: DateTime
) -> None:
    """Count the placements that failed in a row on the trunk. Any that its network took, or refused for a reason of the
    call's own, ends the row. Nothing is written of a trunk that works and has worked.
    """
    trunk_id, reasons = departure.trunk.id, [_failure(answer) for answer in answers.values()]
    failures = [reason for reason in reasons if reason]
    if len(failures) < len(reasons):
        if departure.trunk_has_failed:
            _note_works(context, trunk_id)
    elif failures:
        with context.db.begin() as connection:
            wait_shortly(connection)
            pause = trunk_breaker.failed(connection, trunk_id, len(failures), failures[-1], now)
        if pause is not None:
            log.warning("trunk is failing", trunk_id=str(trunk_id), reason=failures[-1], pause_seconds=pause)


def _note_works(context: EngineContext, trunk_id: TrunkId) -> None:
    with context.db.begin() as connection:
        wait_shortly(connection)
        if trunk_breaker.worked(connection, trunk_id):
            log.info("trunk works again", trunk_id=str(trunk_id))


def _note_agents(
    context: EngineContext, departure: Departure, answers: Mapping[AttemptId, Placement], now: DateTime
) -> None:
    """Hold the agents whose destination is missing on the trunk, and release those whose destination is there again."""
    refusals = {of: said for of, said in answers.items() if isinstance(said, Refused)}
    missing = {of: said.cause for of, said in refusals.items() if said.cause_class is CauseClass.AGENT}
    placed = [of for of, said in answers.items() if isinstance(said, Placed)] if departure.agent_is_held else []
    if not missing and not placed:
        return
    with context.db.begin() as connection:
        wait_shortly(connection)
        agent_health.worked(connection, placed)
        for reason in sorted(set(missing.values())):
            refused = [of for of, cause in missing.items() if cause == reason]
            agent_health.refused(connection, refused, reason, now.add(seconds=AGENT_PAUSE_SECONDS))
            log.warning("agent is failing", trunk_id=str(departure.trunk.id), reason=reason, calls=len(refused))


def _failure(answer: Placement) -> str | None:
    """Say why a placement failed, where that is the trunk's fault and not the call's."""
    match answer:
        case Unclear(reason):
            return reason
        case Refused(cause, CauseClass.INFRASTRUCTURE):
            return cause
        case _:
            return None
