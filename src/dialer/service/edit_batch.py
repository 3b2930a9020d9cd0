"""Changing a draft: what is given replaces what is there, and the whole is checked as if it were new."""

from collections.abc import Mapping
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


def change(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, changed: ChangedBatch, now: DateTime) -> None:
    """Change a draft.

    Raises:
        NotFound: no such batch in this workspace.
        StateConflict: it is no draft, or its contacts were loaded by settings that would change.
        InvalidInput: what would come out is no batch that can be.
    """
    given = changed.model_dump(exclude_unset=True)
    db.insist(lambda connection: _change(connection, workspace_id, batch_id, given, now))


def _change(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, given: Mapping[str, Any], now: DateTime
) -> None:
    status = batch_edits.lock(connection, workspace_id, batch_id)
    if status is None:
        raise NotFound("No such batch in this workspace")
    if status is not BatchStatus.DRAFT:
        raise StateConflict(f"Batch is {status}; only a draft can be changed", code="batch_not_draft")
    whole = _whole(connection, workspace_id, batch_id, given)
    passed = [name for name in ("scheduled_at", "expires_at") if given.get(name) and getattr(whole, name) <= now]
    if passed:
        raise InvalidInput([FieldError(name, "must lie ahead") for name in passed])
    if "phone_number_ids" in given:
        check_ready(connection, workspace_id, whole)
    if "timezone" in given and not configuration.knows_zone(connection, whole.timezone):
        raise InvalidInput.of("timezone", "is not known to Postgres")
    batch_edits.update(connection, batch_id, whole.columns(), whole.phone_number_ids)


def _whole(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, given: Mapping[str, Any]) -> NewBatch:
    row = batch_views.read(connection, workspace_id, batch_id)
    assert row is not None
    stored = {name: row._mapping[name] for name in NewBatch.model_fields}
    # A time that was left as it is may have passed since; the folder may have been deleted.
    source = {} if row.contact_folder_id else {"contact_source": "manual"}
    whole = NewBatch.read(stored | source | _with_its_type(given), _LONG_AGO)
    return whole.model_copy(update={"contact_source": row.contact_source})


def _with_its_type(given: Mapping[str, Any]) -> dict[str, Any]:
    """A time to start at means that the batch is scheduled, none that it is not, unless the type is given too."""
    if "scheduled_at" in given and "schedule_type" not in given:
        return {**given, "schedule_type": "scheduled" if given["scheduled_at"] else "immediate"}
    if given.get("schedule_type") == "immediate":
        return {"scheduled_at": None, **given}
    return dict(given)
