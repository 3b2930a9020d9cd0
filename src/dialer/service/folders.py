"""Contact folders: contacts that are kept for several batches."""

from functools import partial
from random import Random
from typing import Any

from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.ids import ContactId, FolderId, WorkspaceId, uuid7
from dialer.domain.phone import normalise
from dialer.errors import NotFound
from dialer.service import resources
from dialer.service.contact_csv import read_contacts
from dialer.service.contact_json import NewContacts
from dialer.service.contacts import ImportReport, Read, Rejected
from dialer.service.csv_reader import Readable
from dialer.service.fields import Changes, Fields, Name, Region
from dialer.service.resources import Kind
from dialer.store import folder_contacts, workspaces
from dialer.store.contact_import import stage, store_in_folder, take_turn
from dialer.store.database import Database
from dialer.store.resources import FOLDERS, exists


class NewFolder(Fields):
    model_config = ConfigDict(json_schema_extra={"example": {"name": "Customers", "default_region": "DE"}})

    name: Name
    default_region: Region | None = None


class ChangedFolder(Changes):
    name: Name = ""
    default_region: Region | None = None


KIND = Kind(FOLDERS, NewFolder, ChangedFolder, {})


def import_csv(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, stream: Readable, now: DateTime, rng: Random
) -> ImportReport:
    """Add the contacts of a CSV file; raises NotFound and UnreadableFile, and has stored nothing then."""
    return _add(db, workspace_id, folder_id, partial(read_contacts, stream), now, rng)


def add(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, new: NewContacts, now: DateTime, rng: Random
) -> ImportReport:
    """Add contacts; raises NotFound."""
    return _add(db, workspace_id, folder_id, new.parsed, now, rng)


def _add(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, read: Read, now: DateTime, rng: Random
) -> ImportReport:
    rejected = Rejected()
    with db.session() as session:
        folder = resources.show(session, KIND, workspace_id, folder_id)
        with session.begin() as connection:
            rules = workspaces.rules(connection, workspace_id)
        found = read(default_region=folder["default_region"], batch_timezone="UTC", rules=rules)
        copied = stage(session, ((uuid7(now, rng), one, "") for one in rejected.sort_out(found)))
        with session.begin() as connection:
            take_turn(connection, folder_id)
            if not exists(connection, FOLDERS, workspace_id, folder_id):
                raise NotFound("No such contact folder in this workspace")
            stored = store_in_folder(connection, folder_id, copied)
    return rejected.report(stored)


def list_contacts(
    db: Database, workspace_id: WorkspaceId, folder_id: FolderId, phone_number: str | None, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of a folder's contacts in their order; and how many there are. A number is read as on import."""
    with db.begin() as connection:
        folder = resources.show(db.within(connection), KIND, workspace_id, folder_id)
        number = None if phone_number is None else normalise(phone_number, folder["default_region"])
        found, total = folder_contacts.page(connection, folder_id, number, limit, offset)
        return [dict(row._mapping) for row in found], total


def show_contact(db: Database, workspace_id: WorkspaceId, folder_id: FolderId, contact_id: ContactId) -> dict[str, Any]:
    """Read one contact of a folder; raises NotFound."""
    with db.begin() as connection:
        resources.show(db.within(connection), KIND, workspace_id, folder_id)
        row = folder_contacts.read(connection, folder_id, contact_id)
        if row is None:
            raise NotFound("No such contact in this folder")
        return dict(row._mapping)


def delete_contact(db: Database, workspace_id: WorkspaceId, folder_id: FolderId, contact_id: ContactId) -> None:
    """Take one contact out of a folder; batches that have it already keep it. Raises NotFound."""
    with db.begin() as connection:
        resources.show(db.within(connection), KIND, workspace_id, folder_id)
        if not folder_contacts.delete(connection, folder_id, contact_id):
            raise NotFound("No such contact in this folder")
