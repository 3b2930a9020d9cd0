"""FreeSWITCH behind its Event Socket: through a SIP gateway, and over loopback channels, which report both legs."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pendulum

from dialer.domain.ids import TrunkId
from dialer.providers.base import CallRequest, Placement, ProviderEnvironment
from dialer.providers.freeswitch import FreeSwitch, FreeSwitchConfig
from support.networks.freeswitch import CONNECTION, ENVIRONMENT, read_originate, serve, trunk
from support.networks.freeswitch_client import PASSWORD
from support.provider_arguments import ignore_link_state
from support.rigs.hearing import Hearing

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-0000000000f5"))


class WithAgent(FreeSwitch):
    """The suite's requests go to no agent; here an answered call must go somewhere."""

    async def place(self, request: CallRequest) -> Placement:
        return await super().place(replace(request, connection=request.connection or CONNECTION))


def provider(port: int, *destination: str, **more: object) -> WithAgent:
    """Make a provider for the mock on this port."""
    config = FreeSwitchConfig.parse(trunk(port, *destination)["config"] | more)
    around = ProviderEnvironment(
        lambda: pendulum.now("UTC"), lambda value: ENVIRONMENT[value.removeprefix("env:")], None
    )
    return WithAgent(TRUNK, config, around)


def evaluated(command: str) -> list[str]:
    """What FreeSWITCH expands of an originate: its variables and destination, and the contact's JSON once more, when a
    dialplan reads it with `set`. There the escapes of JSON stay what they are.
    """
    variables, destination = read_originate(command.split("\n")[0].removeprefix("bgapi originate "))
    told = unquote(variables.pop("dialer_contact", "%7B%7D"))
    json.loads(told)
    in_strings = re.sub(r"\\u[0-9a-f]{4}", "", "".join(re.findall(r'"[^"]*"', told))).replace('"', "")
    return [*variables, *variables.values(), destination, in_strings]


@asynccontextmanager
async def _opened(config: dict[str, Any], *destination: str) -> AsyncIterator[Hearing]:
    profile = {"speed": 1000, **config}
    patience = profile.pop("timeout_seconds", 10.0)
    async with serve(0, profile) as mock:

        def connect(port: int) -> WithAgent:
            return provider(port, *destination, timeout_seconds=float(patience))

        one = connect(mock.port)
        rig = Hearing(
            one,
            mock.switch.network,
            mock.port,
            connect,
            lambda: [one for command in mock.originates for one in evaluated(command)],
            is_switch=True,
            tells_rate=False,
            secrets=(PASSWORD,),
            switch=mock.switch,
            close_network=mock.stop,
        )
        is_up = asyncio.Event()

        async def on_link_state(reason: str | None) -> None:
            await ignore_link_state(reason)
            is_up.set()

        listening = asyncio.create_task(one.listen(rig.on_events, on_link_state))
        # FreeSWITCH keeps nothing for whoever is not there yet.
        await is_up.wait()
        try:
            yield rig
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await one.close()


@asynccontextmanager
async def freeswitch_gateway(config: dict[str, Any]) -> AsyncIterator[Hearing]:
    async with _opened(config) as rig:
        yield rig


@asynccontextmanager
async def freeswitch_loopback(config: dict[str, Any]) -> AsyncIterator[Hearing]:
    async with _opened(config, "loopback/{number}/peer") as rig:
        yield rig


RIGS = [freeswitch_gateway, freeswitch_loopback]
