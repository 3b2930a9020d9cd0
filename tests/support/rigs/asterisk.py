"""The provider for Asterisk, with the mock of one behind it: once as a PJSIP trunk, once as a Local channel."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pendulum

from dialer.providers.asterisk import Asterisk, AsteriskConfig
from dialer.providers.base import CallRequest, Placement
from support.networks import asterisk as carrier
from support.rigs.hearing import Hearing

# Slow enough that a call is still up when one has waited in vain for its answer.
SPEED = 5


class ForOneAgent(Asterisk):
    """Says of every call where it goes, which the requests of the suite leave open."""

    async def place(self, request: CallRequest) -> Placement:
        return await super().place(replace(request, connection=request.connection or carrier.CONNECTION))


def evaluated(asked: Mapping[str, Any]) -> Sequence[str]:
    variables = asked["variables"]
    return [*(str(value) for name, value in asked.items() if name != "variables"), *variables, *variables.values()]


@asynccontextmanager
async def _rig(config: dict[str, Any], endpoint: str) -> AsyncIterator[Hearing]:
    async with AsyncExitStack() as network:
        server = await network.enter_async_context(carrier.serve(0, {"speed": SPEED, **config}))

        def connect(port: int) -> ForOneAgent:
            of_trunk = {**carrier.trunk(port)["config"], "endpoint": endpoint}
            if "timeout_seconds" in config:
                of_trunk["timeout_seconds"] = config["timeout_seconds"]
            return ForOneAgent(AsteriskConfig.parse(of_trunk), carrier.PASSWORD, lambda: pendulum.now("UTC"))

        provider = connect(server.port)
        rig = Hearing(
            provider,
            server.switch.network,
            server.port,
            connect,
            lambda: [one for asked in server.originates for one in evaluated(asked)],
            is_switch=True,
            secrets=(carrier.PASSWORD, carrier.AUTHORIZATION.removeprefix("Basic ")),
            switch=server.switch,
            close_network=network.aclose,
        )
        async with _listening(rig):
            yield rig
        await provider.close()


@asynccontextmanager
async def _listening(rig: Hearing) -> AsyncIterator[None]:
    is_up = asyncio.Event()

    async def on_link_state(reason: str | None) -> None:
        if reason is None:
            is_up.set()

    listening = asyncio.create_task(rig.provider.listen(rig.on_events, on_link_state))
    try:
        async with asyncio.timeout(10):
            await is_up.wait()
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def asterisk_pjsip(config: dict[str, Any]) -> AsyncIterator[Hearing]:
    async with _rig(config, "PJSIP/{number}@provider") as rig:
        yield rig


@asynccontextmanager
async def asterisk_local(config: dict[str, Any]) -> AsyncIterator[Hearing]:
    async with _rig(config, "Local/{number}@outbound/n") as rig:
        yield rig


RIGS = [asterisk_pjsip, asterisk_local]
