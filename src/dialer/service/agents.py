"""Agents: where answered calls go."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from dialer.domain.ids import AgentId, WorkspaceId
from dialer.domain.trunk import Trunk
from dialer.domain.validation import wrong_field
from dialer.errors import FieldError, InvalidInput, StateConflict
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


def problems(is_active: bool, connection: Mapping[str, Any], trunks: Iterable[Trunk]) -> list[FieldError]:
    """Find out why calls on these trunks cannot go to an agent.

    Args:
        is_active: whether the agent is active.
        connection: its connection.
        trunks: the trunks, all of which must permit it.

    Returns:
        The fields of the agent that are at fault, with the reasons; none: it can take calls.
    """
    found = [] if is_active else [FieldError("status", "is inactive")]
    return found + [problem for trunk in trunks if (problem := _problem(connection, trunk))]


def check_ready(is_active: bool, connection: Mapping[str, Any], trunks: Iterable[Trunk]) -> None:
    """Check that calls on these trunks can go to an agent.

    Args:
        is_active: whether the agent is active.
        connection: its connection.
        trunks: the trunks, all of which must permit it.

    Raises:
        StateConflict: they cannot (`agent_not_ready`).
    """
    if errors := problems(is_active, connection, trunks):
        raise not_ready(errors)


def not_ready(errors: Sequence[FieldError]) -> StateConflict:
    """Make the error for an agent that calls cannot go to.

    Args:
        errors: the fields of the agent that are at fault, with the reasons.

    Returns:
        The error.
    """
    sentence = "; ".join(_clause(error) for error in errors)
    return StateConflict(f"The agent is not ready: {sentence}", code="agent_not_ready", errors=errors)


def _problem(connection: Mapping[str, Any], trunk: Trunk) -> FieldError | None:
    field, place = f"connection.{trunk.provider}", connection.get(trunk.provider)
    if place is None:
        return FieldError(field, f"is missing, and trunk {trunk.name} needs it")
    refusal = registry.agent_refusal(trunk, place)
    return refusal and FieldError(
        f"{field}.{refusal.field}".rstrip("."), f"is not permitted by trunk {trunk.name}: {refusal.reason}"
    )


def _clause(error: FieldError) -> str:
    return f"{error.field} {error.reason}"


def _complete(view: View) -> View:
    """Say whether calls can go to this agent.

    Without numbers of its own it is ready if any trunk for which it has a connection permits it.
    """
    trunks = [
        Trunk(trunk["id"], trunk["provider"], trunk["config"], name=trunk["name"]) for trunk in view.pop("trunks")
    ]
    is_own, connection = view.pop("trunks_are_own"), view["connection"]
    found = problems(view["status"] == "active", connection, trunks if is_own else [])
    refusals = [] if is_own else [_problem(connection, trunk) for trunk in trunks]
    if refusals and all(refusals):
        found += filter(None, refusals)
    if not trunks and not any(place is not None for place in connection.values()):
        found.append(FieldError("connection", "is empty"))
    return view | {"ready": not found, "not_ready_reasons": [_clause(error) for error in found]}


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
