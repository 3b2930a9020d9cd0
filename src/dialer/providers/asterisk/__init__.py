"""Asterisk over ARI: calls are originated over HTTP, and their events are received on a WebSocket."""

from collections.abc import Hashable, Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.errors import FieldError
from dialer.providers.asterisk.config import AsteriskConfig, AsteriskConnection
from dialer.providers.asterisk.provider import Asterisk
from dialer.providers.base import ProviderEnvironment, ProviderPlugin
from dialer.providers.switches import agent_refusal

__all__ = ["PLUGIN", "Asterisk", "AsteriskConfig"]


def _connect(_: TrunkId, config: Mapping[str, Any], environment: ProviderEnvironment) -> Asterisk:
    checked = AsteriskConfig.parse(config)
    return Asterisk(checked, environment.secret(checked.password), environment.clock, environment.egress)


def _shared_link(config: Mapping[str, Any]) -> Hashable:
    """One connection receives the events of all channels: it serves all trunks that read them in the same way."""
    checked = AsteriskConfig.parse(config)
    return checked.url, checked.username, checked.password, checked.machine_variable, checked.timeout_seconds


def _agent_refusal(config: Mapping[str, Any], connection: Mapping[str, Any]) -> FieldError | None:
    checked = AsteriskConfig.parse(config)
    return None if checked.destination(connection) else agent_refusal(connection, checked.context)


PLUGIN = ProviderPlugin(
    AsteriskConfig.parse,
    _connect,
    connection=AsteriskConnection,
    needs_listener=True,
    shared_link=_shared_link,
    is_switch=True,
    agent_refusal=_agent_refusal,
)
