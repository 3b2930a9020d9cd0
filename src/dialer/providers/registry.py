"""The installed provider plug-ins, ours and those of other packages: the entry points `dialer.providers`."""

from collections.abc import Hashable, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import UnionType
from typing import Any

from pydantic import BaseModel

from dialer.domain.trunk import Trunk
from dialer.errors import DialerError, FieldError, InvalidInput, Unavailable
from dialer.providers.base import ProviderPlugin

GROUP = "dialer.providers"


@cache
def names() -> tuple[str, ...]:
    """Return the names of the installed providers; their code is not loaded."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def plugin(name: str) -> ProviderPlugin:
    """Load a plug-in. Raises Unavailable where no package brings it, or its code cannot be loaded."""
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded: ProviderPlugin = point.load()
        except (ImportError, AttributeError) as error:
            raise Unavailable(f"The provider {name} ({point.value}) cannot be loaded: {error}") from error
        return loaded
    raise Unavailable(f"No provider named {name} is installed; there are {', '.join(names())}")


def needs_listener(name: str) -> bool:
    """Say whether calls are placed only while a listener hears the trunk.

    False where the provider is not installed: then none is placed anyway.
    """
    try:
        return plugin(name).needs_listener
    except Unavailable:
        return False


def shared_link(trunk: Trunk) -> Hashable | None:
    """Return a value that is equal for all trunks that are heard on one connection; None: this one has its own.

    Only trunks of one workspace share: the secret and the networks of a connection are those of its workspace.
    """
    try:
        shares = plugin(trunk.provider).shared_link
        link = None if shares is None else shares(trunk.config)
    except (InvalidInput, Unavailable):  # reported where the trunk is connected
        return None
    return None if link is None else (trunk.provider, trunk.workspace, link)


def connection_schema(name: str) -> type[BaseModel] | UnionType | None:
    """Return the schema of an agent's `connection`; None: any JSON object, or the plug-in cannot be loaded."""
    try:
        return plugin(name).connection
    except Unavailable:
        return None


def is_switch(name: str) -> bool:
    """Say whether answered calls go to a place on a switch, which drops them at once where that does not exist."""
    try:
        return plugin(name).is_switch
    except Unavailable:
        return False


def agent_refusal(trunk: Trunk, connection: Mapping[str, Any]) -> FieldError | None:
    """Say which field of an agent's connection a trunk refuses, and why; None: it lets answered calls go there.

    None also where the trunk cannot be used at all: that is reported when a call is placed on it.
    """
    try:
        return plugin(trunk.provider).agent_refusal(trunk.config, connection)
    except DialerError:
        return None
