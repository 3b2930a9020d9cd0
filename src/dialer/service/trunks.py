"""Trunks: connections to telephone networks. Secrets stay in the environment; a config contains only their names."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from dialer.domain.ids import TrunkId, WorkspaceId
from dialer.domain.trunk import Trunk
from dialer.domain.validation import wrong_field
from dialer.engine.context import EngineContext
from dialer.errors import FieldError, InvalidInput, NotFound
from dialer.providers import registry
from dialer.service import resources
from dialer.service.fields import Changes, InputModel, Limit, Metadata, Name, Status
from dialer.service.resources import ResourceType, View
from dialer.store import numbers
from dialer.store.database import Database
from dialer.store.resources import TRUNKS

_SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential|private", re.IGNORECASE)
# How a config refers to an environment variable.
REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# One message for every variable that this workspace may not read: it must not tell which variables exist.
NOT_ALLOWED = "must refer to an environment variable (env:TRUNK_…) that DIALER_SECRET_ENV gives to this workspace"

Rate = Annotated[float, Field(ge=0.001, le=99_999, allow_inf_nan=False)]


def _installed(name: str) -> str:
    if name not in registry.names():
        raise wrong_field(f"must be one of {', '.join(registry.names())}")
    return name


Provider = Annotated[
    str, AfterValidator(_installed), WithJsonSchema({"type": "string", "enum": list(registry.names())})
]


class NewTrunk(InputModel):
    """A trunk to be created."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Lab", "provider": "simulator", "config": {}, "calls_per_second": 5}}
    )

    name: Name
    provider: Provider
    config: Metadata = {}
    calls_per_second: Rate | None = None
    max_concurrent_calls: Limit | None = None
    status: Status = "active"


class ChangedTrunk(Changes):
    """The fields of a trunk to be changed."""

    name: Name = ""
    config: Metadata = {}
    calls_per_second: Rate | None = None
    max_concurrent_calls: Limit | None = None
    status: Status = "active"


def trunk_type(may_read: Callable[[str], bool] = lambda _: False) -> ResourceType:
    """Return the resource type of trunks.

    Args:
        may_read: whether a config may refer to this environment variable.

    Returns:
        The resource type.
    """

    def check(values: View) -> None:
        config = values.get("config", {})
        errors = list(_wrong_secrets(config, "config", may_read))
        if errors:
            raise InvalidInput(errors)
        try:
            registry.plugin(values["provider"]).check(config)
        except InvalidInput as error:
            raise InvalidInput([FieldError(f"config.{wrong.field}", wrong.reason) for wrong in error.errors]) from None

    return ResourceType(TRUNKS, NewTrunk, ChangedTrunk, {}, check=check, add_defaults=_add_rate)


def _add_rate(values: View) -> View:
    """Set the provider's default rate where none is given, so that calls do not queue up inside the network."""
    rate = registry.plugin(values["provider"]).calls_per_second
    return {"calls_per_second": rate} | values if rate is not None else values


def health(context: EngineContext, workspace_id: WorkspaceId, trunk_id: TrunkId) -> str | None:
    """Check whether calls can be placed on a trunk, and their events received.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        trunk_id: the trunk.

    Returns:
        None: yes; else the reason why not.

    Raises:
        NotFound: this workspace has no such trunk.
    """
    row = resources.show(context.db, trunk_type(), workspace_id, trunk_id)
    trouble = context.providers.health(of_network(context.db, row["provider"], trunk_id))
    unheard = row["unheard_reason"]
    if not row["is_heard"] and registry.needs_listener(row["provider"]):
        unheard = unheard or "is a listener running?"
    return trouble or (unheard and f"its reports are not heard: {unheard}")


def of_network(db: Database, provider: str, trunk_id: TrunkId) -> Trunk:
    """Find the trunk of a webhook.

    Args:
        db: the database.
        provider: the provider in the URL of the webhook.
        trunk_id: the trunk in that URL.

    Returns:
        The trunk.

    Raises:
        NotFound: there is no such trunk, or it is of another provider.
    """
    with db.begin() as connection:
        trunk = numbers.trunk(connection, trunk_id)
    if trunk is None or trunk.provider != provider:
        raise NotFound("No such trunk")
    return trunk


def _wrong_secrets(config: Mapping[str, Any], path: str, may_read: Callable[[str], bool]) -> Iterator[FieldError]:
    """Yield an error for each secret that is no reference, and for each reference that this workspace may not use."""
    for name, value in config.items():
        where = f"{path}.{name}"
        if isinstance(value, Mapping):
            yield from _wrong_secrets(value, where, may_read)
        elif isinstance(value, str) and (reference := REFERENCE.fullmatch(value)):
            if not may_read(reference[1]):
                yield FieldError(where, NOT_ALLOWED)
        elif _SECRET.search(name):
            yield FieldError(where, "is a secret: keep it in the environment and write env:TRUNK_…, its name")
