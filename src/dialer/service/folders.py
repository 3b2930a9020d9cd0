"""Contact folders: contacts that are kept for several batches."""

from collections.abc import Iterable
from itertools import repeat
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.calling_rules import CallingRules
from dialer.domain.contact import NewContact
from dialer.domain.ids import ContactId, FolderId, WorkspaceId, uuid7s
from dialer.domain.import_result import ImportResult, RejectedRow
from dialer.domain.phone import normalise
from dialer.errors import NotFound
from dialer.service import contact_csv, contact_json, resources
from dialer.service.contact_edits import ChangedContact, merged
from dialer.service.contact_json import NewContacts
from dialer.service.contacts import Rejections
from dialer.service.csv_reader import Readable
from dialer.service.fields import Changes, InputModel, Name, Region
from dialer.service.resources import ResourceType
from dialer.store import contact_import, folder_contacts, workspaces
from dialer.store.database import Database
from dialer.store.resources import FOLDERS, exists

# A folder has no time zone of its own; times without an offset are read in this one.
TIMEZONE = "UTC"


class NewFolder(InputModel):
    """A folder to be created."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Customers", "default_region": "DE"}})

    name: Name
    default_region: Region | None = None


class ChangedFolder(Changes):
    """The fields of a folder to be changed."""

    name: Name = ""
    default_region: Region | None = None


class ChangedFolderContact(ChangedContact):
    """The fields of a contact of a folder to be changed; null clears what may be absent. `variables` replaces all.

    Times are ISO 8601; without an offset they are in UTC.
    """

    expires_at: str | None = None


FOLDER_TYPE = ResourceType(FOLDERS, NewFolder, ChangedFolder, {})


def import_csv(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, stream: Readable, now: DateTime, rng: Random
) -> ImportResult:
    """Add the contacts of a CSV file to a folder. All are stored in one transaction.

    The arguments are those of `contacts.import_csv`, with the folder in place of the batch.

    Returns:
        What became of each row.

    Raises:
        NotFound: there is no such folder in this workspace.
        UnreadableFile: the file as a whole cannot be read.
    """
    with db.session() as session:
        region, rules = _region_and_rules(session, workspace_id, folder_id)
        rows = contact_csv.read_contacts(stream, default_region=region, batch_timezone=TIMEZONE, rules=rules)
        return _store(session, workspace_id, folder_id, rows, now, rng)


def add(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, new: NewContacts, now: DateTime, rng: Random
) -> ImportResult:
    """Add the contacts of a JSON body to a folder.

    The arguments are those of `contacts.add`, with the folder in place of the batch.

    Returns:
        What became of each contact.

    Raises:
        NotFound: there is no such folder in this workspace.
    """
    with db.session() as session:
        region, rules = _region_and_rules(session, workspace_id, folder_id)
        rows = contact_json.read_contacts(new, default_region=region, batch_timezone=TIMEZONE, rules=rules)
        return _store(session, workspace_id, folder_id, rows, now, rng)


def list_contacts(
    db: Database,
    workspace_id: WorkspaceId,
    folder_id: FolderId,
    phone_number: str | None,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of a folder's contacts, in the order in which they were added.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        folder_id: the folder.
        phone_number: only this number, in any format that an import accepts.
        limit: the size of the page.
        offset: how many contacts come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `FOLDER_CONTACTS.sorts`; None: its default.

    Returns:
        The contacts, and how many match in all.

    Raises:
        NotFound: there is no such folder in this workspace.
        InvalidInput: `phone_number` is no number.
    """
    with db.begin() as connection:
        folder = resources.show(db.within(connection), FOLDER_TYPE, workspace_id, folder_id)
        number = None if phone_number is None else normalise(phone_number, folder["default_region"])
        contacts, total = folder_contacts.page(connection, folder_id, number, limit, offset, after, sort)
        return [dict(row._mapping) for row in contacts], total


def show_contact(db: Database, workspace_id: WorkspaceId, folder_id: FolderId, contact_id: ContactId) -> dict[str, Any]:
    """Read one contact of a folder.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        folder_id: the folder.
        contact_id: the contact.

    Returns:
        The contact.

    Raises:
        NotFound: there is no such folder or contact.
    """
    with db.begin() as connection:
        resources.show(db.within(connection), FOLDER_TYPE, workspace_id, folder_id)
        row = folder_contacts.read(connection, folder_id, contact_id)
        if row is None:
            raise NotFound("No such contact in this folder")
        return dict(row._mapping)


def change_contact(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, contact_id: ContactId, changed: ChangedFolderContact
) -> dict[str, Any]:
    """Change one contact of a folder. Batches into which it was loaded keep it as it was.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        folder_id: the folder.
        contact_id: the contact.
        changed: the fields; those that were not set stay as they are.

    Returns:
        The contact after the change.

    Raises:
        NotFound: there is no such folder or contact.
        InvalidInput: a field is wrong.
    """
    with db.begin() as connection:
        resources.show(db.within(connection), FOLDER_TYPE, workspace_id, folder_id)
        row = folder_contacts.lock(connection, folder_id, contact_id)
        if row is None:
            raise NotFound("No such contact in this folder")
        contact = merged(row, changed.model_dump(exclude_unset=True), TIMEZONE)
        return dict(folder_contacts.update(connection, contact_id, contact)._mapping)


def delete_contact(db: Database, workspace_id: WorkspaceId, folder_id: FolderId, contact_id: ContactId) -> None:
    """Delete one contact of a folder. Batches into which it was loaded keep it.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        folder_id: the folder.
        contact_id: the contact.

    Raises:
        NotFound: there is no such folder or contact.
    """
    with db.begin() as connection:
        resources.show(db.within(connection), FOLDER_TYPE, workspace_id, folder_id)
        if not folder_contacts.delete(connection, folder_id, contact_id):
            raise NotFound("No such contact in this folder")


def _region_and_rules(
    session: Database, workspace_id: WorkspaceId, folder_id: FolderId
) -> tuple[str | None, CallingRules]:
    folder = resources.show(session, FOLDER_TYPE, workspace_id, folder_id)
    with session.begin() as connection:
        return folder["default_region"], workspaces.rules(connection, workspace_id)


def _store(
    session: Database,
    workspace_id: WorkspaceId,
    folder_id: FolderId,
    rows: Iterable[NewContact | RejectedRow],
    now: DateTime,
    rng: Random,
) -> ImportResult:
    """Stage the contacts as they are read, then store them, unless the folder was deleted meanwhile."""
    rejections = Rejections()
    contacts = zip(uuid7s(now, rng), rejections.filter(rows), repeat(""), strict=False)
    staged = contact_import.stage(session, contacts)
    with session.begin() as connection:
        contact_import.lock_target(connection, folder_id)
        if not exists(connection, FOLDERS, workspace_id, folder_id):
            raise NotFound("No such contact folder in this workspace")
        imported = contact_import.store_in_folder(connection, folder_id, staged)
    return rejections.result(imported)
