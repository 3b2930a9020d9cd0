"""Twilio: the fake one over HTTP, whose status callbacks are posted to a server of the rig's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pendulum

from dialer.domain.ids import AttemptId, TrunkId
from dialer.providers.base import CallRequest, Placement, ProviderEnvironment, WebhookRequest
from dialer.providers.twilio import Twilio
from dialer.providers.twilio.config import TwilioConfig
from support.networks.http_server import HttpRequest, Reply, serving
from support.networks.twilio import AUTH_TOKEN, AUTHORIZATION, CONNECTION, serve, trunk
from support.rigs.real_time import RealTimeRig

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000012"))


class WithAgent(Twilio):
    """Gives every call an agent, without whom Twilio has nothing to do with it."""

    async def place(self, request: CallRequest) -> Placement:
        return await super().place(replace(request, connection={**CONNECTION, **request.connection}))


@asynccontextmanager
async def twilio(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    async def receive(asked: HttpRequest) -> Reply:
        attempt_id = AttemptId(UUID(urlsplit(asked.target).path.rsplit("/", 1)[1]))
        posted = WebhookRequest(f"{public_url}{asked.target}", asked.headers, asked.body, attempt_id, rig.now())
        await rig.on_events(provider.read_reports(posted))
        return Reply(204, b"")

    async with serve(0, {"speed": 1000, **config}) as carrier, serving(receive) as webhooks:
        public_url = f"http://127.0.0.1:{webhooks.port}"
        # A busy machine answers not at once; the one that will not answer is waited for a little longer, that is all.
        patience = max(1, config.get("timeout_seconds", 15))

        def connect(port: int) -> WithAgent:
            settings = TwilioConfig.parse({**trunk(port)["config"], "timeout_seconds": patience})
            environment = ProviderEnvironment(lambda: pendulum.now("UTC"), lambda _: AUTH_TOKEN, public_url)
            return WithAgent(TRUNK, settings, environment)

        provider = connect(carrier.port)
        rig = RealTimeRig(
            provider,
            carrier.switch.network,
            carrier.port,
            connect,
            lambda: [value for asked in carrier.asked for _, value in parse_qsl(asked.body.decode())],
            keeps_records=True,
            secrets=(AUTH_TOKEN, AUTHORIZATION.split()[1]),
            switch=carrier.switch,
            close_network=carrier.server.close,
        )
        try:
            yield rig
        finally:
            await provider.close()


RIGS = [twilio]
