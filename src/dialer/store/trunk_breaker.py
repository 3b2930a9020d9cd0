"""The circuit breakers of trunks in SQL: a row where the last placement or call failed. An operator's change ends it.

A placement that its network takes removes the row of one that only failed to place. Where calls have failed on the
network without ringing (`of_calls`), only a call that rings, or ends for a reason of the person's, does.
"""

from collections.abc import Collection

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.breaker import next_pause
from dialer.domain.ids import TrunkId
from dialer.store.database import rows, run


def failed(
    connection: Connection, trunk_id: TrunkId, failures: int, reason: str, now: DateTime, *, of_calls: bool = False
) -> float | None:
    """Add placements or calls that failed in a row; return for how many seconds the trunk is left alone now, if it is.

    `of_calls`: the network took these, and they failed before they rang.
    """
    (row,) = rows(
        connection,
        """
        INSERT INTO trunk_health AS h (trunk_id, failures, reason, of_calls)
        VALUES (:trunk, :failures, :reason, :of_calls)
        ON CONFLICT (trunk_id) DO UPDATE SET failures = h.failures + excluded.failures, reason = excluded.reason,
                                             of_calls = h.of_calls OR excluded.of_calls
        RETURNING failures, pause_seconds, coalesce(probe_at <= :now, false) AS is_probe
        """,
        trunk=trunk_id,
        failures=failures,
        reason=reason,
        of_calls=of_calls,
        now=now,
    )
    pause = next_pause(row.failures, row.pause_seconds, is_probe=row.is_probe)
    if pause is not None:
        run(
            connection,
            """
            UPDATE trunk_health SET opened_at = coalesce(opened_at, :now), probe_at = :probe_at, pause_seconds = :pause
            WHERE trunk_id = :trunk
            """,
            trunk=trunk_id,
            now=now,
            probe_at=now.add(seconds=pause),
            pause=pause,
        )
    return pause


def worked(connection: Connection, trunk_id: TrunkId) -> bool:
    """Forget the failures of a trunk that takes placements, unless its calls fail; True: it had been left alone."""
    found = rows(
        connection,
        "DELETE FROM trunk_health WHERE trunk_id = :trunk AND NOT of_calls RETURNING opened_at",
        trunk=trunk_id,
    )
    return any(row.opened_at is not None for row in found)


def calls_work(connection: Connection, trunk_ids: Collection[TrunkId]) -> list[TrunkId]:
    """Forget the failures of trunks whose calls reach people; return those that had been left alone."""
    found = rows(
        connection,
        """
        WITH locked AS (SELECT trunk_id FROM trunk_health WHERE trunk_id = ANY(:trunks) ORDER BY trunk_id FOR UPDATE)
        DELETE FROM trunk_health h USING locked l WHERE h.trunk_id = l.trunk_id RETURNING h.trunk_id, h.opened_at
        """,
        trunks=list(trunk_ids),
    )
    return [row.trunk_id for row in found if row.opened_at is not None]


def sentences(connection: Connection) -> list[str]:
    """Say for operators which trunks are left alone, and why."""
    found = rows(
        connection,
        """
        SELECT t.name, h.failures, h.reason, h.probe_at, h.of_calls
        FROM trunk_health h JOIN trunks t ON t.id = h.trunk_id
        WHERE h.opened_at IS NOT NULL ORDER BY t.name
        """,
    )
    return [
        f"Trunk {row.name} is failing, so no calls go out on it: {row.failures} {_failures(row.of_calls)} in a row, "
        f"the last because of {row.reason}; it is tried again at {row.probe_at:%Y-%m-%d %H:%M:%S} UTC."
        for row in found
    ]


def _failures(of_calls: bool) -> str:
    return "placements or calls that never rang" if of_calls else "placements"
