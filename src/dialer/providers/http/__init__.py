"""Any platform with an HTTP API: the user's own dialer, or a voice-AI platform.

It is asked for calls by signed requests and reports on them by signed requests, both as Standard Webhooks defines it
(https://www.standardwebhooks.com). `docs/providers/http.md` is the protocol.
"""

from collections.abc import Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.providers.base import ProviderEnvironment, ProviderPlugin
from dialer.providers.http.config import HttpConfig, Platform
from dialer.providers.http.provider import HttpPlatform
from dialer.providers.http.signing import Signer

__all__ = ["PLUGIN", "HttpPlatform"]


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], environment: ProviderEnvironment) -> HttpPlatform:
    checked = HttpConfig.parse(config)
    return HttpPlatform(trunk_id, checked, Signer(environment.secret(checked.secret)), environment)


PLUGIN = ProviderPlugin(HttpConfig.parse, _connect, connection=Platform)
