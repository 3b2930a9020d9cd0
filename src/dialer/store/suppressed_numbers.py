"""Numbers that were suppressed just now, whose contacts are skipped in pages: a row has at most 1,000 of them.

No claim and no permit depends on these rows: both look at `suppressions`.
"""

from collections.abc import Collection, Mapping, Sequence

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.ids import BatchId, ContactId
from dialer.store.database import rows, run

# With 1,000 numbers in each row, a page looks for at most 20,000 contacts.
BATCHES = 20


def take_due(connection: Connection, now: DateTime, again_at: DateTime) -> int | None:
    """Take the row that has waited longest for a page; should this process die, it is due again at `again_at`."""
    taken = rows(
        connection,
        """
        WITH due AS MATERIALIZED (
            SELECT id FROM suppressed_numbers WHERE due_at <= :now
            ORDER BY due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE suppressed_numbers n SET due_at = :again_at FROM due WHERE n.id = due.id RETURNING n.id
        """,
        now=now,
        again_at=again_at,
    )
    return taken[0].id if taken else None


def next_batches(connection: Connection, row_id: int) -> list[BatchId]:
    """List the next batches that are not over, at most BATCHES, in which contacts of a row's numbers may be left."""
    records = rows(
        connection,
        """
        SELECT b.id FROM suppressed_numbers n JOIN batches b ON b.workspace_id = n.workspace_id AND b.id > n.after_batch
        WHERE n.id = :id AND b.status IN ('draft', 'scheduled', 'active', 'paused') ORDER BY b.id LIMIT :limit
        """,
        id=row_id,
        limit=BATCHES,
    )
    return [row.id for row in records]


def open_contacts(
    connection: Connection, row_id: int, batch_ids: Sequence[BatchId], limit: int
) -> Mapping[ContactId, BatchId]:
    """Find at most `limit` contacts of these batches that nobody is calling, and whose number is still suppressed."""
    # Without statistics Postgres would read the table from its beginning.
    rows(connection, "SELECT set_config('enable_seqscan', 'off', true)")
    records = rows(
        connection,
        """
        SELECT c.id, b.id AS batch_id
        FROM suppressed_numbers n
        CROSS JOIN unnest(n.phone_numbers) AS p (phone_number)
        JOIN suppressions s ON s.workspace_id = n.workspace_id AND s.phone_number = p.phone_number
        CROSS JOIN unnest(CAST(:batches AS uuid[])) AS b (id)
        -- The LIMIT makes this one probe of the unique index for each batch and number.
        CROSS JOIN LATERAL (SELECT id, status FROM contacts
                            WHERE batch_id = b.id AND phone_number = p.phone_number LIMIT 1) AS c
        WHERE n.id = :id AND c.status IN ('pending', 'waiting') LIMIT :limit
        """,
        id=row_id,
        batches=list(batch_ids),
        limit=limit,
    )
    return {row.id: row.batch_id for row in records}


def skip(connection: Connection, contact_ids: Collection[ContactId]) -> int:
    """Skip those of these contacts that nobody is calling; their batches' counts are locked by this transaction.

    SKIP LOCKED: a contact that an operator has locked does not stop the others.
    """
    return run(
        connection,
        """
        UPDATE contacts SET status = 'skipped', status_reason = 'suppressed', finished_at = dialer_now()
        WHERE id IN (SELECT id FROM contacts WHERE id = ANY(:ids) AND status IN ('pending', 'waiting')
                     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
        """,
        ids=list(contact_ids),
    )


def go_on(connection: Connection, row_id: int, now: DateTime) -> None:
    """Make the next page of a row due, in the same batches."""
    run(connection, "UPDATE suppressed_numbers SET due_at = :now WHERE id = :id", id=row_id, now=now)


def finish_batches(connection: Connection, row_id: int, now: DateTime, batch_ids: Sequence[BatchId]) -> None:
    """Record that no contact of a row's numbers is left in these batches, which `next_batches` has listed."""
    if len(batch_ids) < BATCHES:
        run(connection, "DELETE FROM suppressed_numbers WHERE id = :id", id=row_id)
        return
    run(
        connection,
        "UPDATE suppressed_numbers SET due_at = :now, after_batch = :last WHERE id = :id",
        id=row_id,
        now=now,
        last=batch_ids[-1],
    )
