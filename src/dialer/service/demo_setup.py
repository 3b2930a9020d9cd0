"""The demo setup: a workspace with a simulated trunk, three outbound numbers and the agent `demo`."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from pendulum import DateTime

from dialer.domain.allow_list import DEFAULT_WORKSPACE
from dialer.domain.ids import AgentId, NumberId, TrunkId, WorkspaceId, uuid7
from dialer.store import configuration
from dialer.store.database import Database

WORKSPACE = DEFAULT_WORKSPACE
TRUNK = "simulator"
AGENT = "demo"
NUMBERS = ("+12025550191", "+12025550192", "+12025550193")


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """The ids of what was set up."""

    workspace_id: WorkspaceId
    trunk_id: TrunkId
    agent_id: AgentId
    number_ids: tuple[NumberId, ...]


def install(db: Database, config: Mapping[str, Any], now: DateTime, rng: Random) -> DemoSetup:
    """Create what is missing. Calling this twice is safe.

    Args:
        db: the database.
        config: settings of the simulated trunk, on top of those it has.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        The ids of the demo setup.
    """
    with db.begin() as connection:
        workspace_id = configuration.ensure_workspace(connection, WorkspaceId(uuid7(now, rng)), WORKSPACE)
        trunk_id = configuration.ensure_trunk(
            connection, TrunkId(uuid7(now, rng)), workspace_id, TRUNK, "simulator", config
        )
        agent_id = configuration.ensure_agent(
            connection, AgentId(uuid7(now, rng)), workspace_id, AGENT, {"simulator": {}}
        )
        number_ids = tuple(
            configuration.ensure_number(connection, NumberId(uuid7(now, rng)), workspace_id, number, trunk_id, agent_id)
            for number in NUMBERS
        )
    return DemoSetup(workspace_id, trunk_id, agent_id, number_ids)
