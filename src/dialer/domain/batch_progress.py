"""How far a batch has come."""

from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a batch as operators see it."""

    id: BatchId  #: UUID version 7, made when the batch is created.
    name: str  #: Chosen by the operator.
    status: BatchStatus  #: See BatchStatus.
    status_reason: str | None  #: Why it failed. None: it did not.
    held_by: str | None  #: Why the last dispatch started no more calls. None: nothing held it back.
    next_dispatch_at: DateTime | None  #: When dispatch looks at it again at the latest. None: at an event.
    drained_at: DateTime | None  #: When its last contact became final. None: some are not.
    total: int  #: All its contacts.
    pending: int  #: Contacts that may be called now.
    waiting: int  #: Contacts that wait for a retry.
    dialing: int  #: Contacts with an attempt in progress.
    completed: int  #: Contacts that were reached.
    failed: int  #: Contacts that were not reached and have no attempt left.
    skipped: int  #: Contacts that are never called: suppressed, expired, or outside every window.
    cancelled: int  #: Contacts that were not called any more when the batch was cancelled.
    is_finishing: bool = False  #: It is over or expired, and workers are ending its pending and waiting contacts.
