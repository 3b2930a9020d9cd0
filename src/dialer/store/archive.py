"""Retention: attempts of old batches move to `attempts_archive`; settled call events and old batches are deleted."""

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.store import bulk_changes
from dialer.store.attempts import COLUMNS
from dialer.store.database import run

_ATTEMPT = ", ".join(COLUMNS)


def mark_batches(connection: Connection, before: DateTime, now: DateTime) -> int:
    """Mark the batches that were over before this time and have no open contact; the audit ignores them from now on."""
    return run(
        connection,
        f"""
        UPDATE batches SET archived_at = :now
        WHERE id IN (SELECT b.id FROM batches b JOIN batch_progress p ON p.batch_id = b.id
                     WHERE b.archived_at IS NULL AND b.completed_at < :before AND p.dialing = 0
                       AND NOT {bulk_changes.IS_UNFINISHED}
                     ORDER BY b.id FOR NO KEY UPDATE OF b, p SKIP LOCKED)
        """,
        before=before,
        now=now,
    )


def delete_batches(connection: Connection, now: DateTime, days: int | None, limit: int) -> int:
    """Delete at most `limit` batches that their workspaces do not keep any longer; return how many.

    `days`: how long those are kept whose workspace says nothing; None: for ever. Bulk changes remove their contacts and
    attempts. A batch with a call in progress or with contacts to be ended stays.
    """
    return run(
        connection,
        f"""
        DELETE FROM batches WHERE id IN (
            SELECT b.id FROM workspaces w
            JOIN batches b ON b.workspace_id = w.id AND b.completed_at < CAST(:now AS timestamptz)
                              - make_interval(days => coalesce(w.keep_batches_days, CAST(:days AS integer)))
            JOIN batch_progress p ON p.batch_id = b.id
            WHERE p.dialing = 0 AND NOT {bulk_changes.IS_UNFINISHED}
            ORDER BY b.id LIMIT :limit FOR UPDATE OF b, p SKIP LOCKED)
        """,
        now=now,
        days=days,
        limit=limit,
    )


def move_attempts(connection: Connection, limit: int) -> int:
    """Move at most `limit` attempts of marked batches; return how many."""
    return run(
        connection,
        f"""
        WITH moved AS (
            DELETE FROM attempts WHERE id IN (
                SELECT a.id FROM batches b JOIN attempts a ON a.batch_id = b.id
                WHERE b.archived_at IS NOT NULL LIMIT :limit FOR UPDATE OF a SKIP LOCKED)
            RETURNING {_ATTEMPT})
        INSERT INTO attempts_archive ({_ATTEMPT}) SELECT {_ATTEMPT} FROM moved
        """,
        limit=limit,
    )


def remove_reports(connection: Connection, before: DateTime, limit: int) -> int:
    """Delete at most `limit` of the oldest call events if they were settled before this time; return how many."""
    return run(
        connection,
        """
        DELETE FROM inbox WHERE id IN (
            SELECT id FROM inbox
            WHERE id IN (SELECT id FROM inbox ORDER BY id LIMIT :limit) AND settled_at < :before
            FOR UPDATE SKIP LOCKED)
        """,
        before=before,
        limit=limit,
    )
