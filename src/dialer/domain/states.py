"""The three state machines. Drawn in docs/states.md, enforced by CHECK constraints and by the WHERE of each write."""

from enum import StrEnum


class BatchStatus(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ContactStatus(StrEnum):
    PENDING = "pending"
    WAITING = "waiting"
    DIALING = "dialing"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    RESERVED = "reserved"
    UNCLEAR = "unclear"
    PLACED = "placed"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"
    REFUSED = "refused"


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
    ContactStatus.PENDING: frozenset({ContactStatus.DIALING, ContactStatus.SKIPPED, ContactStatus.CANCELLED}),
    ContactStatus.WAITING: frozenset({ContactStatus.PENDING, ContactStatus.SKIPPED, ContactStatus.CANCELLED}),
    ContactStatus.DIALING: frozenset(
        {
            ContactStatus.COMPLETED,
            ContactStatus.FAILED,
            ContactStatus.WAITING,
            ContactStatus.CANCELLED,
        }
    ),
    ContactStatus.COMPLETED: frozenset(),
    ContactStatus.FAILED: frozenset(),
    ContactStatus.SKIPPED: frozenset(),
    ContactStatus.CANCELLED: frozenset(),
}

# `unclear` may be overtaken by any report: a call that may exist turns out to exist.
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
FINAL_CONTACT = frozenset(status for status, nexts in CONTACT_TRANSITIONS.items() if not nexts)
LIVE_ATTEMPT = frozenset(state for state, nexts in ATTEMPT_TRANSITIONS.items() if nexts)
