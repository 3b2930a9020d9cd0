"""Outbound numbers and the trunks they belong to, as dispatch needs them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pendulum
from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.ids import BatchId, NumberId, TrunkId
from dialer.store.database import rows
from dialer.store.trunk_listeners import HEARS

# Of a number n. Text, so that it is the same in Postgres, in Redis and here.
VERSION = "coalesce(extract(epoch FROM n.capped_at)::text, '')"


# Of a trunk t: the name of its workspace.
WORKSPACE = "(SELECT w.name FROM workspaces w WHERE w.id = t.workspace_id) AS workspace"


def config_of(trunk: str) -> str:
    """Write the SQL of a trunk's config. What a migration has added stands in a column of its own until the config is
    next written: the previous release refuses keys that it does not know.
    """
    return f"{trunk}.added_config || {trunk}.config"


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk as a provider needs it: which provider, and its settings there.

    `workspace`: the name of the one it is of, by which the machine's owner allows variables and networks; "": none.
    """

    id: TrunkId
    provider: str
    config: Mapping[str, Any]
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class OutboundNumber:
    """An outbound number with its own limits and its trunk's. `is_usable`: it and its trunk are active.

    `version`: since when its calls are counted toward its daily cap; "": it has none.

    `trunk_has_failed`: the trunk's last placement did. `trunk_probe_at`: its breaker is open, until it is probed then.
    `trunk_is_heard`: a listener hears the trunk's network. `agent_is_held`: the batch's agent has failed on the trunk,
    until `agent_probe_at`, or where that is None until an operator changes something.
    """

    id: NumberId
    phone_number: str
    max_concurrent_calls: int | None
    max_calls_per_day: int | None
    trunk: Trunk
    trunk_max_concurrent_calls: int | None
    trunk_calls_per_second: float | None
    is_usable: bool
    trunk_has_failed: bool = False
    trunk_probe_at: DateTime | None = None
    trunk_is_heard: bool = True
    version: str = ""
    agent_is_held: bool = False
    agent_probe_at: DateTime | None = None


def of_batches(connection: Connection, batch_ids: Sequence[BatchId]) -> dict[BatchId, list[OutboundNumber]]:
    """Read the numbers of each batch in rotation order: those it lists, or else all of its agent's, oldest first."""
    found = rows(
        connection,
        f"""
        SELECT b.id AS batch_id, n.id, n.phone_number, n.max_concurrent_calls, n.max_calls_per_day,
               n.trunk_id, t.provider, {config_of("t")} AS config, {WORKSPACE},
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
    for row in found:
        rate = row.trunk_calls_per_second
        numbers[row.batch_id].append(
            OutboundNumber(
                row.id,
                row.phone_number,
                row.max_concurrent_calls,
                row.max_calls_per_day,
                Trunk(row.trunk_id, row.provider, row.config, row.workspace),
                row.trunk_max_concurrent_calls,
                float(rate) if rate is not None else None,
                row.is_usable,
                row.trunk_has_failed,
                pendulum.instance(row.trunk_probe_at) if row.trunk_probe_at else None,
                row.trunk_is_heard,
                row.version,
                row.agent_is_held,
                pendulum.instance(row.agent_probe_at) if row.agent_probe_at else None,
            )
        )
    return numbers


def reporting_trunks(connection: Connection) -> list[Trunk]:
    """Read the trunks that may have something to report: the active ones, and those with calls that are not over."""
    found = rows(
        connection,
        f"""
        SELECT id, provider, {config_of("t")} AS config, {WORKSPACE} FROM trunks t
        WHERE status = 'active' OR EXISTS (SELECT 1 FROM attempts WHERE trunk_id = t.id AND rescue_at IS NOT NULL)
        ORDER BY id
        """,
    )
    return [Trunk(row.id, row.provider, row.config, row.workspace) for row in found]


def trunk(connection: Connection, trunk_id: TrunkId) -> Trunk | None:
    """Read one trunk, whichever workspace it is of."""
    one = f"SELECT id, provider, {config_of('t')} AS config, {WORKSPACE} FROM trunks t WHERE id = :id"
    found = rows(connection, one, id=trunk_id)
    return Trunk(found[0].id, found[0].provider, found[0].config, found[0].workspace) if found else None


def capped(connection: Connection) -> dict[NumberId, str]:
    """Read the numbers that have a daily cap, with their versions."""
    found = rows(
        connection, f"SELECT id, {VERSION} AS version FROM phone_numbers n WHERE max_calls_per_day IS NOT NULL"
    )
    return {row.id: row.version for row in found}
