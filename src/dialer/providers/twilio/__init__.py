"""Twilio: calls by its REST API, reports by its signed status callbacks.

`PLUGIN` is all that others need: how a trunk is configured, and how its provider is made. Nothing is opened here.
"""

from collections.abc import Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.providers.base import ProviderEnvironment, ProviderPlugin
from dialer.providers.twilio.config import Config
from dialer.providers.twilio.provider import Twilio

__all__ = ["PLUGIN", "Twilio"]

# Twilio's default for an account. What exceeds it waits in Twilio's own queue, for hours if need be, and would ring
# when nobody expects it any more.
CALLS_PER_SECOND = 1.0


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], around: ProviderEnvironment) -> Twilio:
    parsed = Config.parse(config)
    auth_token = around.secret(parsed.auth_token)
    return Twilio(trunk_id, parsed, auth_token, around.clock, around.public_url, around.egress)


PLUGIN = ProviderPlugin(Config.parse, _connect, CALLS_PER_SECOND)
