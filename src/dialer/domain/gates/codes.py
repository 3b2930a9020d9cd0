"""The closed list of gate codes. docs/why-not-called.md describes each; a test compares the two."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pendulum import DateTime


class GateClass(StrEnum):
    """What a gate that does not pass means for the contact."""

    NEVER = "never"  #: It is not called, unless somebody edits something.
    INELIGIBLE = "ineligible"  #: Its own state, time or rule does not allow a call now.
    ELIGIBLE = "eligible"  #: It may be called, and waits for something that it shares with others.


class Advice(StrEnum):
    """What an operator can do about a gate that does not pass."""

    WAIT = "wait"  #: It passes by itself.
    CHANGE = "change"  #: A setting, a number, a trunk, an agent or the batch has to be changed.
    ESCALATE = "escalate"  #: Somebody who runs the installation, or the network, has to look.


class GateCode(StrEnum):
    """The gates, in the order in which they are checked and shown."""

    ATTEMPT_UNRESOLVED = "attempt_unresolved"
    IN_CALL = "in_call"
    CONTACT_DONE = "contact_done"
    BATCH_OVER = "batch_over"
    NUMBER_INVALID = "number_invalid"
    NUMBER_FORBIDDEN = "number_forbidden"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    ATTEMPTS_USED = "attempts_used"
    NO_NUMBER = "no_number"
    WINDOW_NEVER_OPENS = "window_never_opens"
    BATCH_DRAFT = "batch_draft"
    BATCH_SCHEDULED = "batch_scheduled"
    BATCH_PAUSED = "batch_paused"
    NOT_BEFORE = "not_before"
    CALLBACK_AT = "callback_at"
    RETRY_NOT_DUE = "retry_not_due"
    PERSON_LIMIT = "person_limit"
    EXCLUDED_DATE = "excluded_date"
    OUTSIDE_BATCH_HOURS = "outside_batch_hours"
    OUTSIDE_CONTACT_HOURS = "outside_contact_hours"
    NO_ACTIVE_NUMBER = "no_active_number"
    AGENT_NOT_PERMITTED = "agent_not_permitted"
    TRUNK_UNHEARD = "trunk_unheard"
    BREAKER_OPEN = "breaker_open"
    AGENT_INACTIVE = "agent_inactive"
    WINDOW_UNREADABLE = "window_unreadable"
    DISPATCH_FAILING = "dispatch_failing"
    DISPATCHER_LATE = "dispatcher_late"
    PERSON_IN_CALL = "person_in_call"
    AGENT_FAILING = "agent_failing"
    DAILY_CAP = "daily_cap"
    BATCH_SLOTS_FULL = "batch_slots_full"
    REDIS_AWAY = "redis_away"
    REDIS_REBUILDING = "redis_rebuilding"
    NUMBER_ROOM = "number_room"
    NUMBER_DAY = "number_day"
    TRUNK_SLOTS_FULL = "trunk_slots_full"
    TRUNK_RATE = "trunk_rate"
    NO_WORKER = "no_worker"
    IMPORT_RUNNING = "import_running"


@dataclass(frozen=True, slots=True)
class GateKind:
    """What a code stands for. `meaning`: one sentence, for operators."""

    gate_class: GateClass
    advice: Advice
    meaning: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A gate that does not pass now.

    `not_before`: the earliest moment at which it could; None: not known. `facts`: by which it was decided. `again_at`:
    when dispatch looks again, where that is not `not_before`.
    """

    code: GateCode
    not_before: DateTime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    again_at: DateTime | None = None

    @property
    def gate_class(self) -> GateClass:
        return KINDS[self.code].gate_class


def _never(advice: Advice, meaning: str) -> GateKind:
    return GateKind(GateClass.NEVER, advice, meaning)


def _ineligible(advice: Advice, meaning: str) -> GateKind:
    return GateKind(GateClass.INELIGIBLE, advice, meaning)


def _eligible(advice: Advice, meaning: str) -> GateKind:
    return GateKind(GateClass.ELIGIBLE, advice, meaning)


_WAIT, _CHANGE, _ESCALATE = Advice

KINDS: Mapping[GateCode, GateKind] = {
    GateCode.ATTEMPT_UNRESOLVED: _never(
        _ESCALATE, "It is not known whether the last call was placed; the network is asked until it is known."
    ),
    GateCode.IN_CALL: _eligible(_WAIT, "The contact is being called now."),
    GateCode.CONTACT_DONE: _never(_CHANGE, "The contact has its final result."),
    GateCode.BATCH_OVER: _never(_CHANGE, "The batch is completed, cancelled or failed."),
    GateCode.NUMBER_INVALID: _never(_CHANGE, "The network says that the contact's number does not exist."),
    GateCode.NUMBER_FORBIDDEN: _never(_CHANGE, "The workspace may not call the contact's number."),
    GateCode.SUPPRESSED: _never(_CHANGE, "The contact's number is on the do-not-call list."),
    GateCode.EXPIRED: _never(_CHANGE, "The contact or its batch has expired."),
    GateCode.ATTEMPTS_USED: _never(_CHANGE, "The contact was not reached, and has no attempt left."),
    GateCode.NO_NUMBER: _never(_CHANGE, "The batch has no outbound number, so it fails."),
    GateCode.WINDOW_NEVER_OPENS: _never(_CHANGE, "The calling window does not open within 400 days."),
    GateCode.BATCH_DRAFT: _ineligible(_CHANGE, "The batch is a draft; it has not been scheduled."),
    GateCode.BATCH_SCHEDULED: _ineligible(_WAIT, "The start of the batch lies ahead."),
    GateCode.BATCH_PAUSED: _ineligible(_CHANGE, "The batch is paused."),
    GateCode.NOT_BEFORE: _ineligible(_WAIT, "The contact must not be called before a time of its own."),
    GateCode.CALLBACK_AT: _ineligible(_WAIT, "The person has asked to be called at a later time."),
    GateCode.RETRY_NOT_DUE: _ineligible(_WAIT, "The contact waits for its next attempt."),
    GateCode.PERSON_LIMIT: _ineligible(_WAIT, "The person has been called as often as the limits per person allow."),
    GateCode.EXCLUDED_DATE: _ineligible(_WAIT, "No calls are made on this date."),
    GateCode.OUTSIDE_BATCH_HOURS: _ineligible(_WAIT, "The calling window of the batch is closed."),
    GateCode.OUTSIDE_CONTACT_HOURS: _ineligible(_WAIT, "The calling window is closed in the contact's time zone."),
    GateCode.NO_ACTIVE_NUMBER: _eligible(_CHANGE, "No outbound number of the batch is active, with its trunk."),
    GateCode.AGENT_NOT_PERMITTED: _eligible(_CHANGE, "No trunk lets answered calls go to the agent of the batch."),
    GateCode.TRUNK_UNHEARD: _eligible(_ESCALATE, "No listener hears the trunk, so ends of calls would be missed."),
    GateCode.BREAKER_OPEN: _eligible(_ESCALATE, "Calls on the trunk fail, so its circuit breaker is open."),
    GateCode.AGENT_INACTIVE: _eligible(_CHANGE, "The agent of the batch is inactive."),
    GateCode.WINDOW_UNREADABLE: _eligible(_ESCALATE, "This system cannot read the calling window, or its zone."),
    GateCode.DISPATCH_FAILING: _eligible(_ESCALATE, "The batch could not be dispatched; it is tried every minute."),
    GateCode.DISPATCHER_LATE: _eligible(_ESCALATE, "The batch is due, and no worker has taken it."),
    GateCode.PERSON_IN_CALL: _eligible(_WAIT, "Another batch is calling the same number now."),
    GateCode.AGENT_FAILING: _eligible(_CHANGE, "Answered calls have no destination: the agent is held on every trunk."),
    GateCode.DAILY_CAP: _eligible(_WAIT, "The batch has made as many attempts today as its daily cap allows."),
    GateCode.BATCH_SLOTS_FULL: _eligible(_WAIT, "The slots of the batch are used, or go to contacts before this one."),
    GateCode.REDIS_AWAY: _eligible(_ESCALATE, "Redis does not answer, so no slot is granted."),
    GateCode.REDIS_REBUILDING: _eligible(_WAIT, "Redis has lost its data; no slot is granted until it is rebuilt."),
    GateCode.NUMBER_ROOM: _eligible(_WAIT, "Every outbound number has as many calls in progress as it may have."),
    GateCode.NUMBER_DAY: _eligible(_WAIT, "Every outbound number has reached its daily cap."),
    GateCode.TRUNK_SLOTS_FULL: _eligible(_WAIT, "Every trunk has as many calls in progress as it may have."),
    GateCode.TRUNK_RATE: _eligible(_WAIT, "The rate of every trunk is used for the next seconds."),
    GateCode.NO_WORKER: _eligible(_ESCALATE, "No worker has run a step lately."),
    GateCode.IMPORT_RUNNING: _eligible(_WAIT, "An import is storing contacts of the batch."),
}
