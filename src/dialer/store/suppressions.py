"""Bulk import of suppressed numbers, staged as contacts are (`contact_import.py`)."""

from collections.abc import Iterable
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection

from dialer.domain.ids import WorkspaceId
from dialer.store.database import Database, run

PAGE = 5_000
STAGING = """
CREATE TEMPORARY TABLE staged_suppressions (
    line bigint GENERATED ALWAYS AS IDENTITY, id uuid, phone_number text, reason text)
"""


def stage(db: Database, numbers: Iterable[tuple[UUID, str, str | None]]) -> int:
    """Stage suppressions (id, number, reason), one transaction a page; return how many."""
    with db.begin() as connection:
        run(connection, STAGING)
    staged, remaining = 0, iter(numbers)
    while page := list(islice(remaining, PAGE)):
        ids, phones, reasons = zip(*page, strict=True)
        staged += len(page)
        with db.begin() as connection:
            run(
                connection,
                """
                INSERT INTO staged_suppressions (id, phone_number, reason)
                SELECT id, phone, reason
                FROM unnest(CAST(:ids AS uuid[]), CAST(:phones AS text[]), CAST(:reasons AS text[]))
                    AS n (id, phone, reason)
                """,
                ids=list(ids),
                phones=list(phones),
                reasons=list(reasons),
            )
    return staged


def store(connection: Connection, workspace_id: WorkspaceId) -> int:
    """Store the staged suppressions; return how many are new."""
    stored = run(
        connection,
        """
        INSERT INTO suppressions (id, workspace_id, phone_number, reason)
        SELECT id, :workspace, phone_number, reason FROM staged_suppressions
        ORDER BY phone_number, line ON CONFLICT (workspace_id, phone_number) DO NOTHING
        """,
        workspace=workspace_id,
    )
    run(connection, "DROP TABLE staged_suppressions")
    return stored
