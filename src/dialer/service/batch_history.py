"""The history of a batch as the API shows it: each change of status and of settings, newest first."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.service import batch_views
from dialer.store import batch_history
from dialer.store.database import Database


def list_page(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    *,
    limit: int,
    offset: int,
    after: int | None = None,
    oldest_first: bool = False,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of the history of a batch.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        limit: the size of the page.
        offset: how many changes come before the page.
        after: the id of the last change of the page before; None: the first page.
        oldest_first: whether the list begins with the oldest change.

    Returns:
        The changes, and how many there are in all.

    Raises:
        NotFound: there is no such batch in this workspace.
    """
    batch_views.require(db, workspace_id, batch_id)
    with db.begin() as connection:
        page, total = batch_history.page(connection, batch_id, limit, offset, after, oldest_first=oldest_first)
    return [dict(row._mapping) | {"changes": _changes(row.before, row.settings)} for row in page], total


def _changes(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Compare two versions: field -> its old and its new value. A field that only one of them has did not exist yet."""
    if before is None or after is None:
        return {}
    return {
        name: [_value(name, before[name]), _value(name, value)]
        for name, value in after.items()
        if name in before and before[name] != value
    }


def _value(name: str, stored: Any) -> Any:
    """Convert a value of the JSON that Postgres makes to what the API shows of this setting."""
    match stored, name:
        case str(), "start_time" | "end_time":
            return stored[:5]
        case str(), "scheduled_at" | "expires_at":
            return datetime.fromisoformat(stored)
        case _:
            return stored
