"""Suppressed numbers in SQL: many at once."""

from collections.abc import Iterable
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection

from dialer.domain.ids import WorkspaceId
from dialer.store.database import run

PAGE = 5_000


def copy(
    connection: Connection, workspace_id: WorkspaceId, numbers: Iterable[tuple[UUID, str, str | None]]
) -> tuple[int, int]:
    """Store new ones (id, number, reason), page by page; return how many there were, and how many are new."""
    seen, stored, more = 0, 0, iter(numbers)
    while page := list(islice(more, PAGE)):
        ids, phones, reasons = zip(*page, strict=True)
        seen += len(page)
        stored += run(
            connection,
            """
            INSERT INTO suppressions (id, workspace_id, phone_number, reason)
            SELECT id, :workspace, phone, reason
            FROM unnest(CAST(:ids AS uuid[]), CAST(:phones AS text[]), CAST(:reasons AS text[]))
                AS n (id, phone, reason)
            ORDER BY phone ON CONFLICT (workspace_id, phone_number) DO NOTHING
            """,
            workspace=workspace_id,
            ids=list(ids),
            phones=list(phones),
            reasons=list(reasons),
        )
    return seen, stored
