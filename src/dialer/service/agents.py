"""Agents: where answered calls go."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from dialer.domain.ids import AgentId, WorkspaceId
from dialer.errors import InvalidInput
from dialer.providers import registry
from dialer.service.fields import Changes, Fields, Flag, Metadata, Name, Status, Storable, refusal
from dialer.service.resources import Kind, View
from dialer.store import configuration
from dialer.store.database import Database
from dialer.store.resources import AGENTS

Place = Field(min_length=1, max_length=255)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Twilio(_Closed):
    """Either `url`, which Twilio asks what to do with an answered call, or `twiml`, which says it."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["url"], "properties": {"url": {"type": "string"}, "twiml": {"type": "null"}}},
                {"required": ["twiml"], "properties": {"twiml": {"type": "string"}, "url": {"type": "null"}}},
            ]
        }
    )

    twiml: Storable | None = Field(default=None, min_length=1, max_length=4000)
    url: str | None = Field(default=None, min_length=1, max_length=2000, pattern="^https?://", validate_default=True)
    machine_detection: Flag = False

    @field_validator("url")
    @classmethod
    def _one_of_both(cls, url: str | None, info: ValidationInfo) -> str | None:
        """What was wrong with `twiml` is said there, and it is absent here."""
        if "twiml" in info.data and (url is None) == (info.data["twiml"] is None):
            raise refusal("is needed, or twiml in its place" if url is None else "must not be given with twiml")
        return url


class Plain(_Closed):
    """An extension in the context that the trunk names."""

    extension: str = Field(min_length=1, max_length=79, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")


class Extension(_Closed):
    """One of the trunk's `destinations`, and so are the next two."""

    context: str = Place
    exten: str = Place
    priority: int = Field(default=1, ge=1)


class Stasis(_Closed):
    app: str = Place


class FreeSwitch(_Closed):
    application: str = Field(min_length=1, max_length=100, pattern="^[A-Za-z0-9_]+$")
    # What could not be written into an originate so that nothing else is read there.
    data: str = Field(default="", max_length=2000, pattern=r"^[^\x00-\x1f\x7f)'\\]*$")


class Platform(_Closed):
    """`agent`: which of the platform's own agents takes the call, where it has several."""

    agent: Name | None = None


class Nothing(_Closed):
    """All that is needed is in the trunk."""


def _installed(name: str) -> str:
    if name not in registry.names():
        raise refusal(f"is no provider that is installed: {', '.join(registry.names())}")
    return name


_Installed = Annotated[str, AfterValidator(_installed)]


def _names(schema: dict[str, Any]) -> None:
    """Say in the JSON schema which names are taken: a pattern cannot."""
    of_others = schema.pop("additionalProperties")
    schema["properties"] = dict.fromkeys(registry.names(), of_others) | schema["properties"]
    schema["additionalProperties"] = False


class Connections(BaseModel):
    """Provider -> where its answered calls go. Of a provider that another package brings, that package knows what."""

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_names)
    __pydantic_extra__: dict[_Installed, Metadata | None] = Field(init=False)

    twilio: Twilio | None = None
    asterisk: Plain | Extension | Stasis | None = None
    freeswitch: Plain | FreeSwitch | None = None
    http: Platform | None = None
    simulator: Nothing | None = None


class NewAgent(Fields):
    model_config = ConfigDict(json_schema_extra={"example": {"name": "Receptionist", "connection": {"simulator": {}}}})

    name: Name
    status: Status = "active"
    connection: Connections = Connections()


class ChangedAgent(Changes):
    name: Name = ""
    status: Status = "active"
    connection: Connections = Connections()


def _seen(view: View) -> View:
    reasons = _reasons(view["status"], view["connection"], view["trunks"])
    return view | {"ready": not reasons, "not_ready_reasons": reasons}


def _reasons(
    status: Literal["active", "inactive"], connection: dict[str, Any], trunks: list[dict[str, Any]]
) -> list[str]:
    """Say why calls cannot go to this agent."""
    found = [] if status == "active" else ["it is inactive"]
    if not any(place is not None for place in connection.values()):
        found.append("it has no connection")
    missing = sorted({trunk["provider"] for trunk in trunks if connection.get(trunk["provider"]) is None})
    found += [f"it has no connection for {provider}, which its numbers use" for provider in missing]
    return found + [
        f"trunk {trunk['name']} does not permit its connection: name it in the context or the destinations of the trunk"
        for trunk in trunks
        if (place := connection.get(trunk["provider"])) is not None
        and not registry.permits_agent(trunk["provider"], trunk["config"], place)
    ]


KIND = Kind(AGENTS, NewAgent, ChangedAgent, {}, seen=_seen)


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
