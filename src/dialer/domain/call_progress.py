"""How far a call has come: reports, in whatever order they arrive, move its attempt forward and never back."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from pendulum import UTC, DateTime

from dialer.domain import sip
from dialer.domain.breaker import DROP_SECONDS
from dialer.domain.call import NOTHING_SAID, CallEvent, CallFacts, EventKind, HungUpBy
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.retry import REACHED
from dialer.domain.states import ATTEMPT_TRANSITIONS, AttemptState

# What a network reports as earlier or later than these is taken as these: further out, arithmetic with it fails.
EARLIEST, LATEST = DateTime(1970, 1, 1, tzinfo=UTC), DateTime(9000, 1, 1, tzinfo=UTC)
STATE_OF = {
    EventKind.RINGING: AttemptState.RINGING,
    EventKind.ANSWERED: AttemptState.ANSWERED,
    EventKind.ENDED: AttemptState.ENDED,
}


class Verdict(StrEnum):
    """What became of a report in the inbox."""

    APPLIED = "applied"  #: It moved its attempt forward. Set by settle.
    LATE = "late"  #: Its attempt was already in this state or a later one. Set by settle; nothing changes.
    CONTRADICTION = "contradiction"  #: It is about an attempt that was never placed. Set by settle; nothing changes.
    UNKNOWN_ATTEMPT = "unknown_attempt"  #: Its trunk has no such attempt. Set by settle; nothing changes.
    QUARANTINED = "quarantined"  #: Its own data cannot be settled. Set by settle; `dialer quarantine retry` undoes it.
    SET_ASIDE = "set_aside"  #: The same, in rows of the previous release. Rescue has them settled again.


@dataclass(frozen=True, slots=True)
class CallProgress:
    """Which state an attempt is in, and when it entered each state that it has been in."""

    state: AttemptState
    provider_call_id: str | None = None
    ringing_at: DateTime | None = None
    answered_at: DateTime | None = None
    ended_at: DateTime | None = None
    outcome: Outcome | None = None
    cause: str | None = None
    talk_seconds: float | None = None
    facts: CallFacts = NOTHING_SAID
    reported_outcome: Outcome | None = None  #: Reported while the call was up; replaces `answered` at its end.

    @property
    def has_rung(self) -> bool:
        return self.ringing_at is not None or self.answered_at is not None

    @property
    def is_network_failure(self) -> bool:
        """Say whether the call failed before it rang, for a reason that is the network's."""
        if self.outcome is not Outcome.FAILED or self.has_rung:
            return False
        return sip.cause_class(self.facts, has_rung=False) is CauseClass.INFRASTRUCTURE

    @property
    def is_without_agent(self) -> bool:
        """Say whether the call was answered, and no agent joined."""
        return self.outcome is Outcome.ANSWERED_NO_AGENT

    @property
    def shows_agent_joined(self) -> bool:
        """Say whether the call is over and had an agent."""
        return self.outcome in REACHED

    @property
    def shows_network_works(self) -> bool:
        """Say whether the network has reached the person's side. A timeout without ringing does not show it, nor does
        an answered call without an agent.
        """
        if self.is_without_agent:
            return False
        is_persons = self.outcome in (Outcome.BUSY, Outcome.REJECTED, Outcome.INVALID_NUMBER, *REACHED)
        return self.has_rung or is_persons or (self.outcome is Outcome.NO_ANSWER and self.facts.sip_code is not None)

    @property
    def shows_destination(self) -> bool:
        """Say whether the call shows if its agent's destination exists: not if the person hung up at once."""
        if self.outcome is not Outcome.ANSWERED or self.talk_seconds is None:
            return False
        return self.talk_seconds >= DROP_SECONDS or self.facts.hung_up_by is not HungUpBy.CALLEE


def follow(progress: CallProgress, events: Iterable[CallEvent]) -> tuple[CallProgress, list[Verdict]]:
    """Apply reports in the order in which they arrived; return how far the call has come, and a verdict on each."""
    verdicts = []
    for event in events:
        if STATE_OF[event.kind] in ATTEMPT_TRANSITIONS[progress.state]:
            progress = _apply(progress, event)
            verdicts.append(Verdict.APPLIED)
        elif event.early_outcome and progress.state is AttemptState.ANSWERED:
            progress = replace(progress, reported_outcome=event.early_outcome)
            verdicts.append(Verdict.APPLIED)
        else:
            is_refused = progress.state is AttemptState.REFUSED
            verdicts.append(Verdict.CONTRADICTION if is_refused else Verdict.LATE)
    return progress, verdicts


def _apply(progress: CallProgress, event: CallEvent) -> CallProgress:
    at = min(max(event.at, EARLIEST), LATEST)
    progress = replace(
        progress,
        state=STATE_OF[event.kind],
        provider_call_id=progress.provider_call_id or event.provider_call_id,
    )
    match event.kind:
        case EventKind.RINGING:
            return replace(progress, ringing_at=at)
        case EventKind.ANSWERED:
            reported_outcome = event.early_outcome or progress.reported_outcome
            return replace(progress, answered_at=at, reported_outcome=reported_outcome)
        case EventKind.ENDED:
            return replace(
                progress,
                ended_at=at,
                outcome=_outcome(progress, event),
                cause=event.cause,
                talk_seconds=event.talk_seconds,
                facts=event.facts,
                answered_at=progress.answered_at or _answered_before_end(event, at),
            )


def _outcome(progress: CallProgress, event: CallEvent) -> Outcome | None:
    return (progress.reported_outcome if event.outcome is Outcome.ANSWERED else None) or event.outcome


def _answered_before_end(event: CallEvent, ended_at: DateTime) -> DateTime | None:
    """Return when the call was answered, where the `answered` report is lost or comes after the end.

    Some networks report zero seconds of talk for a call that nobody answered, so zero counts only where the outcome
    says that someone did.
    """
    if event.talk_seconds is None or not (event.talk_seconds or event.outcome in (*REACHED, Outcome.ANSWERED_NO_AGENT)):
        return None
    return ended_at.subtract(seconds=event.talk_seconds)
