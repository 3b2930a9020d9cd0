"""The provider for Asterisk with a fake Asterisk: as a PJSIP trunk, and over Local channels."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pendulum

from dialer.providers.asterisk import Asterisk, AsteriskConfig
from dialer.providers.base import CallRequest, Placement
from support.networks import asterisk as carrier
from support.rigs.real_time import RealTimeRig, listening

# Slow enough that a call is still up after the timeout of its placement.
SPEED = 5


class WithConnection(Asterisk):
    """Gives every request a connection, which the requests of the suite do not have."""

    async def place(self, request: CallRequest) -> Placement:
        return await super().place(replace(request, connection=request.connection or carrier.CONNECTION))


def evaluated(body: Mapping[str, Any]) -> Sequence[str]:
    variables = body["variables"]
    return [*(str(value) for name, value in body.items() if name != "variables"), *variables, *variables.values()]


@asynccontextmanager
async def _rig(config: dict[str, Any], endpoint: str) -> AsyncIterator[RealTimeRig]:
    async with AsyncExitStack() as network:
        server = await network.enter_async_context(carrier.serve(0, {"speed": SPEED, **config}))

        def connect(port: int) -> WithConnection:
            trunk = {**carrier.trunk(port)["config"], "endpoint": endpoint}
            if "timeout_seconds" in config:
                trunk["timeout_seconds"] = config["timeout_seconds"]
            return WithConnection(AsteriskConfig.parse(trunk), carrier.PASSWORD, lambda: pendulum.now("UTC"))

        provider = connect(server.port)
        rig = RealTimeRig(
            provider,
            server.switch.network,
            server.port,
            connect,
            lambda: [text for body in server.originates for text in evaluated(body)],
            is_switch=True,
            secrets=(carrier.PASSWORD, carrier.AUTHORIZATION.removeprefix("Basic ")),
            switch=server.switch,
            close_network=network.aclose,
        )
        async with listening(rig):
            yield rig
        await provider.close()


@asynccontextmanager
async def asterisk_pjsip(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    async with _rig(config, "PJSIP/{number}@provider") as rig:
        yield rig


@asynccontextmanager
async def asterisk_local(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    async with _rig(config, "Local/{number}@outbound/n") as rig:
        yield rig


RIGS = [asterisk_pjsip, asterisk_local]
