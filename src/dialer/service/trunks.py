"""Trunks: the ways to the telephone networks. Their secrets stay in the environment; here are only their names."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from dialer.domain.ids import TrunkId, WorkspaceId
from dialer.domain.validation import wrong_field
from dialer.engine.context import EngineContext
from dialer.errors import FieldError, InvalidInput, NotFound
from dialer.providers import registry
from dialer.service import resources
from dialer.service.fields import Changes, Fields, Limit, Metadata, Name, Status
from dialer.service.resources import Kind, View
from dialer.store import numbers
from dialer.store.database import Database
from dialer.store.numbers import Trunk
from dialer.store.resources import TRUNKS

_SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential|private", re.IGNORECASE)
# How a config refers to a variable of the environment.
REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# The same words for every variable that is not the workspace's: they must not tell which variables there are.
NOT_ALLOWED = "must refer to an environment variable (env:TRUNK_…) that DIALER_SECRET_ENV gives to this workspace"

Rate = Annotated[float, Field(ge=0.001, le=99_999, allow_inf_nan=False)]


def _installed(name: str) -> str:
    if name not in registry.names():
        raise wrong_field(f"must be one of {', '.join(registry.names())}")
    return name


Provider = Annotated[
    str, AfterValidator(_installed), WithJsonSchema({"type": "string", "enum": list(registry.names())})
]


class NewTrunk(Fields):
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
    name: Name = ""
    config: Metadata = {}
    calls_per_second: Rate | None = None
    max_concurrent_calls: Limit | None = None
    status: Status = "active"


def kind(may_read: Callable[[str], bool] = lambda _: False) -> Kind:
    """Trunks. `may_read`: whether their configs may refer to this environment variable."""

    def checked(values: View) -> None:
        config = values.get("config", {})
        errors = list(_wrong_secrets(config, "config", may_read))
        if errors:
            raise InvalidInput(errors)
        try:
            chosen = registry.plugin(values["provider"])
            chosen.check(config)
        except InvalidInput as error:
            raise InvalidInput([FieldError(f"config.{one.field}", one.reason) for one in error.errors]) from None

    return Kind(TRUNKS, NewTrunk, ChangedTrunk, {}, checked=checked, filled=_limited)


def _limited(values: View) -> View:
    """Give a trunk that names no rate the one of its network, so that nothing waits in that network's own queue."""
    rate = registry.plugin(values["provider"]).calls_per_second
    return {"calls_per_second": rate} | values if rate is not None else values


def health(context: EngineContext, workspace_id: WorkspaceId, trunk_id: TrunkId) -> str | None:
    """Say why no calls can be placed on a trunk now, or not be followed; None: they can. Raises NotFound."""
    found = resources.show(context.db, kind(), workspace_id, trunk_id)
    trouble = context.providers.health(of_network(context.db, found["provider"], trunk_id))
    unheard = found["unheard_reason"]
    if not found["is_heard"] and registry.needs_listener(found["provider"]):
        unheard = unheard or "is a listener running?"
    return trouble or (unheard and f"its reports are not heard: {unheard}")


def of_network(db: Database, provider: str, trunk_id: TrunkId) -> Trunk:
    """Find the trunk that a network reports on; raises NotFound."""
    with db.begin() as connection:
        trunk = numbers.trunk(connection, trunk_id)
    if trunk is None or trunk.provider != provider:
        raise NotFound("No such trunk")
    return trunk


def _wrong_secrets(config: Mapping[str, Any], path: str, may_read: Callable[[str], bool]) -> Iterator[FieldError]:
    """A secret must be a reference, and a reference must be to a variable that may be read."""
    for name, value in config.items():
        where = f"{path}.{name}"
        if isinstance(value, Mapping):
            yield from _wrong_secrets(value, where, may_read)
        elif isinstance(value, str) and (reference := REFERENCE.fullmatch(value)):
            if not may_read(reference[1]):
                yield FieldError(where, NOT_ALLOWED)
        elif _SECRET.search(name):
            yield FieldError(where, "is a secret: keep it in the environment and write env:TRUNK_…, its name")
