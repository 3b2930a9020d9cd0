"""Bulk import: contacts stream through COPY into a staging table, then to where they belong with one statement.

Staging takes as long as the client that sends the file, so each page of it is a transaction of its own: one that stays
open would keep vacuum from its work in all tables. What was staged is stored in one transaction: all of it, or nothing.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg
from psycopg.errors import CheckViolation
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId, FolderId
from dialer.errors import StateConflict
from dialer.store.database import Database, forgetting_values, rows, run

Staged = tuple[UUID, NewContact, str]

STAGING = """
CREATE TEMPORARY TABLE staged_contacts (
    line bigint GENERATED ALWAYS AS IDENTITY, id uuid, phone_number text, name text, timezone text, priority smallint,
    external_id text, expires_at timestamptz, variables jsonb, lane text)
"""
COPY = """
COPY staged_contacts (id, phone_number, name, timezone, priority, external_id, expires_at, variables, lane) FROM STDIN
"""
# Between two pages the connection is free, also to read more of what is being copied.
PAGE = 2_000
# Imports into one place take turns: two that bring the same numbers in different orders would wait for each other. A
# turn may last as long as it takes to store a million contacts, so this wait has a longer timeout.
WAIT_FOR_TURN = "SELECT set_config('lock_timeout', '60s', true)"
TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('import ' || CAST(:of AS text), 0))"
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
STORE_IN_FOLDER = """
INSERT INTO folder_contacts (id, folder_id, phone_number, name, timezone, priority, external_id, expires_at, variables)
SELECT id, :folder, phone_number, name, timezone, priority, external_id, expires_at, variables
FROM staged_contacts ORDER BY line
ON CONFLICT (folder_id, phone_number) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """How many contacts were stored, were there or in the file already, or are on the do-not-call list."""

    imported: int
    duplicates: int
    suppressed: int


def stage(db: Database, contacts: Iterable[Staged]) -> int:
    """Copy contacts, each with its new id and its lane, into a new staging table; return how many there are.

    `db`: one whose transactions share a connection (`Database.session`, `Database.within`). Memory stays flat: rows go
    to Postgres as they come.
    """
    with db.begin() as connection:
        run(connection, STAGING)
    copied, more = 0, iter(contacts)
    while page := list(islice(more, PAGE)):
        with db.begin() as connection:
            _copy(connection, page)
        copied += len(page)
    with db.begin() as connection:
        run(connection, "ANALYZE staged_contacts")
    return copied


def take_turn(connection: Connection, place: BatchId | FolderId) -> None:
    """Wait until no other import stores into this batch or folder; ends with the transaction."""
    rows(connection, WAIT_FOR_TURN)
    rows(connection, TAKE_TURN, of=place)


def store(connection: Connection, batch_id: BatchId, copied: int) -> Imported:
    """Store what was staged, in its order; the first of several equal numbers stays."""
    suppressed = run(connection, DROP_SUPPRESSED, batch=batch_id)
    with _refusing_late_ones():
        imported = run(connection, STORE, batch=batch_id)
    run(connection, "DROP TABLE staged_contacts")
    return Imported(imported, copied - imported - suppressed, suppressed)


def store_in_folder(connection: Connection, folder_id: FolderId, copied: int) -> Imported:
    """Store what was staged in a folder likewise. Who is suppressed is asked when they are loaded into a batch."""
    imported = run(connection, STORE_IN_FOLDER, folder=folder_id)
    run(connection, "DROP TABLE staged_contacts")
    return Imported(imported, copied - imported, 0)


def batch_is_over(status: str) -> StateConflict:
    """The error for contacts that come too late."""
    return StateConflict(f"Batch is {status}; contacts cannot be added to a batch that is over", code="batch_is_final")


def _copy(connection: Connection, page: Sequence[Staged]) -> None:
    cursor: psycopg.Cursor[Any] = connection.connection.cursor()  # type: ignore[assignment]
    with forgetting_values(), cursor, cursor.copy(COPY) as copy:
        for contact_id, contact, lane in page:
            copy.write_row(_row(contact_id, contact, lane))


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
