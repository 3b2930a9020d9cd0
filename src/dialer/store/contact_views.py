"""Contacts in SQL as people read them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import ContactStatus
from dialer.store.database import rows

_COLUMNS = """
id, batch_id, phone_number, name, timezone, priority, external_id, expires_at, variables, status, status_reason,
outcome, attempts, CASE WHEN status IN ('pending', 'waiting') THEN due_at END AS due_at, created_at, finished_at
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which contacts of a batch are asked for; None: any."""

    batch_id: BatchId
    status: ContactStatus | None = None
    outcome: Outcome | None = None
    phone_number: str | None = None
    external_id: str | None = None

    def where(self) -> str:
        """Write the condition of what is asked alone, so that each has its index."""
        return " AND ".join(f"{name} = :{name}" for name, value in asdict(self).items() if value is not None)


def page(connection: Connection, asked: Asked, limit: int, offset: int) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of contacts in their order; and count all that were asked for."""
    in_order = f"SELECT {_COLUMNS} FROM contacts WHERE {asked.where()} ORDER BY position LIMIT :limit OFFSET :offset"
    found = rows(connection, in_order, limit=limit, offset=offset, **asdict(asked))
    return found, _count(connection, asked)


def _count(connection: Connection, asked: Asked) -> int:
    """Count them; those of a batch, or of one status, have been counted already."""
    if asked == Asked(asked.batch_id, asked.status):
        counted = f"SELECT {asked.status or 'total'} AS n FROM batch_progress WHERE batch_id = :batch_id"
    else:
        counted = f"SELECT count(*) AS n FROM contacts WHERE {asked.where()}"
    (row,) = rows(connection, counted, **asdict(asked))
    return int(row.n)


def read(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId
) -> Row[Any] | None:
    """Read one contact of a batch of this workspace."""
    found = rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM contacts WHERE id = :id AND batch_id = :batch
          AND EXISTS (SELECT 1 FROM batches WHERE id = :batch AND workspace_id = :workspace)
        """,
        id=contact_id,
        batch=batch_id,
        workspace=workspace_id,
    )
    return found[0] if found else None
