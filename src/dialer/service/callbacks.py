"""Callbacks: a person asks to be called at a certain time, and is then called before all others."""

from datetime import datetime

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.callback import CalledBack
from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.domain.states import FINAL_BATCH, FINAL_CONTACT, ContactStatus
from dialer.errors import NotFound, StateConflict
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
    called_back = CalledBack(batch, contact.lane, contact.expires_at, "at")
    at = called_back.moment(asked)
    called_back.check(at, now)
    contacts.call_back(connection, contact_id, at)


def _refuse_states(batch: Batch, contact: LockedContact) -> None:
    if batch.status in FINAL_BATCH:
        raise StateConflict(f"Batch is {batch.status}; nobody is called back", code="batch_is_final")
    if contact.status in FINAL_CONTACT:
        raise StateConflict(f"Contact is {contact.status}; it is not called again", code="contact_is_final")
    if contact.status is ContactStatus.DIALING:
        raise StateConflict("Contact is being called; ask again when the call is over", code="contact_in_call")
