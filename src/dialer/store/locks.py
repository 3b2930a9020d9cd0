"""Sessions that keep rows locked: who they are, since when, and whose batches wait for them. For people; nothing is
decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from dialer.store.database import rows

# Longer than a transaction of a step lasts: the server ends one after 10 s without a statement.
HELD_SECONDS = 10
LONGEST_STATEMENT = 200
NAMED_BATCHES = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """A session whose transaction was left open. `name`: the same as long as it is the same transaction."""

    name: str
    sentence: str


def holders(connection: Connection, held_seconds: float = HELD_SECONDS) -> list[Holder]:
    """Find the sessions that have had rows locked for so long which steps need.

    What other users' sessions do, and since when, Postgres shows only to roles with pg_read_all_stats; to others such a
    session is shown as soon as it holds a lock.
    """
    found = rows(
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
        Holder(f"{row.pid}:{min(row.xids or ['0'])}", _sentence(row, _locked(connection, row.xids or [])))
        for row in found
    ]


def sentences(connection: Connection) -> list[str]:
    """Say for operators who keeps which batches from being called."""
    return [holder.sentence for holder in holders(connection)]


def _locked(connection: Connection, xids: Sequence[str]) -> list[str]:
    """Name the batches whose rows were locked or written by these transactions, as the rows themselves say."""
    found = rows(
        connection,
        f"""
        SELECT b.name FROM batches b JOIN batch_progress p ON p.batch_id = b.id
        WHERE CAST(b.xmax AS text) = ANY(:xids) OR CAST(p.xmax AS text) = ANY(:xids)
        ORDER BY b.name, b.id LIMIT {NAMED_BATCHES + 1}
        """,
        xids=list(xids),
    )
    return [row.name for row in found]


def _sentence(row: Row[Any], batches: Sequence[str]) -> str:
    who = f"session {row.pid} ({row.application_name or 'unnamed'}, user {row.usename})"
    since = f", open since {row.xact_start:%Y-%m-%d %H:%M:%S} UTC" if row.xact_start else ""
    statement = f" Its last statement: {' '.join(row.query.split())}." if row.query and row.xact_start else ""
    return (
        f"{_what(row.tables, batches)} locked by a transaction of {who}{since}: what it has locked is neither called "
        f"nor settled until it ends.{statement} End it there, or with SELECT pg_terminate_backend({row.pid})."
    )


def _what(tables: Sequence[str], batches: Sequence[str]) -> str:
    if not batches:
        return f"Rows of {', '.join(tables)} are"
    named = ", ".join(batches[:NAMED_BATCHES]) + (", …" if len(batches) > NAMED_BATCHES else "")
    return f"Batch {named} is" if len(batches) == 1 else f"Batches {named} are"
