"""Batches as people read them."""

from collections.abc import Sequence
from typing import Any

from pendulum import DateTime

from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.states import BatchStatus
from dialer.domain.timezones import is_known_zone
from dialer.errors import NotFound
from dialer.store import batch_views, batches
from dialer.store.database import Connection, Database


def show(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime) -> dict[str, Any]:
    """Read one batch with its counts; NotFound: the workspace has none of this id."""
    with db.begin() as connection:
        row = batch_views.read(connection, workspace_id, batch_id)
        if row is None:
            raise NotFound("No such batch in this workspace")
        return _views(connection, [row], now)[0]


def require(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    """Raise NotFound unless the workspace has this batch."""
    with db.begin() as connection:
        if not batch_views.belongs(connection, workspace_id, batch_id):
            raise NotFound("No such batch in this workspace")


def listed(
    db: Database,
    workspace_id: WorkspaceId,
    now: DateTime,
    *,
    agent_id: AgentId | None = None,
    status: BatchStatus | None = None,
    name: str | None = None,
    limit: int,
    offset: int,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of the batches, newest first; and how many there are."""
    with db.begin() as connection:
        found, total = batch_views.page(connection, workspace_id, agent_id, status, name, limit, offset)
        return _views(connection, found, now), total


def _views(connection: Connection, found: Sequence[Any], now: DateTime) -> list[dict[str, Any]]:
    """Add what depends on the moment. A zone that this system does not know has no today, and nothing is called."""
    days = {row.id: now.in_timezone(row.timezone).date() for row in found if is_known_zone(row.timezone)}
    today = batches.calls_today(connection, days)
    return [
        dict(row._mapping)
        | {"calls": {"in_progress": row.in_progress, "today": today.get(row.id, 0), "attempts": row.attempts}}
        for row in found
    ]
