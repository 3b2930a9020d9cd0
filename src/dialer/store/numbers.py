"""Outbound numbers and the trunks they belong to, as dispatch needs them."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection

from dialer.domain.ids import BatchId, NumberId, TrunkId
from dialer.domain.trunk import OutboundNumber, Trunk
from dialer.store.database import optional_moment, rows
from dialer.store.trunk_listeners import HEARS

# SQL of the version of a number n. Text, so that it is equal in Postgres, in Redis and in Python.
VERSION = "coalesce(extract(epoch FROM n.capped_at)::text, '')"


# SQL of the name of the workspace of a trunk t.
WORKSPACE = "(SELECT w.name FROM workspaces w WHERE w.id = t.workspace_id) AS workspace"


def config_of(trunk: str) -> str:
    """Return the SQL of a trunk's config. Keys that a migration has added are in a column of their own until the config
    is next written: the previous release refuses keys that it does not know.
    """
    return f"{trunk}.added_config || {trunk}.config"


def of_batches(connection: Connection, batch_ids: Sequence[BatchId]) -> dict[BatchId, list[OutboundNumber]]:
    """Read the numbers of each batch in rotation order: those it lists, or else all of its agent's, oldest first."""
    records = rows(
        connection,
        f"""
        SELECT b.id AS batch_id, n.id, n.phone_number, n.max_concurrent_calls, n.max_calls_per_day,
               n.trunk_id, t.provider, {config_of("t")} AS config, {WORKSPACE}, t.name AS trunk_name,
               t.max_concurrent_calls AS trunk_max_concurrent_calls,
               t.calls_per_second AS trunk_calls_per_second,
               n.status = 'active' AND t.status = 'active' AS is_usable, {VERSION} AS version,
               h.trunk_id IS NOT NULL AS trunk_has_failed, h.probe_at AS trunk_probe_at,
               EXISTS (SELECT 1 FROM trunk_links l WHERE l.trunk_id = t.id AND {HEARS}) AS trunk_is_heard,
               g.held_at IS NOT NULL AS agent_is_held, g.probe_at AS agent_probe_at
        FROM batches b
        LEFT JOIN batch_numbers bn ON bn.batch_id = b.id
        JOIN phone_numbers n ON n.id = bn.phone_number_id OR (bn.batch_id IS NULL AND n.agent_id = b.agent_id)
        JOIN trunks t ON t.id = n.trunk_id
        LEFT JOIN trunk_health h ON h.trunk_id = t.id
        LEFT JOIN agent_health g ON g.trunk_id = t.id AND g.agent_id = b.agent_id
        WHERE b.id = ANY(:ids) ORDER BY b.id, bn.position, n.created_at, n.phone_number
        """,
        ids=list(batch_ids),
    )
    numbers: dict[BatchId, list[OutboundNumber]] = defaultdict(list)
    for row in records:
        rate = row.trunk_calls_per_second
        numbers[row.batch_id].append(
            OutboundNumber(
                row.id,
                row.phone_number,
                row.max_concurrent_calls,
                row.max_calls_per_day,
                Trunk(row.trunk_id, row.provider, row.config, row.workspace, row.trunk_name),
                row.trunk_max_concurrent_calls,
                float(rate) if rate is not None else None,
                row.is_usable,
                row.trunk_has_failed,
                optional_moment(row.trunk_probe_at),
                row.trunk_is_heard,
                row.version,
                row.agent_is_held,
                optional_moment(row.agent_probe_at),
            )
        )
    return numbers


def reporting_trunks(connection: Connection) -> list[Trunk]:
    """Read the trunks that may report on calls: the active ones, and those with calls that are not over."""
    records = rows(
        connection,
        f"""
        SELECT id, provider, {config_of("t")} AS config, {WORKSPACE} FROM trunks t
        WHERE status = 'active' OR EXISTS (SELECT 1 FROM attempts WHERE trunk_id = t.id AND rescue_at IS NOT NULL)
        ORDER BY id
        """,
    )
    return [Trunk(row.id, row.provider, row.config, row.workspace) for row in records]


def trunk(connection: Connection, trunk_id: TrunkId) -> Trunk | None:
    """Read one trunk, whichever workspace it is of."""
    sql = f"SELECT id, provider, {config_of('t')} AS config, {WORKSPACE} FROM trunks t WHERE id = :id"
    records = rows(connection, sql, id=trunk_id)
    return Trunk(records[0].id, records[0].provider, records[0].config, records[0].workspace) if records else None


def capped(connection: Connection) -> dict[NumberId, str]:
    """Read the numbers that have a daily cap, with their versions."""
    records = rows(
        connection, f"SELECT id, {VERSION} AS version FROM phone_numbers n WHERE max_calls_per_day IS NOT NULL"
    )
    return {row.id: row.version for row in records}
