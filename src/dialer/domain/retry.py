"""Retry rules: when an attempt is over, its contact is completed, failed, or called again after a delay."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.states import ContactStatus

DEFAULT_DELAY_MINUTES: Mapping[Outcome, int] = {
    Outcome.BUSY: 10,
    Outcome.NO_ANSWER: 60,
    Outcome.MACHINE: 120,
    Outcome.FAILED: 5,
    Outcome.REJECTED: 60,
}
REACHED = frozenset({Outcome.ANSWERED, Outcome.MACHINE})
# The delay after a refusal doubles from the first to the last of these.
REFUSED_FIRST_SECONDS = 15
REFUSED_LAST_SECONDS = 600
# The delay after a refusal because of the rate.
RATE_EXCEEDED_SECONDS = 2
MOST_NETWORK_FAILURES = 10
"""After this many refusals, a call that fails in its network uses up an attempt like any other: a number without route
must not keep its batch open for ever (P5)."""


@dataclass(frozen=True, slots=True)
class RetryRules:
    """`max_attempts`: retries in all, whatever their outcomes. `delays`: in minutes; they replace the defaults."""

    enabled: bool = False
    max_attempts: int = 0
    machine: bool = False
    delays: Mapping[Outcome, float] = field(default_factory=dict)

    def covers(self, outcome: Outcome) -> bool:
        """Say whether a call with this outcome is retried; never an invalid number, never an unknown end (P1)."""
        if outcome is Outcome.MACHINE:
            return self.machine
        return outcome in DEFAULT_DELAY_MINUTES


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """`delay_seconds` is set for `waiting` alone, counted from the end of the call."""

    status: ContactStatus
    delay_seconds: float | None = None


def after_call(rules: RetryRules, outcome: Outcome, attempts: int) -> RetryDecision:
    """Decide after a call that ended. `attempts`: how many of this contact's were placed, this one included."""
    if rules.enabled and rules.covers(outcome) and attempts <= rules.max_attempts:
        minutes = rules.delays.get(outcome, DEFAULT_DELAY_MINUTES[outcome])
        return RetryDecision(ContactStatus.WAITING, minutes * 60.0)
    return RetryDecision(ContactStatus.COMPLETED if outcome in REACHED else ContactStatus.FAILED)


def after_refusal(cause_class: CauseClass, refusals: int) -> RetryDecision:
    """Decide after a placement that made no call. `refusals`: how many this contact has had, this one included.

    Unless the number itself was refused, the contact keeps its attempts and is called again after a delay that doubles
    from 15 s to 10 min, so that a trunk that is down is not flooded. A network that takes fewer calls a second is asked
    again soon.
    """
    if cause_class is CauseClass.CONTACT:
        return RetryDecision(ContactStatus.FAILED)
    if cause_class is CauseClass.RATE:
        return RetryDecision(ContactStatus.WAITING, RATE_EXCEEDED_SECONDS)
    delay = min(REFUSED_FIRST_SECONDS * 2.0 ** min(refusals - 1, 10), REFUSED_LAST_SECONDS)
    return RetryDecision(ContactStatus.WAITING, delay)
