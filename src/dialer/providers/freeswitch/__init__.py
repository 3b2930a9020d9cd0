"""Calls through a FreeSWITCH, over its Event Socket.

The trunk's config has its address and the dial string. An agent's connection is the dialplan application that takes an
answered call: `{"application": …, "data": …}`.
"""

from collections.abc import Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.errors import FieldError
from dialer.providers.base import ProviderEnvironment, ProviderPlugin
from dialer.providers.freeswitch.config import FreeSwitchConfig, FreeSwitchConnection
from dialer.providers.freeswitch.provider import FreeSwitch
from dialer.providers.switches import agent_refusal

__all__ = ["PLUGIN", "FreeSwitch", "FreeSwitchConfig"]


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], environment: ProviderEnvironment) -> FreeSwitch:
    return FreeSwitch(trunk_id, FreeSwitchConfig.parse(config), environment)


def _agent_refusal(config: Mapping[str, Any], connection: Mapping[str, Any]) -> FieldError | None:
    checked = FreeSwitchConfig.parse(config)
    return None if checked.destination(connection) else agent_refusal(connection, checked.context)


PLUGIN = ProviderPlugin(
    FreeSwitchConfig.parse,
    _connect,
    connection=FreeSwitchConnection,
    needs_listener=True,
    is_switch=True,
    agent_refusal=_agent_refusal,
)
