"""The contacts of a folder."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.contact import NewContact
from dialer.domain.ids import ContactId, FolderId
from dialer.store.database import optional_moment, rows, run, stream
from dialer.store.pages import position_of

_COLUMNS = (
    "id, folder_id, phone_number, name, timezone, priority, external_id, expires_at, not_before, variables, created_at"
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
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of a folder's contacts in their order; and count all that match."""
    where = "folder_id = :folder AND (CAST(:number AS text) IS NULL OR phone_number = :number)"
    filters = {"folder": folder_id, "number": phone_number}
    (counted,) = rows(connection, f"SELECT count(*) AS n FROM folder_contacts WHERE {where}", **filters)
    in_order = f"SELECT {_COLUMNS} FROM folder_contacts WHERE {where} AND position > :position"
    in_order += " ORDER BY position LIMIT :limit OFFSET :offset"
    position = position_of(connection, "folder_contacts", "folder_id", folder_id, after)
    return rows(connection, in_order, position=position, limit=limit, offset=offset, **filters), counted.n


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
