"""Contacts as the API shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import ContactStatus
from dialer.store.contact_groups import IN_GROUPS, InGroups
from dialer.store.database import rows
from dialer.store.pages import Listed, count

COLUMNS = """
id, batch_id, phone_number, name, timezone, priority, external_id, expires_at, not_before, variables, status,
status_reason, outcome, attempts, CASE WHEN status IN ('pending', 'waiting') THEN due_at END AS due_at,
CASE WHEN status = 'waiting' THEN coalesce(waits_for, 'retry') END AS waits_for, created_at, finished_at
"""


@dataclass(frozen=True, slots=True)
class ContactFilter:
    """Which contacts of a batch to read; None: any."""

    batch_id: BatchId
    status: ContactStatus | None = None
    outcome: Outcome | None = None
    phone_number: str | None = None
    external_id: str | None = None
    because: InGroups | None = None

    def where(self) -> str:
        """Write the condition with only the filters that are set, so that Postgres can use an index for each."""
        equal = [name for name in _EQUAL if getattr(self, name) is not None]
        conditions = [f"{name} = :{name}" for name in equal] + [f"id IN ({IN_GROUPS})"] * (self.because is not None)
        return " AND ".join(conditions)

    def values(self) -> dict[str, Any]:
        """Return the values of the condition."""
        because = self.because.values(self.batch_id) if self.because else {}
        return {name: getattr(self, name) for name in _EQUAL} | because


CONTACTS = Listed(
    "contacts", "id", "batch_id", {"created_at": ("position",), "phone_number": ("phone_number",)}, "created_at"
)
_EQUAL = ("batch_id", "status", "outcome", "phone_number", "external_id")


def page(
    connection: Connection,
    contact_filter: ContactFilter,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of contacts; and count those that match."""
    start = CONTACTS.start(connection, contact_filter.batch_id, after, sort)
    contacts = rows(
        connection,
        f"""
        SELECT {COLUMNS} FROM contacts WHERE {contact_filter.where()}{start.condition}
        ORDER BY {start.order} LIMIT :limit OFFSET :offset
        """,
        limit=limit,
        offset=offset,
        **contact_filter.values(),
        **start.values,
    )
    return contacts, _count(connection, contact_filter)


def after(connection: Connection, contact_filter: ContactFilter, position: int, limit: int) -> Sequence[Row[Any]]:
    """Read the contacts after this position, in their order: a page at any depth costs the same."""
    where = contact_filter.where()
    return rows(
        connection,
        f"SELECT position, {COLUMNS} FROM contacts WHERE {where} AND position > :after ORDER BY position LIMIT :limit",
        after=position,
        limit=limit,
        **contact_filter.values(),
    )


def _count(connection: Connection, contact_filter: ContactFilter) -> int:
    """Count the contacts that match. Those of a batch, and of each status, are counted in `batch_progress`."""
    because = contact_filter.because
    if because and contact_filter == ContactFilter(contact_filter.batch_id, because=because):
        return because.count
    if contact_filter != ContactFilter(contact_filter.batch_id, contact_filter.status):
        return count(connection, f"FROM contacts WHERE {contact_filter.where()}", **contact_filter.values())
    counted = f"SELECT {contact_filter.status or 'total'} AS n FROM batch_progress WHERE batch_id = :batch_id"
    (row,) = rows(connection, counted, **contact_filter.values())
    return int(row.n)


def read(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId
) -> Row[Any] | None:
    """Read one contact of a batch of this workspace."""
    contacts = rows(
        connection,
        f"""
        SELECT {COLUMNS} FROM contacts WHERE id = :id AND batch_id = :batch
          AND EXISTS (SELECT 1 FROM batches WHERE id = :batch AND workspace_id = :workspace)
        """,
        id=contact_id,
        batch=batch_id,
        workspace=workspace_id,
    )
    return contacts[0] if contacts else None
