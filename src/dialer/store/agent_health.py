"""The circuit breakers of agents in SQL: a row for each agent whose destination is missing on a trunk.

A change of the agent or the trunk removes the row. What is counted is in engine/agent_breaker.py.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.breaker import DROPS_IN_A_ROW
from dialer.domain.ids import AgentId, AttemptId, TrunkId
from dialer.store.database import rows, run

OnTrunk = tuple[AgentId, TrunkId]
DROPPED = "answered_calls_dropped"


def providers(connection: Connection, trunk_ids: Collection[TrunkId]) -> dict[TrunkId, str]:
    """Read the providers of these trunks."""
    records = rows(connection, "SELECT id, provider FROM trunks WHERE id = ANY(:ids)", ids=list(trunk_ids))
    return {row.id: row.provider for row in records}


def talked(connection: Connection, agents: Collection[OnTrunk]) -> None:
    """Remove the drops of agents whose answered calls go on. Agents that are held stay held."""
    run(
        connection,
        """
        DELETE FROM agent_health WHERE (agent_id, trunk_id) IN (
            SELECT agent_id, trunk_id FROM agent_health
            JOIN unnest(CAST(:agents AS uuid[]), CAST(:trunks AS uuid[])) AS u (agent, trunk)
              ON (agent_id, trunk_id) = (u.agent, u.trunk)
            WHERE held_at IS NULL ORDER BY agent_id, trunk_id FOR UPDATE OF agent_health)
        """,
        agents=[agent_id for agent_id, _ in agents],
        trunks=[trunk_id for _, trunk_id in agents],
    )


def dropped(connection: Connection, drops: Mapping[OnTrunk, int], now: DateTime) -> list[OnTrunk]:
    """Add answered calls in a row that were dropped at once; return the agents that are held from now on."""
    records = rows(
        connection,
        f"""
        INSERT INTO agent_health AS h (agent_id, trunk_id, drops, held_at, reason)
        SELECT agent, trunk, n, CASE WHEN n >= {DROPS_IN_A_ROW} THEN CAST(:now AS timestamptz) END,
               CASE WHEN n >= {DROPS_IN_A_ROW} THEN '{DROPPED}' END
        FROM unnest(CAST(:agents AS uuid[]), CAST(:trunks AS uuid[]), CAST(:drops AS integer[])) AS u (agent, trunk, n)
        ORDER BY agent, trunk
        ON CONFLICT (agent_id, trunk_id) DO UPDATE
        SET drops = h.drops + excluded.drops,
            held_at = CASE WHEN h.drops + excluded.drops >= {DROPS_IN_A_ROW} THEN CAST(:now AS timestamptz) END,
            reason = CASE WHEN h.drops + excluded.drops >= {DROPS_IN_A_ROW} THEN '{DROPPED}' END
        WHERE h.held_at IS NULL
        RETURNING agent_id, trunk_id, held_at
        """,
        agents=[agent_id for agent_id, _ in drops],
        trunks=[trunk_id for _, trunk_id in drops],
        drops=list(drops.values()),
        now=now,
    )
    return [(row.agent_id, row.trunk_id) for row in records if row.held_at]


def refused(connection: Connection, attempt_ids: Sequence[AttemptId], reason: str, probe_at: DateTime) -> int:
    """Hold the agents of these attempts on their trunks, where their destination is missing, until `probe_at`."""
    return run(
        connection,
        """
        INSERT INTO agent_health AS h (agent_id, trunk_id, held_at, reason, probe_at)
        SELECT DISTINCT b.agent_id, a.trunk_id, dialer_now(), CAST(:reason AS text), CAST(:probe_at AS timestamptz)
        FROM attempts a JOIN batches b ON b.id = a.batch_id WHERE a.id = ANY(:ids) ORDER BY 1, 2
        ON CONFLICT (agent_id, trunk_id) DO UPDATE
        SET held_at = coalesce(h.held_at, excluded.held_at), reason = excluded.reason, probe_at = excluded.probe_at
        WHERE h.held_at IS NULL OR h.probe_at IS NOT NULL
        """,
        ids=list(attempt_ids),
        reason=reason,
        probe_at=probe_at,
    )


def worked(connection: Connection, attempt_ids: Sequence[AttemptId]) -> int:
    """Release the agents of these attempts that were held until a call probes their destination."""
    return run(
        connection,
        """
        DELETE FROM agent_health h USING attempts a JOIN batches b ON b.id = a.batch_id
        WHERE a.id = ANY(:ids) AND (h.agent_id, h.trunk_id) = (b.agent_id, a.trunk_id) AND h.probe_at IS NOT NULL
        """,
        ids=list(attempt_ids),
    )


def lock_due(connection: Connection, agents: Collection[OnTrunk]) -> set[OnTrunk]:
    """Lock the holds of these agents whose probe is due. SKIP LOCKED: another session is sending the probe."""
    records = rows(
        connection,
        """
        SELECT agent_id, trunk_id FROM agent_health
        JOIN unnest(CAST(:agents AS uuid[]), CAST(:trunks AS uuid[])) AS u (agent, trunk)
          ON (agent_id, trunk_id) = (u.agent, u.trunk)
        WHERE probe_at <= dialer_now() ORDER BY agent_id, trunk_id FOR UPDATE OF agent_health SKIP LOCKED
        """,
        agents=[agent_id for agent_id, _ in agents],
        trunks=[trunk_id for _, trunk_id in agents],
    )
    return {(row.agent_id, row.trunk_id) for row in records}


def put_off(connection: Connection, agents: Collection[OnTrunk], probe_at: DateTime) -> None:
    """Let no other call probe these agents before this time; their holds are locked by this transaction."""
    run(
        connection,
        """
        UPDATE agent_health SET probe_at = :probe_at
        WHERE (agent_id, trunk_id) IN (
            SELECT agent, trunk FROM unnest(CAST(:agents AS uuid[]), CAST(:trunks AS uuid[])) AS u (agent, trunk))
        """,
        agents=[agent_id for agent_id, _ in agents],
        trunks=[trunk_id for _, trunk_id in agents],
        probe_at=probe_at,
    )


def sentences(connection: Connection) -> list[str]:
    """Describe for operators which agents are held or not permitted on which trunks, and what to do."""
    records = rows(
        connection,
        """
        SELECT a.name AS agent, t.name AS trunk, h.reason, h.drops, h.probe_at
        FROM agent_health h JOIN agents a ON a.id = h.agent_id JOIN trunks t ON t.id = h.trunk_id
        WHERE h.held_at IS NOT NULL ORDER BY a.name, t.name
        """,
    )
    not_permitted = rows(
        connection,
        """
        SELECT DISTINCT a.name, CAST(a.connection AS text) AS connection
        FROM batch_progress p JOIN batches b ON b.id = p.batch_id JOIN agents a ON a.id = b.agent_id
        WHERE b.status = 'active' AND p.held_by = 'agent_not_permitted' ORDER BY a.name
        """,
    )
    return [_held(row) for row in records] + [
        f"Agent {row.name} gets no calls: its trunk does not permit its connection {row.connection}. Give the trunk's "
        "config the context of its extension, or name exactly this connection in the config's destinations"
        for row in not_permitted
    ]


def _held(row: Row[Any]) -> str:
    then = (
        f"{row.reason}; it is tried again at {row.probe_at:%Y-%m-%d %H:%M:%S} UTC"
        if row.probe_at
        else f"{row.drops} answered calls in a row were dropped at once. See that its destination exists on the "
        f"switch, then run: dialer agents update '{row.agent}' status=active"
    )
    return f"Agent {row.agent} is failing on trunk {row.trunk}, so no calls go out for it there: {then}"
