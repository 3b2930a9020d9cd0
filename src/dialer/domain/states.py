"""The states of batches, contacts and attempts. Drawn in docs/states.md, kept by CHECK constraints and WHERE."""

from enum import StrEnum


class BatchStatus(StrEnum):
    """Where a batch is between its creation and its end."""

    DRAFT = "draft"  #: Set when the batch is created. Contacts are imported; nothing is called until it is started.
    SCHEDULED = "scheduled"  #: Set by the operator's start with a later time. Tick makes it active at that time.
    ACTIVE = "active"  #: Set by start, resume or tick. Dispatch calls its contacts and ends it when none is left.
    PAUSED = "paused"  #: Set by the operator. No new call leaves; calls in progress go on. Left by resume or cancel.
    COMPLETED = "completed"  #: Set by dispatch when all contacts are final. Final.
    CANCELLED = "cancelled"  #: Set by the operator. Its contacts that are not being called become cancelled. Final.
    FAILED = "failed"  #: Set by dispatch when the batch can never call, for example without any number. Final.


class ContactStatus(StrEnum):
    """Where a contact is between its import and its last attempt."""

    PENDING = "pending"  #: Set by import, and by retry when its time has come. Dispatch may call it now.
    WAITING = "waiting"  #: Set by settle to repeat an attempt, or by dispatch. Retry makes it pending at `due_at`.
    DIALING = "dialing"  #: Set by dispatch with the attempt. Settle or rescue moves it on when the attempt is over.
    COMPLETED = "completed"  #: Set by settle: the person or a machine answered. Final.
    FAILED = "failed"  #: Set by settle: not reached, and no attempt is left. Final.
    SKIPPED = "skipped"  #: Set by dispatch or a bulk change: suppressed, expired, or its window never opens. Final.
    CANCELLED = "cancelled"  #: Set when its batch is cancelled; by settle, if its attempt is refused after that. Final.


class AttemptState(StrEnum):
    """Where an attempt is between its reservation and the end of its call."""

    RESERVED = "reserved"  #: Set by dispatch before the provider is asked. Place moves it on; rescue looks after 30 s.
    UNCLEAR = "unclear"  #: Set by place: no clear answer, the call may exist. Never placed again (P1); rescue asks.
    PLACED = "placed"  #: Set by place, or by rescue: the network has the call. Reports move it on.
    RINGING = "ringing"  #: Set by settle: the phone rings. Reports move it on.
    ANSWERED = "answered"  #: Set by settle: the call was answered. Its end is reported, or rescue asks about it.
    ENDED = "ended"  #: Set by settle, or by rescue without a report: the call is over and has an outcome. Final.
    REFUSED = "refused"  #: Set by place or rescue: no call was made, so the contact keeps its attempts. Final.


BATCH_TRANSITIONS: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.DRAFT: frozenset({BatchStatus.SCHEDULED, BatchStatus.ACTIVE, BatchStatus.CANCELLED}),
    BatchStatus.SCHEDULED: frozenset(
        {BatchStatus.ACTIVE, BatchStatus.PAUSED, BatchStatus.CANCELLED, BatchStatus.FAILED}
    ),
    BatchStatus.ACTIVE: frozenset(
        {BatchStatus.PAUSED, BatchStatus.COMPLETED, BatchStatus.CANCELLED, BatchStatus.FAILED}
    ),
    BatchStatus.PAUSED: frozenset(
        {BatchStatus.SCHEDULED, BatchStatus.ACTIVE, BatchStatus.CANCELLED, BatchStatus.FAILED}
    ),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
    BatchStatus.FAILED: frozenset(),
}

CONTACT_TRANSITIONS: dict[ContactStatus, frozenset[ContactStatus]] = {
    ContactStatus.PENDING: frozenset(
        {ContactStatus.DIALING, ContactStatus.WAITING, ContactStatus.SKIPPED, ContactStatus.CANCELLED}
    ),
    ContactStatus.WAITING: frozenset({ContactStatus.PENDING, ContactStatus.SKIPPED, ContactStatus.CANCELLED}),
    ContactStatus.DIALING: frozenset(
        {
            ContactStatus.COMPLETED,
            ContactStatus.FAILED,
            ContactStatus.WAITING,
            ContactStatus.CANCELLED,
        }
    ),
    # By a callback that is reported after the call.
    ContactStatus.COMPLETED: frozenset({ContactStatus.WAITING}),
    ContactStatus.FAILED: frozenset({ContactStatus.WAITING}),
    ContactStatus.SKIPPED: frozenset(),
    ContactStatus.CANCELLED: frozenset(),
}

# Any report moves `unclear` on: the call that may exist does exist.
ATTEMPT_TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.RESERVED: frozenset(
        {
            AttemptState.PLACED,
            AttemptState.UNCLEAR,
            AttemptState.REFUSED,
            AttemptState.RINGING,
            AttemptState.ANSWERED,
            AttemptState.ENDED,
        }
    ),
    AttemptState.UNCLEAR: frozenset(
        {
            AttemptState.PLACED,
            AttemptState.REFUSED,
            AttemptState.RINGING,
            AttemptState.ANSWERED,
            AttemptState.ENDED,
        }
    ),
    AttemptState.PLACED: frozenset({AttemptState.RINGING, AttemptState.ANSWERED, AttemptState.ENDED}),
    AttemptState.RINGING: frozenset({AttemptState.ANSWERED, AttemptState.ENDED}),
    AttemptState.ANSWERED: frozenset({AttemptState.ENDED}),
    AttemptState.ENDED: frozenset(),
    AttemptState.REFUSED: frozenset(),
}

FINAL_BATCH = frozenset(status for status, nexts in BATCH_TRANSITIONS.items() if not nexts)
FINAL_CONTACT = frozenset(
    {ContactStatus.COMPLETED, ContactStatus.FAILED, ContactStatus.SKIPPED, ContactStatus.CANCELLED}
)
LIVE_ATTEMPT = frozenset(state for state, nexts in ATTEMPT_TRANSITIONS.items() if nexts)
