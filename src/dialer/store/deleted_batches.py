"""What is left of deleted batches: their attempts and contacts, which bulk changes remove in pages."""

from sqlalchemy import Connection

from dialer.domain.ids import BatchId
from dialer.store.database import rows, run


def remove_page(connection: Connection, batch_id: BatchId, limit: int) -> int:
    """Remove at most `limit` rows of a deleted batch; return how many. 0: none is left."""
    # Without statistics Postgres would read a table from its beginning for each page.
    rows(connection, "SELECT set_config('enable_seqscan', 'off', true)")
    # Contacts last: with each of them Postgres looks for its attempts.
    return (
        _remove_attempts(connection, batch_id, limit)
        or _remove(connection, "attempts_archive", "id", batch_id, limit)
        or _remove(connection, "contacts", "position", batch_id, limit)
    )


def _remove_attempts(connection: Connection, batch_id: BatchId, limit: int) -> int:
    """Remove attempts in the order of ids, in which settle locks attempts too.

    Those of today still count toward the daily cap of their number.
    """
    (removed,) = rows(
        connection,
        """
        WITH page AS MATERIALIZED (
            SELECT id FROM attempts WHERE batch_id = :id ORDER BY id LIMIT :limit FOR UPDATE),
        removed AS (
            DELETE FROM attempts a USING page WHERE a.id = page.id
            RETURNING a.id, a.batch_id, a.phone_number_id, a.trunk_id, a.utc_on, a.state),
        counted AS (
            INSERT INTO deleted_attempts (id, batch_id, phone_number_id, trunk_id, utc_on)
            SELECT id, batch_id, phone_number_id, trunk_id, utc_on FROM removed
            WHERE state <> 'refused' AND utc_on >= CAST(dialer_now() AT TIME ZONE 'UTC' AS date))
        SELECT count(*) AS n FROM removed
        """,
        id=batch_id,
        limit=limit,
    )
    return int(removed.n)


def _remove(connection: Connection, table: str, order: str, batch_id: BatchId, limit: int) -> int:
    """Remove rows of a batch from a table, in the order of a column by which it has an index with the batch."""
    return run(
        connection,
        f"""
        DELETE FROM {table} WHERE id IN (
            SELECT id FROM {table} WHERE batch_id = :id ORDER BY {order} LIMIT :limit FOR UPDATE)
        """,
        id=batch_id,
        limit=limit,
    )


def forget_earlier_days(connection: Connection) -> None:
    """Remove the deleted attempts of earlier days, which no daily cap counts any more."""
    run(connection, "DELETE FROM deleted_attempts WHERE utc_on < CAST(dialer_now() AT TIME ZONE 'UTC' AS date)")
