"""The provider `http` with a platform of our own making, and a receiver of its reports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from dialer.domain.ids import TrunkId
from dialer.errors import InvalidInput, NotSigned
from dialer.providers.base import Provider, ProviderEnvironment, WebhookRequest
from dialer.providers.http import PLUGIN, HttpPlatform
from support.networks import http as carrier
from support.networks.http_server import HttpRequest, Reply, serving
from support.networks.switch import now
from support.rigs.real_time import RealTimeRig

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000005"))


def around(public_url: str | None) -> ProviderEnvironment:
    return ProviderEnvironment(now, lambda value: carrier.ENVIRONMENT[value.removeprefix("env:")], public_url)


@asynccontextmanager
async def http(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    """The config is the network's; what a trunk has of it goes to the trunk too."""

    async def receive(sent: HttpRequest) -> Reply:
        try:
            url = f"http://127.0.0.1:{receiver.port}{sent.path}"
            assert isinstance(provider, HttpPlatform)
            await rig.on_events(provider.read_reports(WebhookRequest(url, sent.headers, sent.body, None, now())))
        except NotSigned:
            return Reply(403)
        except InvalidInput:
            return Reply(422)
        return Reply(204)

    async with carrier.serve(0, {"speed": 1000, **config}) as platform, serving(receive) as receiver:
        # Of very little time, connecting on a busy machine could take all.
        seconds = max(1.0, config.get("timeout_seconds", 10))

        def connect(port: int) -> Provider:
            trunk = carrier.trunk(port)["config"] | {"timeout_seconds": seconds}
            return PLUGIN.connect(TRUNK, trunk, around(f"http://127.0.0.1:{receiver.port}"))

        provider = connect(platform.port)
        rig = RealTimeRig(
            provider,
            platform.switch.network,
            platform.port,
            connect,
            tuple,
            keeps_records=True,
            knows_place_by=True,
            secrets=[carrier.SECRET, carrier.SECRET.removeprefix("whsec_")],
            switch=platform.switch,
            close_network=platform.server.close,
        )
        try:
            yield rig
        finally:
            await provider.close()


RIGS = [http]
