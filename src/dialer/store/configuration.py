"""Workspaces, trunks, agents and outbound numbers: get or create by name, and look-ups for services."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DataError

from dialer.domain.ids import AgentId, BatchId, NumberId, TrunkId, WorkspaceId
from dialer.store.database import rows, run
from dialer.store.numbers import config_of


def ensure_workspace(connection: Connection, new_id: WorkspaceId, name: str) -> WorkspaceId:
    """Return the workspace of this name, created now if there is none."""
    run(
        connection, "INSERT INTO workspaces (id, name) VALUES (:id, :name) ON CONFLICT DO NOTHING", id=new_id, name=name
    )
    (row,) = rows(connection, "SELECT id FROM workspaces WHERE name = :name", name=name)
    return WorkspaceId(row.id)


def ensure_trunk(
    connection: Connection,
    new_id: TrunkId,
    workspace_id: WorkspaceId,
    name: str,
    provider: str,
    config: Mapping[str, Any],
) -> TrunkId:
    """Return the trunk of this name, with these settings merged into its config; created if there is none."""
    (row,) = rows(
        connection,
        """
        INSERT INTO trunks (id, workspace_id, name, provider, config)
        VALUES (:id, :workspace, :name, :provider, CAST(:config AS jsonb))
        ON CONFLICT (workspace_id, name) DO UPDATE
        SET provider = excluded.provider, config = trunks.config || excluded.config
        RETURNING id
        """,
        id=new_id,
        workspace=workspace_id,
        name=name,
        provider=provider,
        config=json.dumps(config),
    )
    return TrunkId(row.id)


def ensure_agent(
    connection: Connection, new_id: AgentId, workspace_id: WorkspaceId, name: str, connections: Mapping[str, Any]
) -> AgentId:
    """Return the agent of this name, created now if there is none. `connections`: provider -> where its calls go."""
    run(
        connection,
        """
        INSERT INTO agents (id, workspace_id, name, connection)
        VALUES (:id, :workspace, :name, CAST(:connection AS jsonb)) ON CONFLICT DO NOTHING
        """,
        id=new_id,
        workspace=workspace_id,
        name=name,
        connection=json.dumps(connections),
    )
    (row,) = rows(
        connection,
        "SELECT id FROM agents WHERE workspace_id = :workspace AND name = :name",
        workspace=workspace_id,
        name=name,
    )
    return AgentId(row.id)


def ensure_number(
    connection: Connection,
    new_id: NumberId,
    workspace_id: WorkspaceId,
    phone_number: str,
    trunk_id: TrunkId,
    agent_id: AgentId | None,
) -> NumberId:
    """Return the outbound number, created now if the workspace does not have it."""
    run(
        connection,
        """
        INSERT INTO phone_numbers (id, workspace_id, phone_number, trunk_id, agent_id)
        VALUES (:id, :workspace, :number, :trunk, :agent) ON CONFLICT DO NOTHING
        """,
        id=new_id,
        workspace=workspace_id,
        number=phone_number,
        trunk=trunk_id,
        agent=agent_id,
    )
    (row,) = rows(
        connection,
        "SELECT id FROM phone_numbers WHERE workspace_id = :workspace AND phone_number = :number",
        workspace=workspace_id,
        number=phone_number,
    )
    return NumberId(row.id)


def find_agent(connection: Connection, workspace_id: WorkspaceId, id_or_name: str) -> Row[Any] | None:
    """Read the agent with this id or name: id, name, status, connection."""
    agents = rows(
        connection,
        """
        SELECT id, name, status, connection FROM agents
        WHERE workspace_id = :workspace AND (CAST(id AS text) = :wanted OR name = :wanted)
        """,
        workspace=workspace_id,
        wanted=id_or_name,
    )
    return agents[0] if agents else None


def agent_names(connection: Connection, workspace_id: WorkspaceId) -> list[str]:
    """List the names of a workspace's agents."""
    agents = rows(connection, "SELECT name FROM agents WHERE workspace_id = :id ORDER BY name", id=workspace_id)
    return [row.name for row in agents]


def outbound(
    connection: Connection, workspace_id: WorkspaceId, number_ids: Sequence[UUID], agent_id: AgentId
) -> Sequence[Row[Any]]:
    """Read the numbers that a batch would use: the given ones, else all of its agent's; with their trunks."""
    return rows(
        connection,
        f"""
        SELECT n.id, n.phone_number, n.status, n.trunk_id, t.provider, {config_of("t")} AS config,
               t.name AS trunk_name, t.status AS trunk_status
        FROM phone_numbers n JOIN trunks t ON t.id = n.trunk_id
        WHERE n.workspace_id = :workspace
          AND CASE WHEN cardinality(CAST(:ids AS uuid[])) > 0 THEN n.id = ANY(:ids) ELSE n.agent_id = :agent END
        """,
        workspace=workspace_id,
        ids=list(number_ids),
        agent=agent_id,
    )


def knows_zone(connection: Connection, timezone: str) -> bool:
    """Return whether Postgres knows this time zone: the audit computes windows with the zone data of Postgres.

    Found out by using the zone, because `pg_timezone_names` reads the files of all zones, which takes 30 ms.
    """
    try:
        with connection.begin_nested():
            rows(connection, "SELECT CAST('2000-01-01' AS timestamptz) AT TIME ZONE CAST(:name AS text)", name=timezone)
    except DataError:
        return False
    return True


def workspace_of(connection: Connection, batch_id: BatchId) -> WorkspaceId | None:
    """Return the workspace of a batch; None: there is no such batch."""
    batches = rows(connection, "SELECT workspace_id FROM batches WHERE id = :id", id=batch_id)
    return WorkspaceId(batches[0].workspace_id) if batches else None


def find_workspace(connection: Connection, name: str) -> WorkspaceId | None:
    """Return the workspace of this name; None: there is none."""
    workspaces = rows(connection, "SELECT id FROM workspaces WHERE name = :name", name=name)
    return WorkspaceId(workspaces[0].id) if workspaces else None
