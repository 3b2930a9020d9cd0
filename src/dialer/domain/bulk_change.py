"""What becomes of the contacts that nobody is calling when their batch is over or has expired."""

from dataclasses import dataclass

from dialer.domain.states import FINAL_BATCH, BatchStatus, ContactStatus


@dataclass(frozen=True, slots=True)
class ContactEnd:
    """A final state of contacts, and its reason."""

    status: ContactStatus
    reason: str


def end_of_open_contacts(status: BatchStatus, *, is_expired: bool) -> ContactEnd | None:
    """Return the end of a batch's pending and waiting contacts; None: it is live, so they will be called."""
    if status in FINAL_BATCH:
        return ContactEnd(ContactStatus.CANCELLED, f"batch_{status}")
    if is_expired:
        return ContactEnd(ContactStatus.SKIPPED, "expired")
    return None
