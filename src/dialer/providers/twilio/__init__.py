"""Twilio: calls by its REST API, reports by its signed status callbacks."""

from collections.abc import Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.providers.base import ProviderEnvironment, ProviderPlugin
from dialer.providers.twilio.config import TwilioConfig, TwilioConnection
from dialer.providers.twilio.provider import Twilio

__all__ = ["PLUGIN", "Twilio"]

# Twilio's default for an account. What exceeds it waits in Twilio's own queue, for hours if need be, and would ring
# when nobody expects it any more.
CALLS_PER_SECOND = 1.0


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], environment: ProviderEnvironment) -> Twilio:
    return Twilio(trunk_id, TwilioConfig.parse(config), environment)


PLUGIN = ProviderPlugin(TwilioConfig.parse, _connect, CALLS_PER_SECOND, connection=TwilioConnection)
