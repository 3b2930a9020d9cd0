"""Batches as the API shows them: settings, counts and progress, and the changes for event streams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.store.database import rows

_VIEW = """
SELECT b.id, b.workspace_id, b.name, b.agent_id, b.phone_rotation_strategy, b.contact_source, b.contact_folder_id,
       b.schedule_type, b.scheduled_at, b.timezone, b.start_time, b.end_time, b.working_days, b.excluded_dates,
       b.max_concurrent_calls, b.max_calls_per_day, b.ring_timeout_seconds, b.max_call_seconds, b.retry_failed,
       b.max_retry_attempts, b.retry_delays, b.retry_machine, b.respect_contact_timezone, b.sticky_caller_id,
       b.expires_at, b.priority, b.default_region, b.metadata,
       b.status, b.status_reason, b.version, b.created_at, b.updated_at, b.started_at, b.completed_at,
       b.archived_at, b.hang_up, p.next_dispatch_at, p.held_by, p.drained_at, p.dialing AS in_progress,
       json_build_object(
           'total', p.total, 'pending', p.pending, 'waiting', p.waiting, 'dialing', p.dialing,
           'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped, 'cancelled', p.cancelled) AS counts,
       coalesce((SELECT sum(attempts) FROM batch_days d WHERE d.batch_id = b.id), 0) AS attempts,
       ARRAY(SELECT phone_number_id FROM batch_numbers n WHERE n.batch_id = b.id ORDER BY position) AS phone_number_ids
FROM batches b JOIN batch_progress p ON p.batch_id = b.id
"""
_FILTER = """
WHERE b.workspace_id = :workspace
  AND (CAST(:agent AS uuid) IS NULL OR b.agent_id = :agent) AND (CAST(:status AS text) IS NULL OR b.status = :status)
  AND (CAST(:name AS text) IS NULL OR b.name = :name)
"""


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """The state of a batch for an event stream."""

    progress: Mapping[str, Any]  #: Status, counts and due time: the data of a `progress` event.
    changes: tuple[Mapping[str, Any], ...]  #: Changes of status after the given id: the data of `status` events.
    last_id: int  #: The id of the newest change of status.

    @property
    def is_over(self) -> bool:
        """Whether the batch is final and its last call has ended."""
        return self.progress["status"] in FINAL_BATCH and not self.progress["calls"]["in_progress"]


def read(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> Row[Any] | None:
    """Read one batch of this workspace."""
    batches = rows(
        connection, f"{_VIEW} WHERE b.id = :id AND b.workspace_id = :workspace", id=batch_id, workspace=workspace_id
    )
    return batches[0] if batches else None


def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    agent_id: AgentId | None,
    status: BatchStatus | None,
    name: str | None,
    limit: int,
    offset: int,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the batches, newest first; and count all that match."""
    filters = {"workspace": workspace_id, "agent": agent_id, "status": status, "name": name}
    (counted,) = rows(connection, f"SELECT count(*) AS n FROM batches b {_FILTER}", **filters)
    batches = rows(
        connection,
        f"{_VIEW} {_FILTER} ORDER BY b.id DESC LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **filters,
    )
    return batches, counted.n


def belongs(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Return whether the workspace has this batch."""
    query = "SELECT 1 FROM batches WHERE id = :id AND workspace_id = :workspace"
    return bool(rows(connection, query, id=batch_id, workspace=workspace_id))


def changes_since(connection: Connection, after: Mapping[BatchId, int]) -> dict[BatchId, BatchChanges]:
    """Read the state of batches. `after`: batch -> the last known change of status. Deleted batches are left out."""
    states = rows(
        connection,
        """
        SELECT b.id, json_build_object(
                   'id', b.id, 'name', b.name, 'status', b.status, 'status_reason', b.status_reason,
                   'held_by', p.held_by, 'next_dispatch_at', p.next_dispatch_at, 'drained_at', p.drained_at,
                   'counts', json_build_object(
                       'total', p.total, 'pending', p.pending, 'waiting', p.waiting, 'dialing', p.dialing,
                       'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped, 'cancelled', p.cancelled),
                   'calls', json_build_object('in_progress', p.dialing)) AS progress,
               ARRAY(SELECT json_build_object('id', h.id, 'from', h.from_status, 'to', h.to_status,
                                              'reason', h.reason, 'at', h.at)
                     FROM batch_history h WHERE h.batch_id = b.id AND h.id > asked.after ORDER BY h.id) AS changes,
               (SELECT max(h.id) FROM batch_history h WHERE h.batch_id = b.id) AS last_id
        FROM unnest(CAST(:ids AS uuid[]), CAST(:afters AS bigint[])) AS asked (id, after)
        JOIN batches b ON b.id = asked.id JOIN batch_progress p ON p.batch_id = b.id
        """,
        ids=list(after),
        afters=list(after.values()),
    )
    return {row.id: BatchChanges(row.progress, tuple(row.changes), row.last_id or 0) for row in states}
