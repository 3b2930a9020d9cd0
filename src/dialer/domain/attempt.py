"""An attempt, from the offer that asks for a contact to what rescue must know of one without reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pendulum import DateTime

from dialer.domain.call import CallHandle
from dialer.domain.call_progress import CallProgress
from dialer.domain.callback import CallbackAnswer
from dialer.domain.ids import AttemptId, BatchId, ContactId, NumberId, TrunkId
from dialer.domain.lane import Lane
from dialer.domain.slots import Lease
from dialer.domain.states import AttemptState
from dialer.domain.trunk import Trunk


@dataclass(frozen=True, slots=True)
class Offer:
    """A granted slot that looks for the next contact of its batch and lane.

    The ledger accepts it only while its clock is in [valid_from, valid_until): inside the calling window, the local day
    and the UTC day for which the slot was granted (P2, P3); and only while the number still has `number_version`: a cap
    that was set since has not counted this slot. `allowed_by`: JSON text that is stored with the attempt.
    """

    attempt_id: AttemptId
    batch_id: BatchId
    lane: Lane
    number_id: NumberId
    trunk_id: TrunkId
    from_number: str
    number_version: str
    granted_at: DateTime
    valid_from: DateTime
    valid_until: DateTime
    local_on: date
    utc_on: date
    allowed_by: str


@dataclass(frozen=True, slots=True)
class ReservedAttempt:
    """An attempt that a claim has just written as `reserved`, with what its call request needs of the contact.

    `expires_at`: from then on the contact is not called. None: it never expires.
    """

    id: AttemptId
    batch_id: BatchId
    contact_id: ContactId
    to_number: str
    name: str | None = None
    external_id: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    expires_at: DateTime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt whose row is locked, with what the end of its call depends on."""

    id: AttemptId  #: UUID version 7, made by dispatch. The provider knows the call by it, and Redis its lease.
    batch_id: BatchId  #: The batch whose settings and counts it falls under.
    contact_id: ContactId  #: The person that it calls.
    trunk_id: TrunkId  #: The trunk that it leaves on. Only that trunk may report on it.
    number_id: NumberId  #: The outbound number that it uses.
    utc_on: date  #: The UTC day on which it counts toward the daily cap of its number.
    local_on: date  #: The local day on which it counts toward the daily cap of its batch.
    created_at: DateTime  #: When it was reserved, by the ledger's clock.
    progress: CallProgress  #: How far its call has come.
    contact_attempts: int  #: Attempts that its contact has used up, this one included.
    contact_refusals: int  #: Refusals in its contact's history; the delay before the next attempt doubles with each.
    lane: Lane  #: Its contact's lane: the time zones and the number that the contact is bound to.
    batch_talk_seconds: float | None  #: Typical length of its batch's conversations. None: not known yet.
    trunk_has_failed: bool  #: The last placement or call on its trunk failed, so a call that works must be noted.
    max_call_seconds: int | None = None  #: How long it may last once answered. None: CALL_SECONDS.
    callback_at: DateTime | None = None  #: When its person asked to be called again, checked when it was reported.
    contact_expires_at: DateTime | None = None  #: When its contact expires.

    @property
    def lease(self) -> Lease:
        return Lease(self.id, self.batch_id, self.number_id, self.trunk_id, self.utc_on)


@dataclass(frozen=True, slots=True)
class AttemptUpdate:
    """What is written of a locked attempt.

    `rescue_at`: when rescue looks at it again; None: it is over. `is_counted`: it uses up one of its contact's
    attempts. `is_reported`: its network has reported on its call. `callback`: that was asked for in its call; while it
    is up, the one that was granted so far.
    """

    id: AttemptId
    progress: CallProgress
    rescue_at: DateTime | None
    is_counted: bool
    is_reported: bool
    callback: CallbackAnswer


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call that its network has taken, with the id by which the network knows it."""

    attempt_id: AttemptId
    provider_call_id: str


@dataclass(frozen=True, slots=True)
class UnclearCall:
    """A call that may exist: the request may have left and there is no clear answer. `cause`: what is known of why."""

    attempt_id: AttemptId
    cause: str


@dataclass(frozen=True, slots=True)
class OverdueAttempt:
    """A live attempt without reports for too long, or with a report that could not be settled."""

    call: CallHandle  #: What the network can find its call by.
    trunk: Trunk  #: The trunk whose network is asked.
    state: AttemptState  #: The state that the ledger has.
    is_unsent: bool  #: Its request was never permitted to leave, and cannot be once the attempt is 15 s old.
    has_end_in_quarantine: bool  #: The network has reported its end, in a report that cannot be settled.
    has_report_waiting: bool  #: A report on it is in the inbox and not settled yet.
    gone_at: DateTime | None  #: When the network first said that it does not have the call.
    heard_without_break: bool  #: A listener was connected from before the attempt was made until after `gone_at`.
    network_has_changed: bool  #: Its trunk leads to another network since, or did not lead to this one for long then.
    is_too_long: bool  #: If its call is still up, it has lasted longer than its batch, or any call, allows.

    @property
    def id(self) -> AttemptId:
        return self.call.attempt_id

    @property
    def is_placed(self) -> bool:
        """Say whether its network has taken its call."""
        return self.state in (AttemptState.PLACED, AttemptState.RINGING, AttemptState.ANSWERED)
