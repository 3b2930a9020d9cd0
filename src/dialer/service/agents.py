"""Agents: where answered calls go."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from dialer.domain.ids import AgentId, WorkspaceId
from dialer.domain.validation import wrong_field
from dialer.errors import InvalidInput
from dialer.providers import registry
from dialer.service.fields import Changes, InputModel, Metadata, Name, Status
from dialer.service.resources import ResourceType, View
from dialer.store import configuration
from dialer.store.database import Database
from dialer.store.resources import AGENTS


def _schemas() -> dict[str, Any]:
    """Return the field of each installed provider whose plug-in has a schema of an agent's connection."""
    schemas = {name: registry.connection_schema(name) for name in registry.names()}
    return {name: (schema | None, None) for name, schema in schemas.items() if schema is not None}


def _installed(name: str) -> str:
    if name not in registry.names():
        raise wrong_field(f"is no provider that is installed: {', '.join(registry.names())}")
    return name


_Installed = Annotated[str, AfterValidator(_installed)]


def _names(schema: dict[str, Any]) -> None:
    """Say in the JSON schema which names are taken: a pattern cannot."""
    of_others = schema.pop("additionalProperties")
    schema["properties"] = dict.fromkeys(registry.names(), of_others) | schema["properties"]
    schema["additionalProperties"] = False


class _AnyConnections(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_names)
    __pydantic_extra__: dict[_Installed, Metadata | None] = Field(init=False)


class Connections(create_model("_Schemas", __base__=_AnyConnections, **_schemas())):  # type: ignore[misc]  # from plug-ins
    """Provider -> where its answered calls go. Of a provider that another package brings, that package knows what."""


class NewAgent(InputModel):
    """An agent to be created."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Receptionist", "connection": {"simulator": {}}}})

    name: Name
    status: Status = "active"
    connection: Connections = Connections()


class ChangedAgent(Changes):
    """The fields of an agent to be changed."""

    name: Name = ""
    status: Status = "active"
    connection: Connections = Connections()


def _complete(view: View) -> View:
    reasons = _reasons(view["status"], view["connection"], view["trunks"])
    return view | {"ready": not reasons, "not_ready_reasons": reasons}


def _reasons(
    status: Literal["active", "inactive"], connection: dict[str, Any], trunks: list[dict[str, Any]]
) -> list[str]:
    """Say why calls cannot go to this agent."""
    reasons = [] if status == "active" else ["it is inactive"]
    if not any(place is not None for place in connection.values()):
        reasons.append("it has no connection")
    missing = sorted({trunk["provider"] for trunk in trunks if connection.get(trunk["provider"]) is None})
    reasons += [f"it has no connection for {provider}, which its numbers use" for provider in missing]
    return reasons + [
        f"trunk {trunk['name']} does not permit its connection: name it in the context or the destinations of the trunk"
        for trunk in trunks
        if (place := connection.get(trunk["provider"])) is not None
        and not registry.permits_agent(trunk["provider"], trunk["config"], place)
    ]


AGENT_TYPE = ResourceType(AGENTS, NewAgent, ChangedAgent, {}, complete=_complete)


def find(db: Database, workspace: str, id_or_name: str) -> tuple[WorkspaceId, AgentId]:
    """Find an agent by its id or name.

    Args:
        db: the database.
        workspace: the name of the workspace.
        id_or_name: the id or the name of the agent.

    Returns:
        The ids of the workspace and of the agent.

    Raises:
        InvalidInput: there is no such agent; the message lists those that there are.
    """
    with db.begin() as connection:
        workspace_id = configuration.find_workspace(connection, workspace)
        agent = configuration.find_agent(connection, workspace_id, id_or_name) if workspace_id else None
        known = configuration.agent_names(connection, workspace_id) if workspace_id else []
    if workspace_id is None or agent is None:
        there_are = f"there is {', '.join(known)}" if known else "there is none yet"
        raise InvalidInput.of("agent", f"no agent is called {id_or_name}; {there_are}")
    return workspace_id, AgentId(agent.id)
