"""Calls over all batches of a workspace."""

from typing import Any

from dialer.domain.ids import AttemptId, WorkspaceId
from dialer.errors import NotFound
from dialer.store import call_search, call_views
from dialer.store.call_search import CallFilter
from dialer.store.database import Database


def list_page(
    db: Database,
    workspace_id: WorkspaceId,
    of: CallFilter,
    after: AttemptId | None,
    limit: int,
    *,
    oldest_first: bool = False,
) -> tuple[list[dict[str, Any]], AttemptId | None]:
    """Read a page of the calls of a workspace.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        of: which calls.
        after: the last call of the page before; None: the first page.
        limit: the size of the page.
        oldest_first: whether the list begins with the oldest call.

    Returns:
        The calls, and the `after` of the next page; None: this is the last page.
    """
    with db.begin() as connection:
        calls = call_search.page(connection, workspace_id, of, after, limit + 1, oldest_first=oldest_first)
    page = [dict(call._mapping) for call in calls[:limit]]
    return page, page[-1]["id"] if len(calls) > limit else None


def show(db: Database, workspace_id: WorkspaceId, attempt_id: AttemptId) -> dict[str, Any]:
    """Read one call, with what the network has reported of it.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        attempt_id: the call.

    Returns:
        The call; `reports` in the order of their arrival.

    Raises:
        NotFound: this workspace has no such call.
    """
    with db.begin() as connection:
        if not call_search.belongs(connection, workspace_id, attempt_id):
            raise NotFound("No such call in this workspace")
        reports = [dict(report._mapping) for report in call_views.reports(connection, attempt_id)]
        return dict(call_views.read(connection, attempt_id)._mapping) | {"reports": reports}
