"""Changes of a draft: given fields replace stored ones, and the result is validated like a new batch."""

from collections.abc import Container, Mapping
from typing import Any

import pendulum
from pendulum import DateTime

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.states import BatchStatus
from dialer.errors import FieldError, InvalidInput, NotFound, StateConflict
from dialer.service.batches import check_ready
from dialer.service.fields import Changes, Name
from dialer.service.new_batch import BatchSettings, NewBatch
from dialer.store import batch_edits, batch_views, configuration
from dialer.store.database import Connection, Database

_LONG_AGO = pendulum.datetime(1, 1, 1)


class ChangedBatch(BatchSettings, Changes):
    """The fields of a draft to be changed; what is absent stays as it is, null clears what may be absent."""

    name: Name = ""


def edit(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, changed: ChangedBatch, now: DateTime) -> None:
    """Change a draft.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        changed: the fields; those that were not set stay as they are.
        now: the current time.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is no draft, or a setting would change by which its contacts were loaded.
        InvalidInput: the changed batch would not be valid.
    """
    changes = changed.model_dump(exclude_unset=True)
    db.insist(lambda connection: _edit(connection, workspace_id, batch_id, changes, now))


def _edit(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, changes: Mapping[str, Any], now: DateTime
) -> None:
    status = batch_edits.lock(connection, workspace_id, batch_id)
    if status is None:
        raise NotFound("No such batch in this workspace")
    if status is not BatchStatus.DRAFT:
        raise StateConflict(f"Batch is {status}; only a draft can be changed", code="batch_not_draft")
    row = batch_views.read(connection, workspace_id, batch_id)
    assert row is not None
    edited = merged(row, changes)
    check(connection, workspace_id, edited, changes, now)
    batch_edits.update(connection, batch_id, edited.columns(), edited.phone_number_ids)


def merged(row: Any, changes: Mapping[str, Any]) -> NewBatch:
    """Put changes into a stored batch.

    Args:
        row: the batch, as `batch_views.read` returns it.
        changes: the new values by field.

    Returns:
        The changed batch, validated as a new one.

    Raises:
        InvalidInput: it would not be valid.
    """
    stored = {name: row._mapping[name] for name in NewBatch.model_fields}
    # Validated with a time long ago, because a stored time that is not changed may have passed. The folder of the
    # contacts may have been deleted.
    source = {} if row.contact_folder_id else {"contact_source": "manual"}
    edited = NewBatch.read(stored | source | _with_schedule_type(changes), _LONG_AGO)
    return edited.model_copy(update={"contact_source": row.contact_source})


def check(
    connection: Connection, workspace_id: WorkspaceId, edited: NewBatch, changes: Container[str], now: DateTime
) -> None:
    """Check what only the present moment and the database can tell about changed fields.

    Args:
        connection: an open transaction.
        workspace_id: the workspace of the caller.
        edited: the changed batch.
        changes: the names of the fields that change.
        now: the current time.

    Raises:
        InvalidInput: a time does not lie ahead, Postgres does not know the zone, or there is no such number.
        StateConflict: there would be no number to call from (`no_outbound_number`), or the agent is not ready.
    """
    passed = [
        name
        for name in ("scheduled_at", "expires_at")
        if name in changes and getattr(edited, name) and getattr(edited, name) <= now
    ]
    if passed:
        raise InvalidInput([FieldError(name, "must lie ahead") for name in passed])
    if "phone_number_ids" in changes:
        check_ready(connection, workspace_id, edited)
    if "timezone" in changes and not configuration.knows_zone(connection, edited.timezone):
        raise InvalidInput.of("timezone", "is not known to Postgres")


def _with_schedule_type(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Derive `schedule_type` from `scheduled_at` where only that is given, and clear the time of an immediate batch."""
    if "scheduled_at" in changes and "schedule_type" not in changes:
        return {**changes, "schedule_type": "scheduled" if changes["scheduled_at"] else "immediate"}
    if changes.get("schedule_type") == "immediate":
        return {"scheduled_at": None, **changes}
    return dict(changes)
