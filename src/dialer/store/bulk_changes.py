"""Changes of many contacts, which are done in pages: the batches of which contacts still have to be moved."""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.bulk_change import ContactEnd
from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus
from dialer.store import quarantine
from dialer.store.database import rows, run

# SQL: contacts of a batch b still have to be moved.
IS_UNFINISHED = "EXISTS (SELECT 1 FROM bulk_changes u WHERE u.batch_id = b.id)"


@dataclass(frozen=True, slots=True)
class ChangingBatch:
    """A batch whose counts are locked. `open`: how many of its contacts are neither final nor being called."""

    status: BatchStatus
    is_expired: bool
    open: int


def begin(connection: Connection, batch_ids: Sequence[BatchId]) -> None:
    """Have contacts of these batches moved that nobody is calling; their counts are locked by this transaction."""
    run(
        connection,
        """
        INSERT INTO bulk_changes (batch_id)
        SELECT batch_id FROM batch_progress WHERE batch_id = ANY(:ids) AND pending + waiting > 0 ORDER BY batch_id
        ON CONFLICT (batch_id) DO NOTHING
        """,
        ids=list(batch_ids),
    )


def is_due(connection: Connection, now: DateTime) -> bool:
    """Say whether a page is due, of a batch or of suppressed numbers."""
    (row,) = rows(
        connection,
        """
        SELECT EXISTS (SELECT 1 FROM bulk_changes WHERE due_at <= :now)
            OR EXISTS (SELECT 1 FROM suppressed_numbers WHERE due_at <= :now) AS is_due
        """,
        now=now,
    )
    return bool(row.is_due)


def take_due(connection: Connection, now: DateTime, again_at: DateTime) -> BatchId | None:
    """Take the batch that has waited longest for a page; should this process die, it is due again at `again_at`.

    SKIP LOCKED: a locked row has just been taken by another worker. A batch that failed just now is left out.
    """
    taken = rows(
        connection,
        f"""
        WITH due AS MATERIALIZED (
            SELECT c.batch_id FROM bulk_changes c CROSS JOIN LATERAL (SELECT c.batch_id AS id) AS b
            WHERE c.due_at <= :now AND {quarantine.NOT_JUST_NOW}
            ORDER BY c.due_at LIMIT 1 FOR NO KEY UPDATE OF c SKIP LOCKED)
        UPDATE bulk_changes c SET due_at = :again_at FROM due WHERE c.batch_id = due.batch_id RETURNING c.batch_id
        """,
        now=now,
        again_at=again_at,
    )
    return taken[0].batch_id if taken else None


def read(connection: Connection, batch_id: BatchId) -> ChangingBatch | None:
    """Read a batch after its counts were locked, in a statement of its own: what it says holds until the commit.

    None: there is no such batch.
    """
    records = rows(
        connection,
        """
        SELECT b.status, coalesce(b.expires_at <= dialer_now(), false) AS is_expired, p.pending + p.waiting AS open
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id WHERE b.id = :id
        """,
        id=batch_id,
    )
    return ChangingBatch(BatchStatus(records[0].status), records[0].is_expired, records[0].open) if records else None


def end_contacts(connection: Connection, batch_id: BatchId, end: ContactEnd, limit: int) -> int:
    """Move at most `limit` contacts that nobody is calling to this end; their batch's counts are locked.

    They end when their batch did. SKIP LOCKED: a contact that an operator has locked does not stop the others.
    """
    # Without statistics, or while most rows match, Postgres would read the table from its beginning for each page.
    rows(connection, "SELECT set_config('enable_seqscan', 'off', true)")
    return run(
        connection,
        """
        WITH page AS MATERIALIZED (
            SELECT id FROM contacts WHERE batch_id = :id AND status IN ('pending', 'waiting')
            LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE contacts c SET status = :status, status_reason = :reason,
                              finished_at = coalesce(b.completed_at, dialer_now())
        FROM page, batches b WHERE c.id = page.id AND b.id = :id
        """,
        id=batch_id,
        status=end.status,
        reason=end.reason,
        limit=limit,
    )


def go_on(connection: Connection, batch_id: BatchId, now: DateTime) -> None:
    """Make the next page of a batch due, after those of batches that are due already."""
    run(connection, "UPDATE bulk_changes SET due_at = :now WHERE batch_id = :id", id=batch_id, now=now)


def finish(connection: Connection, batch_id: BatchId) -> None:
    """Record that no contact of this batch has to be moved any more; its counts are locked by this transaction."""
    run(connection, "DELETE FROM bulk_changes WHERE batch_id = :id", id=batch_id)
