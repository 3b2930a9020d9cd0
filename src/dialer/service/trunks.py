"""Trunks: the ways to the telephone networks. Their secrets stay in the environment; here are only their names."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from dialer.domain.ids import TrunkId, WorkspaceId
from dialer.engine.parts import Parts
from dialer.errors import FieldError, InvalidInput
from dialer.providers.simulator import NetworkProfile
from dialer.service import resources
from dialer.service.fields import Changes, Fields, Limit, Metadata, Name, Status
from dialer.service.resources import Kind, View
from dialer.store.numbers import Trunk
from dialer.store.resources import TRUNKS

# Provider -> what refuses a config that it cannot use.
PROVIDERS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {"simulator": NetworkProfile.parse}

_SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential|private", re.IGNORECASE)
_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_ALLOWED_PREFIX = "TRUNK_"

Rate = Annotated[float, Field(ge=0.001, le=99_999, allow_inf_nan=False)]


class NewTrunk(Fields):
    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Lab", "provider": "simulator", "config": {}, "calls_per_second": 5}}
    )

    name: Name
    provider: Literal["simulator"]
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


def kind(secret_env: tuple[str, ...]) -> Kind:
    """Trunks, whose configs may refer to these variables besides those that begin with TRUNK_."""

    def checked(values: View) -> None:
        config = values.get("config", {})
        errors = list(_wrong_secrets(config, "config", secret_env))
        if errors:
            raise InvalidInput(errors)
        try:
            PROVIDERS[values["provider"]](config)
        except InvalidInput as error:
            raise InvalidInput([FieldError(f"config.{one.field}", one.reason) for one in error.errors]) from None

    return Kind(TRUNKS, NewTrunk, ChangedTrunk, {}, checked=checked)


def health(parts: Parts, workspace_id: WorkspaceId, trunk_id: TrunkId) -> str | None:
    """Say why no calls can be placed on a trunk now; None: they can. Raises NotFound."""
    found = resources.show(parts.db, kind(()), workspace_id, trunk_id)
    return parts.carriers.health(Trunk(trunk_id, found["provider"], found["config"]))


def _wrong_secrets(config: Mapping[str, Any], path: str, secret_env: tuple[str, ...]) -> Iterator[FieldError]:
    """A secret must be a reference, and a reference must be to a variable that may be read."""
    for name, value in config.items():
        where = f"{path}.{name}"
        if isinstance(value, Mapping):
            yield from _wrong_secrets(value, where, secret_env)
        elif isinstance(value, str) and (reference := _REFERENCE.fullmatch(value)):
            variable = reference[1]
            if not variable.startswith(_ALLOWED_PREFIX) and variable not in secret_env:
                yield FieldError(where, f"must refer to a variable that begins with {_ALLOWED_PREFIX}, or is allowed")
        elif _SECRET.search(name):
            yield FieldError(where, "is a secret: keep it in the environment and write env:TRUNK_…, its name")
