"""Bulk import: contacts stream through COPY into a staging table, then into the batch with one statement."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId
from dialer.store.database import rows, run

STAGING = """
CREATE TEMPORARY TABLE staged_contacts (
    line bigint GENERATED ALWAYS AS IDENTITY, id uuid, phone_number text, name text, timezone text, priority smallint,
    external_id text, expires_at timestamptz, variables jsonb, lane text) ON COMMIT DROP
"""
COPY = """
COPY staged_contacts (id, phone_number, name, timezone, priority, external_id, expires_at, variables, lane) FROM STDIN
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """How many contacts were stored, were in the batch or the file already, or are on the do-not-call list."""

    imported: int
    duplicates: int
    suppressed: int


def copy_contacts(
    connection: Connection, batch_id: BatchId, contacts: Iterable[tuple[UUID, NewContact, str]]
) -> Imported:
    """Store contacts, each with its new id and its lane, in their order; the first of several equal numbers stays.

    Memory stays flat: rows go to Postgres as they come. Whatever `contacts` raises undoes the whole import with the
    transaction.
    """
    run(connection, STAGING)
    with connection.connection.cursor() as cursor, cursor.copy(COPY) as copy:  # type: ignore[attr-defined]
        copied = 0
        for contact_id, contact, lane in contacts:
            copy.write_row(_row(contact_id, contact, lane))
            copied += 1
    run(connection, "ANALYZE staged_contacts")
    (suppressed,) = rows(
        connection,
        f"SELECT count(*) AS n FROM staged_contacts s WHERE {_SUPPRESSED}",
        batch=batch_id,
    )
    imported = run(
        connection,
        f"""
        INSERT INTO contacts (id, batch_id, phone_number, name, timezone, priority, external_id, expires_at, variables,
                              lane)
        SELECT id, :batch, phone_number, name, timezone, priority, external_id, expires_at, variables, lane
        FROM staged_contacts s WHERE NOT {_SUPPRESSED} ORDER BY line
        ON CONFLICT (batch_id, phone_number) DO NOTHING
        """,
        batch=batch_id,
    )
    return Imported(imported, copied - imported - suppressed.n, suppressed.n)


_SUPPRESSED = """
    EXISTS (SELECT 1 FROM suppressions x JOIN batches b ON b.workspace_id = x.workspace_id
            WHERE b.id = :batch AND x.phone_number = s.phone_number)
"""


def _row(contact_id: UUID, contact: NewContact, lane: str) -> tuple[object, ...]:
    return (
        contact_id,
        contact.phone_number,
        contact.name,
        contact.timezone,
        contact.priority,
        contact.external_id,
        contact.expires_at,
        json.dumps(contact.variables, ensure_ascii=False) if contact.variables else "{}",
        lane,
    )
