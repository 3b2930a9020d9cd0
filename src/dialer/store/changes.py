"""What has changed of batches that are being watched, in one statement for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.states import FINAL_BATCH
from dialer.store.database import rows


@dataclass(frozen=True, slots=True)
class Look:
    """Where a batch stands. `changes`: of its status, after the one that was asked about; `last_id`: the newest."""

    progress: Mapping[str, Any]
    changes: tuple[Mapping[str, Any], ...]
    last_id: int

    @property
    def is_over(self) -> bool:
        return self.progress["status"] in FINAL_BATCH and not self.progress["calls"]["in_progress"]


def belongs(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Say whether the workspace has this batch."""
    mine = "SELECT 1 FROM batches WHERE id = :id AND workspace_id = :workspace"
    return bool(rows(connection, mine, id=batch_id, workspace=workspace_id))


def look(connection: Connection, after: Mapping[BatchId, int]) -> dict[BatchId, Look]:
    """Read these batches, each with its changes of status after the given one; those that are gone are left out."""
    found = rows(
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
    return {row.id: Look(row.progress, tuple(row.changes), row.last_id or 0) for row in found}
