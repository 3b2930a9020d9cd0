"""Batches as the API shows them: settings, counts and progress."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import AgentId, BatchId, WorkspaceId, first_of
from dialer.domain.states import BatchStatus
from dialer.store.bulk_changes import IS_UNFINISHED
from dialer.store.database import rows
from dialer.store.pages import LAST_ID, Listed, count

_VIEW = f"""
SELECT b.id, b.workspace_id, b.name, b.agent_id, b.phone_rotation_strategy, b.contact_source, b.contact_folder_id,
       b.schedule_type, b.scheduled_at, b.timezone, b.start_time, b.end_time, b.working_days, b.excluded_dates,
       b.max_concurrent_calls, b.max_calls_per_day, b.ring_timeout_seconds, b.max_call_seconds, b.retry_failed,
       b.max_retry_attempts, b.retry_delays, b.retry_machine, b.respect_contact_timezone, b.sticky_caller_id,
       b.expires_at, b.priority, b.default_region, b.metadata, b.labels, b.person_limits,
       b.calling_hours, b.holidays,
       b.status, b.status_reason, b.version, b.created_at, b.updated_at, b.started_at, b.completed_at,
       b.archived_at, b.hang_up, p.next_dispatch_at, p.held_by, p.drained_at, p.dialing AS in_progress,
       json_build_object(
           'total', p.total, 'pending', p.pending, 'waiting', p.waiting, 'dialing', p.dialing,
           'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped, 'cancelled', p.cancelled) AS counts,
       {IS_UNFINISHED} AS is_finishing,
       coalesce((SELECT sum(attempts) FROM batch_days d WHERE d.batch_id = b.id), 0) AS attempts,
       ARRAY(SELECT phone_number_id FROM batch_numbers n WHERE n.batch_id = b.id ORDER BY position) AS phone_number_ids
FROM batches b JOIN batch_progress p ON p.batch_id = b.id
"""
_FILTER = """
WHERE b.workspace_id = :workspace
  AND (CAST(:agent AS uuid) IS NULL OR b.agent_id = :agent) AND (CAST(:status AS text) IS NULL OR b.status = :status)
  AND (CAST(:name AS text) IS NULL OR b.name = :name)
  AND (CAST(:search AS text) IS NULL OR strpos(lower(b.name), lower(:search)) > 0)
  AND (CAST(:label AS text) IS NULL OR :label = ANY(b.labels))
  AND (CAST(:since AS timestamptz) IS NULL OR b.created_at >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR b.created_at < :until)
"""

BATCHES = Listed(
    "batches b", "b.id", "b.workspace_id", {"created_at": ("b.id",), "name": ("b.name", "b.id")}, "-created_at"
)
_MATCHES = """
WHERE b.workspace_id = :workspace AND b.status = ANY(:statuses)
  AND (CAST(:agent AS uuid) IS NULL OR b.agent_id = :agent)
  AND (CAST(:search AS text) IS NULL OR strpos(lower(b.name), lower(:search)) > 0)
  AND (CAST(:label AS text) IS NULL OR :label = ANY(b.labels))
"""


def read(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> Row[Any] | None:
    """Read one batch of this workspace."""
    batches = rows(
        connection, f"{_VIEW} WHERE b.id = :id AND b.workspace_id = :workspace", id=batch_id, workspace=workspace_id
    )
    return batches[0] if batches else None


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """Which batches to return; None: any. `search`: what their name contains, in any case. `since`, `until` (excluded):
    when they were created.
    """

    agent_id: AgentId | None = None
    status: BatchStatus | None = None
    name: str | None = None
    search: str | None = None
    label: str | None = None
    since: DateTime | None = None
    until: DateTime | None = None


def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    of: BatchQuery,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the batches that match; and count them."""
    filters = {
        "workspace": workspace_id,
        "agent": of.agent_id,
        "status": of.status,
        "name": of.name,
        "search": of.search,
        "label": of.label,
        "since": of.since,
        "until": of.until,
    }
    start = BATCHES.start(connection, workspace_id, after, sort)
    query = f"{_VIEW} {_FILTER}{start.condition} ORDER BY {start.order} LIMIT :limit OFFSET :offset"
    batches = rows(connection, query, limit=limit, offset=offset, **filters, **start.values)
    return batches, count(connection, f"FROM batches b {_FILTER}", **filters)


def before(
    connection: Connection,
    workspace_id: WorkspaceId,
    statuses: Collection[BatchStatus],
    agent_id: AgentId | None,
    search: str | None,
    label: str | None,
    batch_id: BatchId | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Read the batches that match before this one (None: from the newest on), newest first, by the index of the
    workspace: a page at any depth costs the same.
    """
    return rows(
        connection,
        f"{_VIEW} {_MATCHES} AND b.id < :before ORDER BY b.id DESC LIMIT :limit",
        workspace=workspace_id,
        statuses=list(statuses),
        agent=agent_id,
        search=search,
        label=label,
        before=batch_id or LAST_ID,
        limit=limit,
    )


def matching(
    connection: Connection,
    workspace_id: WorkspaceId,
    statuses: Collection[BatchStatus],
    agent_id: AgentId | None,
    search: str | None,
    label: str | None,
) -> Sequence[Row[Any]]:
    """Read all batches that match, in their order: id, name, calls in progress and contacts."""
    return rows(
        connection,
        f"""
        SELECT b.id, b.name, p.dialing, p.pending + p.waiting AS contacts_left, p.total
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id {_MATCHES} ORDER BY b.id
        """,
        workspace=workspace_id,
        statuses=list(statuses),
        agent=agent_id,
        search=search,
        label=label,
    )


def shown(
    connection: Connection, workspace_ids: Collection[WorkspaceId], batch_ids: Collection[BatchId], since: DateTime
) -> Sequence[Row[Any]]:
    """Read these batches of these workspaces, and those that were created since then."""
    return rows(
        connection,
        # Ids hold the time of their making, so the new ones are found by the index of the workspace.
        f"""
        {_VIEW}
        WHERE b.workspace_id = ANY(:workspaces) AND b.id IN (
            SELECT unnest(CAST(:ids AS uuid[]))
            UNION SELECT id FROM batches WHERE workspace_id = ANY(:workspaces) AND id >= :first_new)
        """,
        workspaces=list(workspace_ids),
        ids=list(batch_ids),
        first_new=first_of(since),
    )


def belongs(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Return whether the workspace has this batch."""
    query = "SELECT 1 FROM batches WHERE id = :id AND workspace_id = :workspace"
    return bool(rows(connection, query, id=batch_id, workspace=workspace_id))


def with_name(connection: Connection, name: str, limit: int) -> Sequence[Row[Any]]:
    """Read id and status of the newest batches with this name, in all workspaces."""
    return rows(
        connection,
        "SELECT id, status FROM batches WHERE name = :name ORDER BY id DESC LIMIT :limit",
        name=name,
        limit=limit,
    )
