"""Which listener hears which trunk's network: one row per trunk and listener. Shows whether events may be missed."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.ids import TrunkId
from dialer.domain.timeouts import HEARD_SECONDS
from dialer.store.database import rows, run

# SQL condition on a row `l`: this listener hears the trunk now.
HEARS = f"l.linked_at IS NOT NULL AND l.heard_at > dialer_now() - interval '{HEARD_SECONDS} seconds'"


def up(connection: Connection, trunk_id: TrunkId, listener_id: UUID, *, is_anew: bool = False) -> bool:
    """Record that this listener hears the trunk now; True: it did not before, so events may have been missed.

    `is_anew`: the connection is new, so there was a break, even if it could not be recorded.
    """
    (row,) = rows(
        connection,
        """
        WITH before AS (SELECT linked_at FROM trunk_links WHERE trunk_id = :trunk AND listener_id = :listener)
        INSERT INTO trunk_links AS l (trunk_id, listener_id, linked_at, heard_at)
        VALUES (:trunk, :listener, dialer_now(), dialer_now())
        ON CONFLICT (trunk_id, listener_id) DO UPDATE
        SET linked_at = CASE WHEN :anew THEN excluded.linked_at ELSE coalesce(l.linked_at, excluded.linked_at) END,
            heard_at = excluded.heard_at, reason = NULL
        RETURNING (SELECT linked_at FROM before) IS NULL AS is_new
        """,
        trunk=trunk_id,
        listener=listener_id,
        anew=is_anew,
    )
    return is_anew or bool(row.is_new)


def down(connection: Connection, trunk_id: TrunkId, listener_id: UUID, reason: str) -> None:
    """Record that this listener does not hear the trunk, and why."""
    run(
        connection,
        """
        INSERT INTO trunk_links (trunk_id, listener_id, heard_at, reason)
        VALUES (:trunk, :listener, dialer_now(), :reason)
        ON CONFLICT (trunk_id, listener_id) DO UPDATE SET linked_at = NULL, reason = excluded.reason
        """,
        trunk=trunk_id,
        listener=listener_id,
        reason=reason,
    )


def renew(connection: Connection, trunk_ids: Sequence[TrunkId], listener_id: UUID) -> None:
    """Record that this listener is alive and still hears these trunks."""
    run(
        connection,
        """
        UPDATE trunk_links SET heard_at = dialer_now()
        WHERE listener_id = :listener AND trunk_id = ANY(:trunks) AND linked_at IS NOT NULL
        """,
        listener=listener_id,
        trunks=list(trunk_ids),
    )


def forget(connection: Connection, listener_id: UUID) -> None:
    """Delete the rows of a listener that stops, and of listeners that died a day ago."""
    run(
        connection,
        """
        DELETE FROM trunk_links
        WHERE listener_id = :listener OR heard_at < dialer_now() - interval '1 day'
        """,
        listener=listener_id,
    )


def seen(connection: Connection) -> Sequence[Row[Any]]:
    """Read for operators when each listener was last heard of, and on how many trunks it hears the network now."""
    return rows(
        connection,
        f"""
        SELECT l.listener_id, count(*) FILTER (WHERE {HEARS}) AS trunks,
               extract(epoch FROM dialer_now() - max(l.heard_at)) AS seconds_ago
        FROM trunk_links l GROUP BY 1 ORDER BY 1
        """,
    )


def sentences(connection: Connection) -> list[str]:
    """Return for operators which trunks no listener hears, and why: those a listener reports, or that hold a batch."""
    trunks = rows(
        connection,
        f"""
        SELECT t.name, max(l.reason) AS reason FROM trunks t LEFT JOIN trunk_links l ON l.trunk_id = t.id
        WHERE t.status = 'active'
        GROUP BY t.id, t.name
        HAVING NOT bool_or({HEARS}) AND max(l.heard_at) > dialer_now() - interval '1 hour'
            OR EXISTS (SELECT 1 FROM batch_progress p JOIN batches b ON b.id = p.batch_id
                       LEFT JOIN batch_numbers bn ON bn.batch_id = b.id
                       JOIN phone_numbers n
                         ON n.id = bn.phone_number_id OR (bn.batch_id IS NULL AND n.agent_id = b.agent_id)
                       WHERE b.status = 'active' AND p.held_by = 'trunk_unheard'
                         AND n.trunk_id = t.id AND n.status = 'active')
        ORDER BY t.name
        """,
    )
    return [
        f"The reports of trunk {row.name} are not heard: {row.reason or 'is a listener running?'}" for row in trunks
    ]
