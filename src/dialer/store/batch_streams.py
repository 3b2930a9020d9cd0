"""What event streams send of batches: the progress of each, and its changes of status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from dialer.domain.ids import BatchId
from dialer.domain.states import FINAL_BATCH
from dialer.domain.timezones import times_in_utc
from dialer.store.bulk_changes import IS_UNFINISHED
from dialer.store.database import rows


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """The state of a batch for an event stream."""

    progress: Mapping[str, Any]  #: Status, counts and due time: the data of a `progress` event.
    changes: tuple[Mapping[str, Any], ...]  #: Changes of status after the given id: the data of `status` events.
    last_id: int  #: The id of the newest change of status.

    @property
    def is_over(self) -> bool:
        """Whether the batch is final, its last call has ended, and every contact is final."""
        progress = self.progress
        return progress["status"] in FINAL_BATCH and not (progress["calls"]["in_progress"] or progress["is_finishing"])


def changes_since(connection: Connection, after: Mapping[BatchId, int]) -> dict[BatchId, BatchChanges]:
    """Read the state of batches. `after`: batch -> the last known change of status. Deleted batches are left out."""
    states = rows(
        connection,
        f"""
        SELECT b.id, json_build_object(
                   'id', b.id, 'name', b.name, 'status', b.status, 'status_reason', b.status_reason,
                   'held_by', p.held_by, 'next_dispatch_at', p.next_dispatch_at, 'drained_at', p.drained_at,
                   'counts', json_build_object(
                       'total', p.total, 'pending', p.pending, 'waiting', p.waiting, 'dialing', p.dialing,
                       'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped, 'cancelled', p.cancelled),
                   'is_finishing', {IS_UNFINISHED}, 'calls', json_build_object('in_progress', p.dialing)) AS progress,
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
    return {
        row.id: BatchChanges(times_in_utc(row.progress), tuple(map(times_in_utc, row.changes)), row.last_id or 0)
        for row in states
    }
