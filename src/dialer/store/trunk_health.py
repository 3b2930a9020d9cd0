"""The circuit breakers of trunks in SQL: a row where the last placement failed. An operator's change removes it."""

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.breaker import next_pause
from dialer.domain.ids import TrunkId
from dialer.store.database import rows, run


def failed(connection: Connection, trunk_id: TrunkId, failures: int, reason: str, now: DateTime) -> float | None:
    """Add placements that failed in a row; return for how many seconds the trunk is left alone now, if it is."""
    (row,) = rows(
        connection,
        """
        INSERT INTO trunk_health AS h (trunk_id, failures, reason) VALUES (:trunk, :failures, :reason)
        ON CONFLICT (trunk_id) DO UPDATE SET failures = h.failures + excluded.failures, reason = excluded.reason
        RETURNING failures, pause_seconds, coalesce(probe_at <= :now, false) AS is_probe
        """,
        trunk=trunk_id,
        failures=failures,
        reason=reason,
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
    """Forget the failures of a trunk; True: it had been left alone."""
    found = rows(connection, "DELETE FROM trunk_health WHERE trunk_id = :trunk RETURNING opened_at", trunk=trunk_id)
    return any(row.opened_at is not None for row in found)


def sentences(connection: Connection) -> list[str]:
    """Say for operators which trunks are left alone, and why."""
    found = rows(
        connection,
        """
        SELECT t.name, h.failures, h.reason, h.probe_at FROM trunk_health h JOIN trunks t ON t.id = h.trunk_id
        WHERE h.opened_at IS NOT NULL ORDER BY t.name
        """,
    )
    return [
        f"Trunk {row.name} is failing, so no calls go out on it: {row.failures} placements in a row, the last because "
        f"of {row.reason}; it is tried again at {row.probe_at:%Y-%m-%d %H:%M:%S} UTC."
        for row in found
    ]
