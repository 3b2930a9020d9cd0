"""The provider for FreeSWITCH with a fake: through a SIP gateway, and over loopback channels with two legs."""

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
from support.rigs.real_time import RealTimeRig, listening

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-0000000000f5"))


class WithConnection(FreeSwitch):
    """Gives every request a connection, which the requests of the suite do not have."""

    async def place(self, request: CallRequest) -> Placement:
        return await super().place(replace(request, connection=request.connection or CONNECTION))


def provider(port: int, *destination: str, **more: object) -> WithConnection:
    """Make a provider for the fake on this port."""
    config = FreeSwitchConfig.parse(trunk(port, *destination)["config"] | more)
    around = ProviderEnvironment(
        lambda: pendulum.now("UTC"), lambda value: ENVIRONMENT[value.removeprefix("env:")], None
    )
    return WithConnection(TRUNK, config, around)


def evaluated(command: str) -> list[str]:
    """What FreeSWITCH expands of an originate: its variables and destination, and once more the contact's JSON, when a
    dialplan reads it with `set`. The escapes of JSON are not expanded then.
    """
    variables, destination = read_originate(command.split("\n")[0].removeprefix("bgapi originate "))
    contact = unquote(variables.pop("dialer_contact", "%7B%7D"))
    json.loads(contact)
    in_strings = re.sub(r"\\u[0-9a-f]{4}", "", "".join(re.findall(r'"[^"]*"', contact))).replace('"', "")
    return [*variables, *variables.values(), destination, in_strings]


@asynccontextmanager
async def _opened(config: dict[str, Any], *destination: str) -> AsyncIterator[RealTimeRig]:
    profile = {"speed": 1000, **config}
    timeout_seconds = profile.pop("timeout_seconds", 10.0)
    async with serve(0, profile) as fake:

        def connect(port: int) -> WithConnection:
            return provider(port, *destination, timeout_seconds=float(timeout_seconds))

        freeswitch = connect(fake.port)
        rig = RealTimeRig(
            freeswitch,
            fake.switch.network,
            fake.port,
            connect,
            lambda: [text for command in fake.originates for text in evaluated(command)],
            is_switch=True,
            tells_rate=False,
            secrets=(PASSWORD,),
            switch=fake.switch,
            close_network=fake.stop,
        )
        try:
            async with listening(rig):
                yield rig
        finally:
            await freeswitch.close()


@asynccontextmanager
async def freeswitch_gateway(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    async with _opened(config) as rig:
        yield rig


@asynccontextmanager
async def freeswitch_loopback(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    async with _opened(config, "loopback/{number}/peer") as rig:
        yield rig


RIGS = [freeswitch_gateway, freeswitch_loopback]
