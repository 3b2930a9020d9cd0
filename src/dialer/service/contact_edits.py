"""Changes of single contacts that are not being called: their fields, or that they are not called any more."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.contact import NewContact, parse_contact
from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.domain.lane import Lane
from dialer.domain.states import FINAL_BATCH, FINAL_CONTACT, BatchStatus, ContactStatus
from dialer.errors import NotFound, StateConflict
from dialer.service.contact_json import Scalar
from dialer.service.contacts import zones_of
from dialer.service.fields import Changes, Priority
from dialer.store import contact_edits, progress
from dialer.store.database import Connection, Database


class ChangedContact(Changes):
    """The fields of a contact to be changed; null clears what may be absent. `variables` replaces all of them.

    `not_before` is ISO 8601; without an offset it is read in the batch's zone.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"priority": 1, "timezone": "Europe/Berlin"}})

    name: str | None = None
    timezone: str | None = None
    priority: Priority = 5
    external_id: str | None = None
    not_before: str | None = None
    variables: dict[str, Scalar] = {}


def change(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    contact_id: ContactId,
    changed: ChangedContact,
    now: DateTime,
) -> None:
    """Change a contact that is pending or waiting, in a batch that is not over.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the contact.
        contact_id: the contact.
        changed: the fields; those that were not set stay as they are.
        now: the current time.

    Raises:
        NotFound: there is no such contact in this batch.
        InvalidInput: a field is wrong.
        StateConflict: the batch is over (`batch_is_final`), or the contact is being called (`contact_in_call`) or is
            in a final state (`contact_is_final`).
    """
    values = changed.model_dump(exclude_unset=True)

    def apply(connection: Connection) -> None:
        row = _lock(connection, workspace_id, batch_id, contact_id)
        contact = merged(row, values, row.batch_timezone)
        lane = Lane.parse(row.lane)
        if row.respect_contact_timezone and contact.timezone != row.timezone:
            lane = replace(lane, zones=zones_of(contact))
        contact_edits.update(connection, contact_id, contact, str(lane))
        if "not_before" in values:
            contact_edits.move(connection, contact_id, contact.not_before, now)
        progress.wake(connection, [batch_id], now)

    db.insist(apply)


def remove(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId, now: DateTime) -> None:
    """Take a contact that is pending or waiting out of its batch. Once this returns, it is not called (P4).

    It is deleted from a draft; otherwise it becomes cancelled as `removed`, and stays in the counts and the results.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the contact.
        contact_id: the contact.
        now: the current time.

    Raises:
        NotFound: there is no such contact in this batch.
        StateConflict: as for `change`.
    """

    def apply(connection: Connection) -> None:
        row = _lock(connection, workspace_id, batch_id, contact_id)
        if row.batch_status == BatchStatus.DRAFT:
            contact_edits.delete(connection, contact_id)
        else:
            contact_edits.cancel(connection, contact_id)
        # It may have been the last one, and the batch is completed then.
        progress.wake(connection, [batch_id], now)

    db.insist(apply)


def _lock(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId) -> Any:
    row = contact_edits.lock(connection, workspace_id, batch_id, contact_id)
    if row is None:
        raise NotFound("No such contact in this batch")
    if row.batch_status in FINAL_BATCH:
        raise StateConflict(f"Batch is {row.batch_status}; its contacts stay as they are", code="batch_is_final")
    if row.status == ContactStatus.DIALING:
        raise StateConflict("The contact is being called; wait until the call is over", code="contact_in_call")
    if row.status in FINAL_CONTACT:
        raise StateConflict(f"The contact is {row.status}, which is final", code="contact_is_final")
    return row


def merged(row: Any, values: Mapping[str, Any], timezone: str) -> NewContact:
    """Put new values into a stored contact, and check it as at its import.

    Args:
        row: the contact, of a batch or of a folder.
        values: the new values of its fields.
        timezone: zone of times without an offset.

    Returns:
        The contact.

    Raises:
        InvalidInput: a field is wrong.
    """
    stored = {name: row._mapping[name] for name in ("phone_number", "name", "timezone", "priority", "external_id")}
    times = {name: at.isoformat() for name in ("expires_at", "not_before") if (at := row._mapping[name])}
    fields = stored | times | dict(values)
    variables = fields.pop("variables", row.variables)
    fields["priority"] = str(fields["priority"])
    return parse_contact(fields, variables, default_region=None, batch_timezone=timezone)
