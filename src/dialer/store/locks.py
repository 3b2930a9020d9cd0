"""Finds sessions that keep rows locked: who they are, since when, and which batches wait for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from dialer.store.database import rows

# Longer than any transaction of a step: Postgres ends those after 10 s without a statement.
HELD_SECONDS = 10
LONGEST_STATEMENT = 200
NAMED_BATCHES = 5


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A session whose transaction was left open."""

    name: str  #: Identifies the transaction.
    sentence: str  #: For operators.


def holders(connection: Connection, held_seconds: float = HELD_SECONDS) -> list[LockHolder]:
    """Find sessions that have held locks which steps need for at least this long.

    Postgres shows since when a session of another user has been open only to roles with pg_read_all_stats. For other
    roles such a session is reported as soon as it holds a lock.
    """
    sessions = rows(
        connection,
        f"""
        SELECT s.pid, s.usename, s.application_name, s.xact_start, left(s.query, {LONGEST_STATEMENT}) AS query,
               l.tables, l.xids
        FROM (SELECT pid,
                     array_agg(DISTINCT CAST(transactionid AS text)) FILTER (WHERE locktype = 'transactionid') AS xids,
                     array_agg(DISTINCT CAST(CAST(relation AS regclass) AS text) ORDER BY
                               CAST(CAST(relation AS regclass) AS text)) FILTER (WHERE locktype = 'relation') AS tables
              FROM pg_locks
              WHERE granted AND pid <> pg_backend_pid()
                AND (locktype = 'transactionid' AND mode = 'ExclusiveLock'
                     OR locktype = 'relation' AND mode <> 'AccessShareLock'
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        AND relation IN (CAST('batches' AS regclass), CAST('batch_progress' AS regclass),
                                         CAST('contacts' AS regclass), CAST('attempts' AS regclass)))
              GROUP BY pid) AS l
        JOIN pg_stat_activity s ON s.pid = l.pid
        WHERE l.tables IS NOT NULL AND NOT (s.application_name = 'dialer' AND coalesce(s.state, '') = 'active')
          AND coalesce(s.xact_start < clock_timestamp() - :seconds * interval '1 second', true)
        ORDER BY s.pid
        """,
        seconds=held_seconds,
    )
    return [
        LockHolder(f"{row.pid}:{min(row.xids or ['0'])}", _sentence(row, _locked_batches(connection, row.xids or [])))
        for row in sessions
    ]


def sentences(connection: Connection) -> list[str]:
    """Return for operators which sessions block which batches."""
    return [holder.sentence for holder in holders(connection)]


def _locked_batches(connection: Connection, xids: Sequence[str]) -> list[str]:
    """Return the names of batches whose rows these transactions have locked or written (their `xmax`)."""
    batches = rows(
        connection,
        f"""
        SELECT b.name FROM batches b JOIN batch_progress p ON p.batch_id = b.id
        WHERE CAST(b.xmax AS text) = ANY(:xids) OR CAST(p.xmax AS text) = ANY(:xids)
        ORDER BY b.name, b.id LIMIT {NAMED_BATCHES + 1}
        """,
        xids=list(xids),
    )
    return [row.name for row in batches]


def _sentence(row: Row[Any], batches: Sequence[str]) -> str:
    session = f"session {row.pid} ({row.application_name or 'unnamed'}, user {row.usename})"
    since = f", open since {row.xact_start:%Y-%m-%d %H:%M:%S} UTC" if row.xact_start else ""
    statement = f" Its last statement: {' '.join(row.query.split())}." if row.query and row.xact_start else ""
    return (
        f"{_locked_rows(row.tables, batches)} locked by a transaction of {session}{since}: these are neither called "
        f"nor settled until it ends.{statement} End it there, or with SELECT pg_terminate_backend({row.pid})"
    )


def _locked_rows(tables: Sequence[str], batches: Sequence[str]) -> str:
    if not batches:
        return f"Rows of {', '.join(tables)} are"
    named = ", ".join(batches[:NAMED_BATCHES]) + (", …" if len(batches) > NAMED_BATCHES else "")
    return f"Batch {named} is" if len(batches) == 1 else f"Batches {named} are"
