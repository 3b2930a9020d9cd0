"""Agents: where answered calls go."""

from dialer.domain.ids import AgentId, WorkspaceId
from dialer.errors import InvalidInput
from dialer.store import configuration
from dialer.store.database import Database


def find(db: Database, workspace: str, id_or_name: str) -> tuple[WorkspaceId, AgentId]:
    """Find an agent of a workspace by its id or name; InvalidInput names those that there are."""
    with db.begin() as connection:
        workspace_id = configuration.find_workspace(connection, workspace)
        agent = configuration.find_agent(connection, workspace_id, id_or_name) if workspace_id else None
        known = configuration.agent_names(connection, workspace_id) if workspace_id else []
    if workspace_id is None or agent is None:
        there_are = f"there is {', '.join(known)}" if known else "there is none yet"
        raise InvalidInput.of("agent", f"no agent is called {id_or_name}; {there_are}")
    return workspace_id, AgentId(agent.id)
