"""The row of a batch that changes with every call: its counts, its next dispatch, and what holds it back."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.batch import BatchCounts, LockedBatch, NextDispatch
from dialer.domain.batch_progress import Progress
from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus
from dialer.store.bulk_changes import IS_UNFINISHED
from dialer.store.database import optional_moment, passing_over, rows, run, wait_shortly


def hand_over_due(connection: Connection, now: DateTime, again_at: DateTime, limit: int) -> list[BatchId]:
    """Take the batches that are due now, longest due first; should their tasks be lost, they are due at `again_at`.

    SKIP LOCKED: a locked row belongs to a dispatch that is just writing when its batch is due next.
    """
    taken = rows(
        connection,
        """
        WITH due AS MATERIALIZED (
            SELECT batch_id, next_dispatch_at AS since FROM batch_progress
            WHERE next_dispatch_at <= :now ORDER BY next_dispatch_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE batch_progress p SET next_dispatch_at = :again_at FROM due
        WHERE p.batch_id = due.batch_id RETURNING p.batch_id, due.since
        """,
        now=now,
        again_at=again_at,
        limit=limit,
    )
    return [row.batch_id for row in sorted(taken, key=lambda row: row.since)]


def lock_active(
    connection: Connection, batch_ids: Sequence[BatchId], *, skip_locked: bool = False
) -> dict[BatchId, LockedBatch]:
    """Lock those of these batches that are still active, with their counts, in id order (P4: this WHERE).

    NO KEY UPDATE: an import, whose new rows refer to the batch, need not wait for it. An operator's statement locks
    batches in the order in which it finds them, which may be a deadlock with this one: this side gives up, with
    Contended, before Postgres looks for deadlocks (after 1 s) and may cancel the operator's pause.
    """
    wait_shortly(connection)
    records = rows(
        connection,
        f"""
        SELECT b.id, b.version, p.dialing, (SELECT epoch FROM lease_epoch) AS epoch
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id
        WHERE b.id = ANY(:ids) AND b.status = 'active'
        ORDER BY b.id FOR NO KEY UPDATE OF b, p {passing_over(skip_locked)}
        """,
        ids=list(batch_ids),
    )
    return {row.id: LockedBatch(**row._mapping) for row in records}


def open_counts(connection: Connection, batch_ids: Sequence[BatchId]) -> dict[BatchId, BatchCounts]:
    """Count the contacts of each batch that are not final."""
    records = rows(
        connection,
        "SELECT batch_id, pending, waiting, dialing FROM batch_progress WHERE batch_id = ANY(:ids)",
        ids=list(batch_ids),
    )
    return {row.batch_id: BatchCounts(row.pending, row.waiting, row.dialing) for row in records}


def lock_progress(connection: Connection, batch_ids: Collection[BatchId], *, skip_locked: bool = False) -> set[BatchId]:
    """Lock the counts of these batches in id order, before their contacts are written; return those that are locked."""
    records = rows(
        connection,
        f"""
        SELECT batch_id FROM batch_progress WHERE batch_id = ANY(:ids)
        ORDER BY batch_id FOR NO KEY UPDATE {passing_over(skip_locked)}
        """,
        ids=sorted(set(batch_ids)),
    )
    return {row.batch_id for row in records}


def write_next_dispatches(connection: Connection, nexts: Sequence[NextDispatch]) -> None:
    """Write when each batch is due next; the rows are locked by this transaction."""
    run(
        connection,
        """
        UPDATE batch_progress p SET next_dispatch_at = look.at, held_by = look.held_by
        FROM unnest(CAST(:ids AS uuid[]), CAST(:ats AS timestamptz[]), CAST(:held AS text[])) AS look (id, at, held_by)
        WHERE p.batch_id = look.id
        """,
        ids=[next_dispatch.batch_id for next_dispatch in nexts],
        ats=[next_dispatch.at for next_dispatch in nexts],
        held=[next_dispatch.held_by for next_dispatch in nexts],
    )


def note_talk(connection: Connection, talk_seconds: Mapping[BatchId, float]) -> None:
    """Write the typical length of these batches' conversations; their counts are locked by this transaction."""
    run(
        connection,
        """
        UPDATE batch_progress p SET talk_seconds = t.seconds
        FROM unnest(CAST(:ids AS uuid[]), CAST(:seconds AS double precision[])) AS t (id, seconds)
        WHERE p.batch_id = t.id
        """,
        ids=list(talk_seconds),
        seconds=list(talk_seconds.values()),
    )


def wake(connection: Connection, batch_ids: Collection[BatchId], now: DateTime) -> None:
    """Make active batches due now, if they are not due earlier. Locks their counts, where this transaction has not."""
    run(
        connection,
        """
        UPDATE batch_progress SET next_dispatch_at = least(next_dispatch_at, :now)
        WHERE batch_id IN (SELECT p.batch_id FROM batch_progress p JOIN batches b ON b.id = p.batch_id
                           WHERE p.batch_id = ANY(:ids) AND b.status = 'active'
                           ORDER BY p.batch_id FOR NO KEY UPDATE OF p)
        """,
        ids=sorted(set(batch_ids)),
        now=now,
    )


def held_by_room(connection: Connection, trunk_ids: Sequence[UUID], limit: int) -> list[BatchId]:
    """List the batches that wait for room on these trunks, those with the fewest calls in progress first."""
    records = rows(
        connection,
        """
        SELECT p.batch_id FROM batch_progress p JOIN batches b ON b.id = p.batch_id
        WHERE p.held_by IN ('trunk', 'number', 'rate') AND b.status = 'active'
          AND EXISTS (SELECT 1 FROM phone_numbers n LEFT JOIN batch_numbers bn ON bn.phone_number_id = n.id
                      WHERE n.trunk_id = ANY(:trunks) AND (bn.batch_id = b.id OR n.agent_id = b.agent_id))
        ORDER BY p.dialing LIMIT :limit
        """,
        trunks=list(trunk_ids),
        limit=limit,
    )
    return [row.batch_id for row in records]


def first_retry_at(connection: Connection, batch_id: BatchId) -> DateTime | None:
    """Read when the first of the batch's waiting contacts may be called again; reads all of them."""
    (row,) = rows(
        connection, "SELECT min(due_at) AS at FROM contacts WHERE batch_id = :id AND status = 'waiting'", id=batch_id
    )
    return optional_moment(row.at)


def read(connection: Connection, batch_id: BatchId) -> Progress | None:
    """Read the state of a batch; None: there is no such batch."""
    records = rows(
        connection,
        f"""
        SELECT b.id, b.name, b.status, b.status_reason, p.held_by, p.next_dispatch_at, p.drained_at,
               p.total, p.pending, p.waiting, p.dialing, p.completed, p.failed, p.skipped, p.cancelled,
               {IS_UNFINISHED} AS is_finishing
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id WHERE b.id = :id
        """,
        id=batch_id,
    )
    if not records:
        return None
    values = dict(records[0]._mapping)
    for name in ("next_dispatch_at", "drained_at"):
        values[name] = optional_moment(values[name])
    return Progress(**values | {"status": BatchStatus(values["status"])})
