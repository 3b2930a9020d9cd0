"""Batches as operators make, change and delete them, in SQL."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.states import BatchStatus
from dialer.errors import StateConflict
from dialer.store.database import rows, run

# A column whose type SQL cannot tell from a bare NULL or list is cast.
_CASTS = {"retry_delays": "jsonb", "metadata": "jsonb", "working_days": "smallint[]", "excluded_dates": "date[]"}


def _stored(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what is sent for each column, and the placeholder that it is sent through."""
    sent = {name: json.dumps(of) if _CASTS.get(name) == "jsonb" else of for name, of in values.items()}
    return sent, {name: f"CAST(:{name} AS {_CASTS[name]})" if name in _CASTS else f":{name}" for name in sent}


def insert(connection: Connection, values: Mapping[str, Any], number_ids: Sequence[UUID]) -> None:
    """Store a new draft with its outbound numbers in their order. `values`: the columns of batches by name."""
    sent, holders = _stored(values)
    run(connection, f"INSERT INTO batches ({', '.join(sent)}) VALUES ({', '.join(holders.values())})", **sent)
    _insert_numbers(connection, values["id"], number_ids)


def update(connection: Connection, batch_id: BatchId, values: Mapping[str, Any], number_ids: Sequence[UUID]) -> None:
    """Write the settings of a draft that this transaction has locked.

    Raises StateConflict (`batch_has_contacts`) for a setting that decided how its contacts were loaded.
    """
    sent, holders = _stored(values)
    changes = ", ".join(f"{name} = {holder}" for name, holder in holders.items())
    if _would_change_lanes(connection, batch_id, values):
        raise StateConflict(
            "respect_contact_timezone and sticky_caller_id can only be changed while there are no contacts",
            code="batch_has_contacts",
        )
    run(connection, f"UPDATE batches SET {changes} WHERE id = :batch", batch=batch_id, **sent)
    run(connection, "DELETE FROM batch_numbers WHERE batch_id = :id", id=batch_id)
    _insert_numbers(connection, batch_id, number_ids)


def _would_change_lanes(connection: Connection, batch_id: BatchId, values: Mapping[str, Any]) -> bool:
    """Say whether contacts were loaded by settings that would change. The trigger that refuses this too would leave an
    error in the log of Postgres.
    """
    found = rows(
        connection,
        """
        SELECT 1 FROM batches b
        WHERE id = :id AND (respect_contact_timezone, sticky_caller_id) <> (:respect, :sticky)
          AND EXISTS (SELECT 1 FROM contacts WHERE batch_id = b.id)
        """,
        id=batch_id,
        respect=values["respect_contact_timezone"],
        sticky=values["sticky_caller_id"],
    )
    return bool(found)


def _insert_numbers(connection: Connection, batch_id: BatchId, number_ids: Sequence[UUID]) -> None:
    run(
        connection,
        """
        INSERT INTO batch_numbers (batch_id, position, phone_number_id)
        SELECT :id, n.position, n.id FROM unnest(CAST(:numbers AS uuid[])) WITH ORDINALITY AS n (id, position)
        """,
        id=batch_id,
        numbers=list(number_ids),
    )


def lock(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> BatchStatus | None:
    """Lock one batch against everything that changes it; its status is returned, None: there is none."""
    found = rows(
        connection,
        "SELECT status FROM batches WHERE id = :id AND workspace_id = :workspace FOR UPDATE",
        id=batch_id,
        workspace=workspace_id,
    )
    return BatchStatus(found[0].status) if found else None


def hold(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Keep a batch from being changed or deleted between this transaction's reads; False: there is none.

    FOR SHARE, which an import of contacts does not conflict with.
    """
    held = "SELECT 1 FROM batches WHERE id = :id AND workspace_id = :workspace FOR SHARE"
    return bool(rows(connection, held, id=batch_id, workspace=workspace_id))


def calls_in_progress(connection: Connection, batch_id: BatchId) -> int:
    """Count the contacts that are being called. Of a batch that is over, and locked, it only ever falls."""
    (row,) = rows(connection, "SELECT dialing FROM batch_progress WHERE batch_id = :id", id=batch_id)
    return int(row.dialing)


def delete(connection: Connection, batch_id: BatchId) -> None:
    """Delete a batch that this transaction has locked, with all that belongs to it."""
    # What counts toward the daily cap of a number goes on to do so; what is of days gone by goes now.
    run(connection, "DELETE FROM deleted_attempts WHERE utc_on < CAST(dialer_now() AT TIME ZONE 'UTC' AS date)")
    run(
        connection,
        """
        INSERT INTO deleted_attempts (id, batch_id, phone_number_id, trunk_id, utc_on)
        SELECT id, batch_id, phone_number_id, trunk_id, utc_on FROM attempts
        WHERE batch_id = :id AND state <> 'refused' AND utc_on >= CAST(dialer_now() AT TIME ZONE 'UTC' AS date)
        """,
        id=batch_id,
    )
    run(connection, "DELETE FROM attempts_archive WHERE batch_id = :id", id=batch_id)
    # Before the contacts, each of which would look for its own; in order, for late reports are settled in order.
    run(
        connection,
        "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE batch_id = :id ORDER BY id FOR UPDATE)",
        id=batch_id,
    )
    run(connection, "DELETE FROM batches WHERE id = :id", id=batch_id)


def delete_draft(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Delete a draft with all that belongs to it."""
    deleted = run(
        connection,
        "DELETE FROM batches WHERE id = :id AND workspace_id = :workspace AND status = 'draft'",
        id=batch_id,
        workspace=workspace_id,
    )
    return deleted == 1
