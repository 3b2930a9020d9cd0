"""The gates of one contact: its state, its number, its own times, and the hours in its time zones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.calling_rules import EVERYTHING, REASONS, CallingRules
from dialer.domain.calling_span import CallingSpan
from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.gates.of_batch import expiry, hours
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import RetryRules
from dialer.domain.states import FINAL_BATCH, AttemptState, ContactStatus
from dialer.domain.timeouts import PLACE_SECONDS
from dialer.errors import InvalidInput

# Why a contact was skipped, as it is stored.
SKIPPED = {
    "suppressed": GateCode.SUPPRESSED,
    "expired": GateCode.EXPIRED,
    "retries_taken_back": GateCode.ATTEMPTS_USED,
    "window_never_opens": GateCode.WINDOW_NEVER_OPENS,
}
# What a waiting contact waits for. Those that wait for their person have gates of their own.
WAITS_FOR = {
    "retry": GateCode.RETRY_NOT_DUE,
    "not_before": GateCode.NOT_BEFORE,
    "callback": GateCode.CALLBACK_AT,
}


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """The attempt of a contact that is being called. `looked_up_at`: when its network was last asked about it; None: it
    was not. `looks_at`: when it is asked next, if nothing is reported.
    """

    state: AttemptState
    created_at: DateTime
    is_sent: bool  #: Its request may have left.
    looked_up_at: DateTime | None = None
    looks_at: DateTime | None = None

    def is_unresolved(self, now: DateTime) -> bool:
        """Say whether it is not known if the call was placed."""
        if self.state is AttemptState.RESERVED:
            return self.is_sent and (now - self.created_at).total_seconds() >= PLACE_SECONDS
        return self.state is AttemptState.UNCLEAR


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """A contact, or contacts that are equal in all of this, as the gates see it. `ahead`: contacts called before it."""

    status: ContactStatus
    status_reason: str | None = None
    outcome: Outcome | None = None
    phone_number: str | None = None
    lane: Lane = NO_LANE
    zone_is_given: bool = False  #: Its time zone was given with it; otherwise it was derived from its number.
    due_at: DateTime | None = None
    waits_for: str = "retry"
    is_person_in_call: bool = False  #: Another contact with its number is being called.
    person_free_at: DateTime | None = None  #: When the limits per person allow the next call; None: now.
    attempts: int = 0
    attempts_allowed: int = 0  #: So many are allowed whatever the retry rules are.
    expires_at: DateTime | None = None
    is_suppressed: bool = False
    attempt: LiveAttempt | None = None
    ahead: int = 0
    rules: CallingRules = EVERYTHING

    @property
    def zone_from(self) -> str:
        """Say where its time zone comes from: it was given with the contact, derived from its number, or neither."""
        return "contact" if self.zone_is_given else "number" if self.lane.zones else "batch"


def contact_gates(batch: Batch, contact: ContactFacts, now: DateTime) -> Iterator[Blocked | None]:
    """Check a contact, gate by gate, in the order of the codes; None: the gate passes."""
    yield _resolved(contact, now)
    yield from _state(batch, contact)
    if contact.status in (ContactStatus.PENDING, ContactStatus.WAITING):
        yield _number(contact)
        yield Blocked(GateCode.SUPPRESSED) if contact.is_suppressed else None
        yield expiry(contact.expires_at, now)
        yield attempts_gate(batch.retry, contact)
        yield _due(contact, now)
        yield _person_limit(contact, now)
        yield Blocked(GateCode.PERSON_IN_CALL) if contact.is_person_in_call else None
    if batch.respect_contact_timezone and batch.window is not None:
        span = lane_hours(contact.lane, batch, now)
        yield replace(span, facts={**span.facts, "zone_from": contact.zone_from}) if isinstance(span, Blocked) else None


def lane_hours(lane: Lane, batch: Batch, now: DateTime) -> CallingSpan | Blocked:
    """Check that the windows of a lane are open; return the span in which a call may start."""
    assert batch.window is not None
    try:
        windows = lane.windows(batch.window)
    except InvalidInput:
        # This system does not know one of the zones; the contacts of other lanes are called.
        return Blocked(GateCode.WINDOW_UNREADABLE, facts={"timezones": list(lane.zones)})
    return hours(windows, batch.window, now, GateCode.OUTSIDE_CONTACT_HOURS)


def _resolved(contact: ContactFacts, now: DateTime) -> Blocked | None:
    attempt = contact.attempt
    if attempt is None or not attempt.is_unresolved(now):
        return None
    facts = {
        "state": attempt.state,
        "since": attempt.created_at,
        "looked_up_at": attempt.looked_up_at,
        "network_is_asked_at": attempt.looks_at,
    }
    return Blocked(GateCode.ATTEMPT_UNRESOLVED, facts=facts)


def _state(batch: Batch, contact: ContactFacts) -> Iterator[Blocked | None]:
    """Check that the contact is neither in a call nor over, by whichever code says best why."""
    facts = {"status": contact.status, "status_reason": contact.status_reason, "outcome": contact.outcome}
    match contact.status:
        case ContactStatus.DIALING:
            attempt = contact.attempt
            yield Blocked(GateCode.IN_CALL, facts={"state": attempt and attempt.state})
        case ContactStatus.COMPLETED:
            yield Blocked(GateCode.CONTACT_DONE, facts=facts)
        case ContactStatus.FAILED if contact.outcome is Outcome.INVALID_NUMBER:
            yield Blocked(GateCode.NUMBER_INVALID, facts=facts)
        case ContactStatus.FAILED if contact.outcome and batch.retry.covers(contact.outcome):
            yield Blocked(GateCode.ATTEMPTS_USED, facts=facts | _attempts_facts(batch.retry, contact))
        case ContactStatus.FAILED:
            yield Blocked(GateCode.CONTACT_DONE, facts=facts)
        case ContactStatus.SKIPPED:
            yield Blocked(SKIPPED.get(contact.status_reason or "", GateCode.CONTACT_DONE), facts=facts)
        case ContactStatus.CANCELLED if batch.status not in FINAL_BATCH:
            yield Blocked(GateCode.CONTACT_DONE, facts=facts)


def _number(contact: ContactFacts) -> Blocked | None:
    """Check that the workspace may call the number. It is checked last where a request leaves (P2)."""
    reason = contact.phone_number and contact.rules.refusal(contact.phone_number)
    return Blocked(GateCode.NUMBER_FORBIDDEN, facts={"reason": REASONS[reason]}) if reason else None


def attempts_gate(rules: RetryRules, contact: ContactFacts) -> Blocked | None:
    """Check that the rules of the batch, as they are now, allow another attempt."""
    is_taken_back = contact.outcome is Outcome.MACHINE and not rules.machine
    allows = rules.enabled and contact.attempts <= rules.max_attempts and not is_taken_back
    if not contact.attempts or contact.attempts < contact.attempts_allowed or allows:
        return None
    return Blocked(GateCode.ATTEMPTS_USED, facts=_attempts_facts(rules, contact))


def _attempts_facts(rules: RetryRules, contact: ContactFacts) -> dict[str, int]:
    limit = 1 + rules.max_attempts if rules.enabled else 1
    return {"attempts": contact.attempts, "limit": max(limit, contact.attempts_allowed)}


def _due(contact: ContactFacts, now: DateTime) -> Blocked | None:
    code = WAITS_FOR.get(contact.waits_for)
    if code is None or not _is_waiting(contact, now):
        return None
    return Blocked(code, contact.due_at, {"attempts": contact.attempts})


def _person_limit(contact: ContactFacts, now: DateTime) -> Blocked | None:
    """Check the limits per person, and that retry has looked at them again where they kept the contact back before."""
    waits_until = contact.due_at if contact.waits_for == "person_limit" and _is_waiting(contact, now) else None
    times = [at for at in (waits_until, contact.person_free_at) if at is not None and at > now]
    return Blocked(GateCode.PERSON_LIMIT, max(times)) if times else None


def _is_waiting(contact: ContactFacts, now: DateTime) -> bool:
    return contact.status is ContactStatus.WAITING and contact.due_at is not None and contact.due_at > now
