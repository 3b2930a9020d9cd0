"""Bulk import: COPY contacts into a staging table, then move them into their batch or folder with one statement.

Staging takes as long as the client takes to send the file, so each page of it is a transaction of its own: a
transaction that stays open would block vacuum in all tables. Staged contacts are stored in one transaction.
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
from dialer.store.database import Database, rows, run
from dialer.store.database_errors import forgetting_values

# A new id, the contact, and its lane.
Staged = tuple[UUID, NewContact, str]

STAGING = """
CREATE TEMPORARY TABLE staged_contacts (
    line bigint GENERATED ALWAYS AS IDENTITY, id uuid, phone_number text, name text, timezone text, priority smallint,
    external_id text, expires_at timestamptz, variables jsonb, lane text, not_before timestamptz)
"""
COPY = """
COPY staged_contacts (id, phone_number, name, timezone, priority, external_id, expires_at, variables, lane, not_before)
FROM STDIN
"""
# json.dumps would build an encoder for each row.
_JSON = json.JSONEncoder(ensure_ascii=False)
# Rows per COPY. Between two of them the connection is free: a folder is read over the connection that stages it.
PAGE = 2_000
# Imports into one batch or folder run one after the other: two that store the same numbers in different orders would
# deadlock. Storing a million contacts takes a while, so this lock has a longer timeout.
LOCK_TIMEOUT = "SELECT set_config('lock_timeout', '60s', true)"
LOCK_TARGET = "SELECT pg_advisory_xact_lock(hashtextextended('import ' || CAST(:target AS text), 0))"
DROP_SUPPRESSED = """
DELETE FROM staged_contacts s USING suppressions x JOIN batches b ON b.workspace_id = x.workspace_id
WHERE b.id = :batch AND x.phone_number = s.phone_number
"""
STORE = """
INSERT INTO contacts (id, batch_id, phone_number, name, timezone, priority, external_id, expires_at, variables, lane,
                      not_before, status, waits_for, due_at)
SELECT id, :batch, phone_number, name, timezone, priority, external_id, expires_at, variables, lane, not_before,
       CASE WHEN not_before > clock.now THEN 'waiting' ELSE 'pending' END,
       CASE WHEN not_before > clock.now THEN 'not_before' END, greatest(not_before, clock.now)
FROM staged_contacts, (SELECT dialer_now() AS now) AS clock ORDER BY line
ON CONFLICT (batch_id, phone_number) DO NOTHING
"""
STORE_IN_FOLDER = """
INSERT INTO folder_contacts (id, folder_id, phone_number, name, timezone, priority, external_id, expires_at, variables,
                             not_before)
SELECT id, :folder, phone_number, name, timezone, priority, external_id, expires_at, variables, not_before
FROM staged_contacts ORDER BY line
ON CONFLICT (folder_id, phone_number) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """The counts of one import."""

    imported: int  #: Stored.
    duplicates: int  #: In the batch or folder already, or earlier in the file.
    suppressed: int  #: On the do-not-call list, and left out.


def stage(db: Database, contacts: Iterable[Staged]) -> int:
    """Copy contacts into a new staging table; return how many.

    Memory stays flat: rows are sent to Postgres as they are read.

    Args:
        db: one whose transactions share a connection (`Database.session`, `Database.within`).
        contacts: contacts with new ids and lanes.
    """
    with db.begin() as connection:
        run(connection, STAGING)
    staged, remaining = 0, iter(contacts)
    while page := list(islice(remaining, PAGE)):
        with db.begin() as connection:
            _copy(connection, page)
        staged += len(page)
    with db.begin() as connection:
        run(connection, "ANALYZE staged_contacts")
    return staged


def lock_target(connection: Connection, target: BatchId | FolderId) -> None:
    """Make other imports into this batch or folder wait until this transaction ends, and wait for those before it."""
    rows(connection, LOCK_TIMEOUT)
    rows(connection, LOCK_TARGET, target=target)


def store(connection: Connection, batch_id: BatchId, staged: int) -> Imported:
    """Move the staged contacts into a batch, in their order; of equal numbers the first is kept."""
    suppressed = run(connection, DROP_SUPPRESSED, batch=batch_id)
    with _batch_is_over_as_conflict():
        imported = run(connection, STORE, batch=batch_id)
    run(connection, "DROP TABLE staged_contacts")
    return Imported(imported, staged - imported - suppressed, suppressed)


def store_in_folder(connection: Connection, folder_id: FolderId, staged: int) -> Imported:
    """Move the staged contacts into a folder. Suppressions apply when the folder is loaded into a batch."""
    imported = run(connection, STORE_IN_FOLDER, folder=folder_id)
    run(connection, "DROP TABLE staged_contacts")
    return Imported(imported, staged - imported, 0)


def batch_is_over(status: str) -> StateConflict:
    """Make the error for contacts that are added to a batch in this final status."""
    return StateConflict(f"Batch is {status}; contacts cannot be added to a batch that is over", code="batch_is_final")


def _copy(connection: Connection, page: Sequence[Staged]) -> None:
    cursor: psycopg.Cursor[Any] = connection.connection.cursor()  # type: ignore[assignment]
    with forgetting_values(), cursor, cursor.copy(COPY) as copy:
        for contact_id, contact, lane in page:
            copy.write_row(_row(contact_id, contact, lane))


@contextmanager
def _batch_is_over_as_conflict() -> Iterator[None]:
    """Raise StateConflict where the trigger refuses contacts because their batch ended while they were stored.

    That leaves an ERROR in the log of Postgres. A lock would prevent it, but a stop would then wait until a million
    contacts are stored (P4).
    """
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
        _JSON.encode(contact.variables) if contact.variables else "{}",
        lane,
        contact.not_before,
    )
