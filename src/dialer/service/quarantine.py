"""Quarantine: what failed because of its own data. Listed here, and retried by `quarantine_retry`."""

from dataclasses import asdict
from typing import Any

from dialer.domain.ids import WorkspaceId
from dialer.store import quarantine
from dialer.store.database import Database


def list_entries(db: Database, limit: int | None = None) -> list[dict[str, Any]]:
    """Read the oldest entries.

    Args:
        db: the database.
        limit: how many at most; None: all.

    Returns:
        The entries, oldest first.
    """
    with db.begin() as connection:
        return [asdict(entry) for entry in quarantine.entries(connection, limit)]


def list_of(
    db: Database, workspace_id: WorkspaceId, limit: int, offset: int, after: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of the entries of one workspace, without the texts of their errors.

    Args:
        db: the database.
        workspace_id: the workspace of the caller. Entries that belong to none are for `list_entries` alone.
        limit: the size of the page.
        offset: how many entries come before the page.
        after: the id of the last entry of the page before; None: the first page.

    Returns:
        The entries, oldest first, and how many there are.
    """
    with db.begin() as connection:
        page, total = quarantine.entries_of(connection, workspace_id, limit, offset, after)
        return [dict(row._mapping) for row in page], total
