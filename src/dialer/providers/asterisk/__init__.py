"""Asterisk over ARI: calls are originated over HTTP, and their events are received on a WebSocket."""

from collections.abc import Hashable, Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.providers.asterisk.config import AsteriskConfig, AsteriskConnection
from dialer.providers.asterisk.provider import Asterisk
from dialer.providers.base import ProviderEnvironment, ProviderPlugin

__all__ = ["PLUGIN", "Asterisk", "AsteriskConfig"]


def _connect(_: TrunkId, config: Mapping[str, Any], environment: ProviderEnvironment) -> Asterisk:
    checked = AsteriskConfig.parse(config)
    return Asterisk(checked, environment.secret(checked.password), environment.clock, environment.egress)


def _shared_link(config: Mapping[str, Any]) -> Hashable:
    """One connection receives the events of all channels: it serves all trunks that read them in the same way."""
    checked = AsteriskConfig.parse(config)
    return checked.url, checked.username, checked.password, checked.machine_variable, checked.timeout_seconds


def _permits_agent(config: Mapping[str, Any], connection: Mapping[str, Any]) -> bool:
    return AsteriskConfig.parse(config).destination(connection) is not None


PLUGIN = ProviderPlugin(
    AsteriskConfig.parse,
    _connect,
    connection=AsteriskConnection,
    needs_listener=True,
    shared_link=_shared_link,
    is_switch=True,
    permits_agent=_permits_agent,
)
