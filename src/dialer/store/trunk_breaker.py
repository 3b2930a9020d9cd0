"""The circuit breakers of trunks in SQL: a row for each trunk whose last placement or call failed.

A placement that succeeds removes the row of a trunk that failed to place. Where calls have failed on the network
without ringing (`of_calls`), only a call that rings, or ends for a reason of the person's, removes it; where calls were
answered without an agent (`of_agents`), only one that had an agent. An operator's change of the trunk removes it too.
When the breaker opens is decided in engine/trunk_breaker.py.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import TrunkId
from dialer.store.database import rows, run


@dataclass(frozen=True, slots=True)
class TrunkFailures:
    """A trunk's failures in a row. `pause_seconds`: its last pause; 0: none. `is_probe`: that pause is over."""

    in_a_row: int
    pause_seconds: float
    is_probe: bool


def add_failures(
    connection: Connection,
    trunk_id: TrunkId,
    failures: int,
    reason: str,
    now: DateTime,
    *,
    of_calls: bool,
    of_agents: bool = False,
) -> TrunkFailures:
    """Add placements or calls that failed in a row.

    `of_calls`: the network took them. `of_agents`: some were answered, and no agent joined.
    """
    (row,) = rows(
        connection,
        """
        INSERT INTO trunk_health AS h (trunk_id, failures, reason, of_calls, of_agents)
        VALUES (:trunk, :failures, :reason, :of_calls, :of_agents)
        ON CONFLICT (trunk_id) DO UPDATE SET failures = h.failures + excluded.failures, reason = excluded.reason,
                                             of_calls = h.of_calls OR excluded.of_calls,
                                             of_agents = h.of_agents OR excluded.of_agents
        RETURNING failures, pause_seconds, coalesce(probe_at <= :now, false) AS is_probe
        """,
        trunk=trunk_id,
        failures=failures,
        reason=reason,
        of_calls=of_calls,
        of_agents=of_agents,
        now=now,
    )
    return TrunkFailures(row.failures, row.pause_seconds, row.is_probe)


def open_breaker(connection: Connection, trunk_id: TrunkId, now: DateTime, pause_seconds: float) -> None:
    """Let no call leave on the trunk for so long; then one probes it."""
    run(
        connection,
        """
        UPDATE trunk_health SET opened_at = coalesce(opened_at, :now), probe_at = :probe_at, pause_seconds = :pause
        WHERE trunk_id = :trunk
        """,
        trunk=trunk_id,
        now=now,
        probe_at=now.add(seconds=pause_seconds),
        pause=pause_seconds,
    )


def worked(connection: Connection, trunk_id: TrunkId) -> bool:
    """Remove the failures of a trunk that takes placements, unless its calls fail; True: its breaker was open."""
    records = rows(
        connection,
        "DELETE FROM trunk_health WHERE trunk_id = :trunk AND NOT of_calls RETURNING opened_at",
        trunk=trunk_id,
    )
    return any(row.opened_at is not None for row in records)


def calls_work(
    connection: Connection, trunk_ids: Collection[TrunkId], with_agents: Collection[TrunkId]
) -> list[TrunkId]:
    """Remove the failures of trunks whose calls reach people; return those whose breaker was open.

    `with_agents`: the trunks of which some call had an agent.
    """
    records = rows(
        connection,
        """
        WITH locked AS (
            SELECT trunk_id FROM trunk_health
            WHERE trunk_id = ANY(:trunks) AND (NOT of_agents OR trunk_id = ANY(:with_agents))
            ORDER BY trunk_id FOR UPDATE)
        DELETE FROM trunk_health h USING locked l WHERE h.trunk_id = l.trunk_id RETURNING h.trunk_id, h.opened_at
        """,
        trunks=list(trunk_ids),
        with_agents=list(with_agents),
    )
    return [row.trunk_id for row in records if row.opened_at is not None]


def sentences(connection: Connection) -> list[str]:
    """Describe for operators which breakers are open, and why."""
    records = rows(
        connection,
        """
        SELECT t.name, h.failures, h.reason, h.probe_at, h.of_calls, h.of_agents
        FROM trunk_health h JOIN trunks t ON t.id = h.trunk_id
        WHERE h.opened_at IS NOT NULL ORDER BY t.name
        """,
    )
    return [
        f"Trunk {row.name} is failing, so no calls go out on it: {row.failures} {_failures(row)} in a row, "
        f"the last because of {row.reason}; it is tried again at {row.probe_at:%Y-%m-%d %H:%M:%S} UTC"
        for row in records
    ]


def _failures(row: Row[Any]) -> str:
    if row.of_agents:
        return "failures, of which some are calls that were answered without an agent,"
    return "placements or calls that never rang" if row.of_calls else "placements"
