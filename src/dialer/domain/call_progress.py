"""The course of one call: how reports, in whatever order they come, move an attempt forward and never back."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from pendulum import DateTime

from dialer.domain import sip
from dialer.domain.call import NOTHING_SAID, CallEvent, CallFacts, EventKind
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.retry import REACHED
from dialer.domain.states import ATTEMPT_TRANSITIONS, AttemptState

STATE_OF = {
    EventKind.RINGING: AttemptState.RINGING,
    EventKind.ANSWERED: AttemptState.ANSWERED,
    EventKind.ENDED: AttemptState.ENDED,
}


class Verdict(StrEnum):
    """What became of a report. `late`: the attempt was already further; `contradiction`: it was surely not placed;
    `quarantined`: it could not be settled because of its own data, and can be tried again (`set_aside`: the same in
    rows that a worker of the previous release has written).
    """

    APPLIED = "applied"
    LATE = "late"
    CONTRADICTION = "contradiction"
    UNKNOWN_ATTEMPT = "unknown_attempt"
    QUARANTINED = "quarantined"
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, slots=True)
class Course:
    """Where an attempt is, and when it came through each state."""

    state: AttemptState
    provider_call_id: str | None = None
    ringing_at: DateTime | None = None
    answered_at: DateTime | None = None
    ended_at: DateTime | None = None
    outcome: Outcome | None = None
    cause: str | None = None
    talk_seconds: float | None = None
    facts: CallFacts = NOTHING_SAID

    @property
    def has_rung(self) -> bool:
        return self.ringing_at is not None or self.answered_at is not None

    @property
    def is_network_failure(self) -> bool:
        """Say whether the call failed before it rang, for reasons that are not the person's."""
        if self.outcome is not Outcome.FAILED or self.has_rung:
            return False
        return sip.cause_class(self.facts, has_rung=False) is CauseClass.INFRASTRUCTURE

    @property
    def shows_network_works(self) -> bool:
        """Say whether the network has reached the person's side. A timeout without ringing does not show it."""
        is_persons = self.outcome in (Outcome.BUSY, Outcome.REJECTED, Outcome.INVALID_NUMBER, *REACHED)
        return self.has_rung or is_persons or (self.outcome is Outcome.NO_ANSWER and self.facts.sip_code is not None)


def follow(course: Course, events: Iterable[CallEvent]) -> tuple[Course, list[Verdict]]:
    """Apply reports in the order in which they came; say of each what became of it."""
    verdicts = []
    for event in events:
        if STATE_OF[event.kind] in ATTEMPT_TRANSITIONS[course.state]:
            course = _apply(course, event)
            verdicts.append(Verdict.APPLIED)
        else:
            refused = course.state is AttemptState.REFUSED
            verdicts.append(Verdict.CONTRADICTION if refused else Verdict.LATE)
    return course, verdicts


def _apply(course: Course, event: CallEvent) -> Course:
    course = replace(
        course,
        state=STATE_OF[event.kind],
        provider_call_id=course.provider_call_id or event.provider_call_id,
    )
    match event.kind:
        case EventKind.RINGING:
            return replace(course, ringing_at=event.at)
        case EventKind.ANSWERED:
            return replace(course, answered_at=event.at)
        case EventKind.ENDED:
            return replace(
                course,
                ended_at=event.at,
                outcome=event.outcome,
                cause=event.cause,
                talk_seconds=event.talk_seconds,
                facts=event.facts,
                answered_at=course.answered_at or _answered_before_end(event),
            )


def _answered_before_end(event: CallEvent) -> DateTime | None:
    """When a lost or later `answered` report would have said that the call was answered.

    A network may well report no talk of a call that nobody answered as zero seconds of it.
    """
    if event.talk_seconds is None or not (event.talk_seconds or event.outcome in REACHED):
        return None
    return event.at.subtract(seconds=event.talk_seconds)
