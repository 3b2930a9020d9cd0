"""Creating, changing and deleting batches."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.states import BatchStatus
from dialer.errors import StateConflict
from dialer.store.database import rows, run

# Columns whose type Postgres cannot infer from NULL or a list.
_CASTS = {
    "retry_delays": "jsonb",
    "metadata": "jsonb",
    "person_limits": "jsonb",
    "calling_hours": "jsonb",
    "holidays": "jsonb",
    "working_days": "smallint[]",
    "excluded_dates": "date[]",
    "labels": "text[]",
}


def _parameters(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the parameter of each column, and its placeholder in the statement."""
    parameters = {
        column: json.dumps(value) if _CASTS.get(column) == "jsonb" and value is not None else value
        for column, value in values.items()
    }
    placeholders = {
        column: f"CAST(:{column} AS {_CASTS[column]})" if column in _CASTS else f":{column}" for column in parameters
    }
    return parameters, placeholders


def insert(connection: Connection, values: Mapping[str, Any], number_ids: Sequence[UUID]) -> None:
    """Store a new draft with its outbound numbers in their order. `values`: the columns of batches by name."""
    parameters, placeholders = _parameters(values)
    columns = ", ".join(parameters)
    run(connection, f"INSERT INTO batches ({columns}) VALUES ({', '.join(placeholders.values())})", **parameters)
    _insert_numbers(connection, values["id"], number_ids)


def update(connection: Connection, batch_id: BatchId, values: Mapping[str, Any], number_ids: Sequence[UUID]) -> None:
    """Write the settings of a draft that this transaction has locked.

    Raises StateConflict (`batch_has_contacts`) for a setting by which its contacts were loaded.
    """
    if _would_change_lanes(connection, batch_id, values):
        raise StateConflict(
            "respect_contact_timezone and sticky_caller_id can only be changed while there are no contacts",
            code="batch_has_contacts",
        )
    change(connection, batch_id, values, number_ids)


def change(
    connection: Connection, batch_id: BatchId, values: Mapping[str, Any], number_ids: Sequence[UUID] | None
) -> None:
    """Write these columns of a batch that this transaction has locked. `number_ids` None: its numbers stay."""
    parameters, placeholders = _parameters(values)
    changes = ", ".join(f"{column} = {placeholder}" for column, placeholder in placeholders.items())
    if changes:
        run(connection, f"UPDATE batches SET {changes} WHERE id = :batch", batch=batch_id, **parameters)
    if number_ids is not None:
        run(connection, "DELETE FROM batch_numbers WHERE batch_id = :id", id=batch_id)
        _insert_numbers(connection, batch_id, number_ids)


def _would_change_lanes(connection: Connection, batch_id: BatchId, values: Mapping[str, Any]) -> bool:
    """Return whether contacts were loaded by settings that would change.

    A trigger refuses this too, but would leave an error in the log of Postgres.
    """
    changed = rows(
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
    return bool(changed)


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
    """Lock a batch against all changes and return its status; None: there is no such batch."""
    locked = rows(
        connection,
        "SELECT status FROM batches WHERE id = :id AND workspace_id = :workspace FOR UPDATE",
        id=batch_id,
        workspace=workspace_id,
    )
    return BatchStatus(locked[0].status) if locked else None


def lock_settings(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Lock the settings and the status of a batch; False: there is no such batch.

    NO KEY UPDATE, which does not wait for imports of contacts.
    """
    locked = "SELECT 1 FROM batches WHERE id = :id AND workspace_id = :workspace FOR NO KEY UPDATE"
    return bool(rows(connection, locked, id=batch_id, workspace=workspace_id))


def hold(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Keep a batch from being changed or deleted until this transaction ends; False: there is no such batch.

    FOR SHARE, which does not block an import of contacts.
    """
    held = "SELECT 1 FROM batches WHERE id = :id AND workspace_id = :workspace FOR SHARE"
    return bool(rows(connection, held, id=batch_id, workspace=workspace_id))


def calls_in_progress(connection: Connection, batch_id: BatchId) -> int:
    """Count the contacts that are being called. If the batch is over and locked, this number can only fall."""
    (row,) = rows(connection, "SELECT dialing FROM batch_progress WHERE batch_id = :id", id=batch_id)
    return int(row.dialing)


def delete(connection: Connection, batch_id: BatchId) -> None:
    """Delete a batch that this transaction has locked. A bulk change removes its contacts and attempts."""
    run(connection, "DELETE FROM batches WHERE id = :id", id=batch_id)


def delete_draft(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Delete a draft. A bulk change removes its contacts."""
    deleted = run(
        connection,
        "DELETE FROM batches WHERE id = :id AND workspace_id = :workspace AND status = 'draft'",
        id=batch_id,
        workspace=workspace_id,
    )
    return deleted == 1
