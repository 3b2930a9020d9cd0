"""The contacts of a folder."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.contact import NewContact
from dialer.domain.ids import ContactId, FolderId
from dialer.store.database import optional_moment, rows, run, stream
from dialer.store.pages import Listed, count

_COLUMNS = (
    "id, folder_id, phone_number, name, timezone, priority, external_id, expires_at, not_before, variables, created_at"
)
FOLDER_CONTACTS = Listed(
    "folder_contacts", "id", "folder_id", {"created_at": ("position",), "phone_number": ("phone_number",)}, "created_at"
)


def everyone(connection: Connection, folder_id: FolderId) -> Iterator[NewContact]:
    """Yield all contacts of a folder in their order, from a server-side cursor."""
    in_order = f"SELECT {_COLUMNS} FROM folder_contacts WHERE folder_id = :folder ORDER BY position"
    for row in stream(connection, in_order, folder=folder_id):
        yield NewContact(
            phone_number=row.phone_number,
            name=row.name,
            timezone=row.timezone,
            priority=row.priority,
            external_id=row.external_id,
            expires_at=optional_moment(row.expires_at),
            variables=row.variables,
            not_before=optional_moment(row.not_before),
        )


def page(
    connection: Connection,
    folder_id: FolderId,
    phone_number: str | None,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of a folder's contacts; and count those that match."""
    number = {} if phone_number is None else {"number": phone_number}
    where = "folder_id = :folder" + " AND phone_number = :number" * len(number)
    start = FOLDER_CONTACTS.start(connection, folder_id, after, sort)
    query = f"SELECT {_COLUMNS} FROM folder_contacts WHERE {where}{start.condition}"
    query += f" ORDER BY {start.order} LIMIT :limit OFFSET :offset"
    contacts = rows(connection, query, folder=folder_id, limit=limit, offset=offset, **number, **start.values)
    if number:
        return contacts, count(connection, f"FROM folder_contacts WHERE {where}", folder=folder_id, **number)
    (folder,) = rows(connection, "SELECT contacts FROM contact_folders WHERE id = :folder", folder=folder_id)
    return contacts, folder.contacts


def read(connection: Connection, folder_id: FolderId, contact_id: ContactId) -> Row[Any] | None:
    """Read one contact of a folder."""
    contacts = rows(
        connection,
        f"SELECT {_COLUMNS} FROM folder_contacts WHERE folder_id = :folder AND id = :id",
        folder=folder_id,
        id=contact_id,
    )
    return contacts[0] if contacts else None


def lock(connection: Connection, folder_id: FolderId, contact_id: ContactId) -> Row[Any] | None:
    """Lock one contact of a folder, and read it."""
    contacts = rows(
        connection,
        f"SELECT {_COLUMNS} FROM folder_contacts WHERE folder_id = :folder AND id = :id FOR NO KEY UPDATE",
        folder=folder_id,
        id=contact_id,
    )
    return contacts[0] if contacts else None


def update(connection: Connection, contact_id: ContactId, changed: NewContact) -> Row[Any]:
    """Write what may be changed of a contact that this transaction has locked, and read it."""
    (row,) = rows(
        connection,
        f"""
        UPDATE folder_contacts SET name = :name, timezone = :timezone, priority = :priority,
            external_id = :external_id, expires_at = :expires_at, not_before = :not_before,
            variables = CAST(:variables AS jsonb)
        WHERE id = :id RETURNING {_COLUMNS}
        """,
        id=contact_id,
        name=changed.name,
        timezone=changed.timezone,
        priority=changed.priority,
        external_id=changed.external_id,
        expires_at=changed.expires_at,
        not_before=changed.not_before,
        variables=json.dumps(changed.variables),
    )
    return row


def delete(connection: Connection, folder_id: FolderId, contact_id: ContactId) -> bool:
    """Delete one contact of a folder; False: it has none with this id."""
    deleted = run(
        connection,
        "DELETE FROM folder_contacts WHERE folder_id = :folder AND id = :id",
        folder=folder_id,
        id=contact_id,
    )
    return deleted == 1
