"""Bulk import: contacts stream through COPY into a staging table, then into the batch with one statement."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from psycopg.errors import CheckViolation
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId
from dialer.errors import StateConflict
from dialer.store.database import rows, run

STAGING = """
CREATE TEMPORARY TABLE staged_contacts (
    line bigint GENERATED ALWAYS AS IDENTITY, id uuid, phone_number text, name text, timezone text, priority smallint,
    external_id text, expires_at timestamptz, variables jsonb, lane text) ON COMMIT DROP
"""
COPY = """
COPY staged_contacts (id, phone_number, name, timezone, priority, external_id, expires_at, variables, lane) FROM STDIN
"""
# Imports into one batch take turns: two that bring the same numbers in different orders would wait for each other.
TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('import ' || CAST(:batch AS text), 0))"
DROP_SUPPRESSED = """
DELETE FROM staged_contacts s USING suppressions x JOIN batches b ON b.workspace_id = x.workspace_id
WHERE b.id = :batch AND x.phone_number = s.phone_number
"""
STORE = """
INSERT INTO contacts (id, batch_id, phone_number, name, timezone, priority, external_id, expires_at, variables, lane)
SELECT id, :batch, phone_number, name, timezone, priority, external_id, expires_at, variables, lane
FROM staged_contacts ORDER BY line
ON CONFLICT (batch_id, phone_number) DO NOTHING
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
    rows(connection, TAKE_TURN, batch=batch_id)
    suppressed = run(connection, DROP_SUPPRESSED, batch=batch_id)
    with _refusing_late_ones():
        imported = run(connection, STORE, batch=batch_id)
    return Imported(imported, copied - imported - suppressed, suppressed)


def batch_is_over(status: str) -> StateConflict:
    """The error for contacts that come too late."""
    return StateConflict(f"Batch is {status}; contacts cannot be added to a batch that is over", code="batch_is_final")


@contextmanager
def _refusing_late_ones() -> Iterator[None]:
    """Name the fact where the database refuses contacts because their batch has ended while the file was read."""
    try:
        yield
    except IntegrityError as error:
        if isinstance(error.orig, CheckViolation) and error.orig.diag.constraint_name == "batch_is_final":
            raise batch_is_over("over") from None
        raise


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
