"""The kinds of provider that are installed, ours and those of other packages: the entry points `dialer.providers`."""

from collections.abc import Hashable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from dialer.errors import DialerError, InvalidInput, Unavailable
from dialer.providers.base import ProviderPlugin
from dialer.store.numbers import Trunk

GROUP = "dialer.providers"


@cache
def names() -> tuple[str, ...]:
    """Name the kinds of provider that there are; their code is not loaded."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def plugin(name: str) -> ProviderPlugin:
    """Load one kind of provider. Raises Unavailable where no package brings it, or its code cannot be loaded."""
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded: ProviderPlugin = point.load()
        except (ImportError, AttributeError) as error:
            raise Unavailable(f"The provider {name} ({point.value}) cannot be loaded: {error}") from error
        return loaded
    raise Unavailable(f"No provider named {name} is installed; there are {', '.join(names())}")


def needs_listener(name: str) -> bool:
    """Say whether calls of this kind are placed only while a listener hears the trunk; False where it is not installed,
    for then none is placed anyway.
    """
    try:
        return plugin(name).needs_listener
    except Unavailable:
        return False


def shared_link(trunk: Trunk) -> Hashable | None:
    """Return what is the same of all trunks that are heard on one connection; None: this one has its own.

    Only trunks of one workspace share: the secret and the networks of a connection are those of its workspace.
    """
    try:
        shares = plugin(trunk.provider).shared_link
        found = None if shares is None else shares(trunk.config)
    except (InvalidInput, Unavailable):  # whoever connects says so
        return None
    return None if found is None else (trunk.provider, trunk.workspace, found)


def is_switch(name: str) -> bool:
    """Say whether answered calls go to a place on a switch, which drops them at once where that does not exist."""
    try:
        return plugin(name).is_switch
    except Unavailable:
        return False


def permits_agent(name: str, config: Mapping[str, Any], connection: Mapping[str, Any]) -> bool:
    """Say whether a trunk of this kind and config lets answered calls go where an agent's connection says.

    True where the trunk cannot be used at all: whoever asks for a call there is told why.
    """
    try:
        return plugin(name).permits_agent(config, connection)
    except DialerError:
        return True
