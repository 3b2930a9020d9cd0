"""A trunk of each provider to a fake network at any address, and a request larger than a small socket buffer."""

import importlib
from random import Random
from uuid import UUID

import pendulum

from dialer.domain.allow_list import LOOPBACK
from dialer.domain.ids import AttemptId, TrunkId, uuid7
from dialer.providers import registry
from dialer.providers.base import CallRequest, ContactCard, Placement, Provider, ProviderEnvironment
from dialer.providers.egress import Egress

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-0000000000a9"))
NETWORKS = ("asterisk", "freeswitch", "http", "twilio")


def provider(name: str, port: int, *scheme: str, host: str = "127.0.0.1", **config: object) -> Provider:
    """Connect a trunk of this provider to the fake network at this port."""
    network = importlib.import_module(f"support.networks.{name}")
    trunk_config = network.trunk(port, *scheme, host=host)["config"] | config
    environment = ProviderEnvironment(
        lambda: pendulum.now("UTC"),
        lambda value: network.ENVIRONMENT[value.removeprefix("env:")],
        "http://127.0.0.1:1",
        Egress.to((*LOOPBACK, f"{host}/32")),
    )
    return registry.plugin(name).connect(TRUNK, trunk_config, environment)


def large_request(name: str) -> CallRequest:
    """Return a request of about 4,000 bytes, to be placed within 15 seconds."""
    now = pendulum.now("UTC")
    connection = importlib.import_module(f"support.networks.{name}").CONNECTION
    if name == "twilio":
        connection = {"url": f"https://agent.example/{'x' * 4000}"}
    return CallRequest(
        attempt_id=AttemptId(uuid7(now, Random())),
        to_number="+49301234567",
        from_number="+49301000",
        connection=connection,
        ring_timeout_seconds=30.0,
        place_by=now.add(seconds=15),
        ring_by=None,
        contact=ContactCard(variables={f"v{n}": "x" * 180 for n in range(15)}),
    )


async def place(name: str, port: int, timeout_seconds: float) -> Placement:
    """Place such a request; tests run this in a process of its own."""
    trunk = provider(name, port, timeout_seconds=timeout_seconds)
    return await trunk.place(large_request(name))
