"""Callbacks: a person asks to be called at a certain time, and is then called before all others."""

from collections.abc import Sequence
from datetime import datetime

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.calling_span import next_span_at, span_of
from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.domain.states import FINAL_BATCH, FINAL_CONTACT, ContactStatus
from dialer.domain.timezones import moment_of
from dialer.domain.window import CallingWindow
from dialer.errors import InvalidInput, NotFound, StateConflict
from dialer.service.fields import InputModel, Moment
from dialer.store import batches, contacts, progress
from dialer.store.contacts import LockedContact
from dialer.store.database import Connection, Database


class Callback(InputModel):
    """When a contact is to be called. Without an offset the time is read in the batch's zone."""

    at: Moment


def ask(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    contact_id: ContactId,
    callback: Callback,
    now: DateTime,
) -> None:
    """Have a contact called at a time of its own. A later request replaces it.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the contact.
        contact_id: the contact; it must be pending or waiting.
        callback: the time.
        now: the current time.

    Raises:
        NotFound: there is no such contact in a batch of this workspace.
        StateConflict: the batch is over (`batch_is_final`), or the contact is (`contact_is_final`), or it is being
            called (`contact_in_call`).
        InvalidInput: `at` does not lie ahead, or no call may start then.
    """
    db.insist(lambda connection: _ask(connection, workspace_id, batch_id, contact_id, callback.at, now))


def _ask(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    contact_id: ContactId,
    asked: datetime,
    now: DateTime,
) -> None:
    # The counts are locked before the batch is read: a cancellation is either seen here, or waits and then ends the
    # contact.
    progress.lock_progress(connection, [batch_id])
    batch = next((batch for batch in batches.load(connection, [batch_id]) if batch.workspace_id == workspace_id), None)
    contact = contacts.lock_one(connection, batch_id, contact_id) if batch else None
    if batch is None or contact is None:
        raise NotFound("No such contact in this batch")
    _refuse_states(batch, contact)
    at = _checked(asked, batch, contact, now)
    contacts.call_back(connection, contact_id, at)


def _refuse_states(batch: Batch, contact: LockedContact) -> None:
    if batch.status in FINAL_BATCH:
        raise StateConflict(f"Batch is {batch.status}; nobody is called back", code="batch_is_final")
    if contact.status in FINAL_CONTACT:
        raise StateConflict(f"Contact is {contact.status}; it is not called again", code="contact_is_final")
    if contact.status is ContactStatus.DIALING:
        raise StateConflict("Contact is being called; ask again when the call is over", code="contact_in_call")


def _checked(asked: datetime, batch: Batch, contact: LockedContact, now: DateTime) -> DateTime:
    """Return the moment of a callback; raises InvalidInput where no call may start then."""
    if batch.window is None:
        raise InvalidInput.of("at", "cannot be checked: the calling window of the batch is not readable")
    try:
        at = moment_of(asked, batch.window.timezone)
    except (ValueError, OverflowError):
        raise InvalidInput.of("at", "is no moment between the years 1 and 9999") from None
    if at <= now:
        raise InvalidInput.of("at", "must lie ahead")
    ends = [end for end in (batch.expires_at, contact.expires_at) if end is not None]
    if ends and at >= min(ends):
        raise InvalidInput.of("at", f"must be earlier than {min(ends).to_iso8601_string()}, when the contact expires")
    _check_window(at, contact.lane.windows(batch.window), batch.window)
    return at


def _check_window(at: DateTime, windows: Sequence[CallingWindow], own: CallingWindow) -> None:
    if span_of(windows, own, at) is not None:
        return
    next_at = next_span_at(windows, at)
    advice = f"calls may start again at {next_at.to_iso8601_string()}" if next_at else "no call may ever start after it"
    raise InvalidInput.of("at", f"lies outside the calling window; {advice}")
