"""A simulated telephone network that behaves like a real one, with faults on demand.

`SimulatedNetwork` is the network, `serve` serves networks on a port, `Simulator` is the provider that connects to that
port, and `InProcessSimulator` is the provider for virtual time. `NetworkProfile` says how a network behaves.
"""

from collections.abc import Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.providers.base import ProviderEnvironment, ProviderPlugin
from dialer.providers.simulator.call import CarrierCall
from dialer.providers.simulator.config import NetworkProfile, Nothing
from dialer.providers.simulator.in_process import InProcessSimulator
from dialer.providers.simulator.network import SimulatedNetwork
from dialer.providers.simulator.provider import Simulator
from dialer.providers.simulator.server import SimulatorServer, serve

__all__ = [
    "PLUGIN",
    "CarrierCall",
    "InProcessSimulator",
    "NetworkProfile",
    "SimulatedNetwork",
    "Simulator",
    "SimulatorServer",
    "serve",
]


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], environment: ProviderEnvironment) -> Simulator:
    return Simulator(trunk_id, NetworkProfile.parse(config), environment.clock, environment.egress)


PLUGIN = ProviderPlugin(NetworkProfile.parse, _connect, connection=Nothing)
