"""One call as the carrier itself records it, from the first signal to the end.

In: what is asked for and the course that was drawn. Out: a `CarrierCall`, and the events that it makes. A call is
planned to its end when it is placed; hanging up cuts the plan short. Nothing here waits or is sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.providers.base import CallRequest
from dialer.providers.simulator.course import Course
from dialer.providers.simulator.instants import SECOND, from_micros, to_micros

TALKED = frozenset({Outcome.ANSWERED, Outcome.MACHINE})
RANG = TALKED | {Outcome.NO_ANSWER, Outcome.REJECTED}
# The names of ITU-T Q.850 as FreeSWITCH and others spell them.
CAUSES = {
    Outcome.ANSWERED: "normal_clearing",
    Outcome.MACHINE: "normal_clearing",
    Outcome.BUSY: "user_busy",
    Outcome.NO_ANSWER: "no_answer",
    Outcome.REJECTED: "call_rejected",
    Outcome.INVALID_NUMBER: "unallocated_number",
    Outcome.FAILED: "normal_temporary_failure",
    Outcome.CANCELLED: "originator_cancel",
}
NOT_RUNG_IN_TIME = "recovery_on_timer_expire"


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """The carrier's own record of one call that exists or existed, whatever was reported of it.

    Times are in microseconds; the properties give them as moments. Those of a call still up lie partly ahead: they are
    what will happen unless someone hangs up. An attempt that was placed twice has two calls, with ids of their own.
    """

    attempt_id: AttemptId
    call_id: str
    to_number: str
    from_number: str
    placed: int
    rang: int | None
    answered: int | None
    ended: int
    outcome: Outcome
    cause: str
    ring_by: DateTime | None

    @property
    def placed_at(self) -> DateTime:
        return from_micros(self.placed)

    @property
    def rang_at(self) -> DateTime | None:
        return None if self.rang is None else from_micros(self.rang)

    @property
    def answered_at(self) -> DateTime | None:
        return None if self.answered is None else from_micros(self.answered)

    @property
    def ended_at(self) -> DateTime:
        return from_micros(self.ended)

    @property
    def talk_seconds(self) -> float:
        return 0.0 if self.answered is None else (self.ended - self.answered) / SECOND

    def steps(self) -> Iterator[tuple[EventKind, int]]:
        """Yield what happens in this call and when, oldest first."""
        if self.rang is not None:
            yield EventKind.RINGING, self.rang
        if self.answered is not None:
            yield EventKind.ANSWERED, self.answered
        yield EventKind.ENDED, self.ended

    def event(self, kind: EventKind) -> CallEvent:
        """Return what there is to say of one of the steps."""
        ended = kind is EventKind.ENDED
        return CallEvent(
            key=report_key(self.call_id, kind),
            attempt_id=self.attempt_id,
            kind=kind,
            at=from_micros(dict(self.steps())[kind]),
            outcome=self.outcome if ended else None,
            cause=self.cause if ended else None,
            talk_seconds=self.talk_seconds if ended else None,
            provider_call_id=self.call_id,
        )

    def cut(self, at: int) -> Self:
        """Return this call as it is when someone hangs up at this moment, before its end."""
        if self.answered is not None and self.answered <= at:
            return replace(self, ended=at)
        rang = self.rang if self.rang is not None and self.rang <= at else None
        cancelled = Outcome.CANCELLED
        return replace(self, rang=rang, answered=None, ended=at, outcome=cancelled, cause=CAUSES[cancelled])


def report_key(call_id: str, kind: EventKind) -> str:
    return f"{call_id}:{kind}"


def plan_call(request: CallRequest, course: Course, call_id: str, placed: int, speed: float) -> CarrierCall:
    """Lay out the call in time.

    It begins to ring strictly before `ring_by` (a calling window is open up to its end, exclusive), or is given up at
    that moment. Whoever has not answered when the ring timeout is over is a `no_answer`, whatever was drawn.
    """
    heard = placed + course.setup
    given_up = to_micros(request.ring_by) if request.ring_by else None
    if given_up is not None and heard >= given_up:
        return _call(request, call_id, placed, (None, None, given_up), Outcome.NO_ANSWER, NOT_RUNG_IN_TIME)
    if course.outcome not in RANG:
        return _call(request, call_id, placed, (None, None, heard), course.outcome)
    patience = round(request.ring_timeout_seconds / speed * SECOND)
    if course.outcome is Outcome.NO_ANSWER or course.ring >= patience:
        return _call(request, call_id, placed, (heard, None, heard + patience), Outcome.NO_ANSWER)
    taken = heard + course.ring
    if course.outcome is Outcome.REJECTED:
        return _call(request, call_id, placed, (heard, None, taken), Outcome.REJECTED)
    return _call(request, call_id, placed, (heard, taken, taken + course.talk), course.outcome)


def _call(
    request: CallRequest,
    call_id: str,
    placed: int,
    steps: tuple[int | None, int | None, int],
    outcome: Outcome,
    cause: str | None = None,
) -> CarrierCall:
    rang, answered, ended = steps
    return CarrierCall(
        attempt_id=request.attempt_id,
        call_id=call_id,
        to_number=request.to_number,
        from_number=request.from_number,
        placed=placed,
        rang=rang,
        answered=answered,
        ended=ended,
        outcome=outcome,
        cause=cause or CAUSES[outcome],
        ring_by=request.ring_by,
    )
