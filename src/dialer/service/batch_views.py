"""Batches as the API shows them."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.states import BatchStatus
from dialer.domain.timezones import is_known_zone
from dialer.errors import NotFound
from dialer.store import batch_views, batches
from dialer.store.batch_views import BatchQuery
from dialer.store.database import Connection, Database


def show(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime) -> dict[str, Any]:
    """Read one batch with its counts.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        now: the current time, which decides what "today" is in the batch's zone.

    Returns:
        The batch.

    Raises:
        NotFound: there is no such batch in this workspace.
    """
    with db.begin() as connection:
        row = batch_views.read(connection, workspace_id, batch_id)
        if row is None:
            raise NotFound("No such batch in this workspace")
        return _views(connection, [row], now)[0]


def require(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    """Check that a batch belongs to a workspace.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.

    Raises:
        NotFound: it does not.
    """
    with db.begin() as connection:
        if not batch_views.belongs(connection, workspace_id, batch_id):
            raise NotFound("No such batch in this workspace")


def list_page(
    db: Database,
    workspace_id: WorkspaceId,
    now: DateTime,
    query: BatchQuery,
    *,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of the batches that match, newest first.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        now: the current time, which decides what "today" is in each batch's zone.
        query: which batches.
        limit: the size of the page.
        offset: how many batches come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `batch_views.BATCHES.sorts`; None: its default.

    Returns:
        The batches, and how many match in all.
    """
    with db.begin() as connection:
        page, total = batch_views.page(connection, workspace_id, query, limit, offset, after, sort)
        return _views(connection, page, now), total


def list_before(
    db: Database,
    workspace_id: WorkspaceId,
    now: DateTime,
    *,
    statuses: Collection[BatchStatus],
    agent_id: AgentId | None,
    search: str | None,
    label: str | None = None,
    before: BatchId | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Read the batches that were created before one, newest first. Nothing is counted.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        now: the current time, which decides what "today" is in each batch's zone.
        statuses: only batches in one of these.
        agent_id: only batches of this agent.
        search: only batches whose name contains this, in any case.
        label: only batches with this label.
        before: the last batch of the page before; None: the first page.
        limit: the size of the page.

    Returns:
        The batches.
    """
    with db.begin() as connection:
        page = batch_views.before(connection, workspace_id, statuses, agent_id, search, label, before, limit)
        return _views(connection, page, now)


def list_shown(
    db: Database,
    workspace_ids: Collection[WorkspaceId],
    batch_ids: Collection[BatchId],
    since: DateTime,
    now: DateTime,
) -> list[dict[str, Any]]:
    """Read the batches that open pages show, and new ones.

    Args:
        db: the database.
        workspace_ids: the workspaces of the pages.
        batch_ids: the batches on the pages; those of other workspaces are left out.
        since: batches that were created after this are read, too.
        now: the current time, which decides what "today" is in each batch's zone.

    Returns:
        The batches, each with its `workspace_id`.
    """
    with db.begin() as connection:
        return _views(connection, batch_views.shown(connection, workspace_ids, batch_ids, since), now)


def _views(connection: Connection, page: Sequence[Any], now: DateTime) -> list[dict[str, Any]]:
    """Add the calls of today. A batch whose zone this system does not know has no "today", and places no calls."""
    days = {row.id: now.in_timezone(row.timezone).date() for row in page if is_known_zone(row.timezone)}
    today = batches.calls_today(connection, days)
    return [
        dict(row._mapping)
        | {"calls": {"in_progress": row.in_progress, "today": today.get(row.id, 0), "attempts": row.attempts}}
        for row in page
    ]
