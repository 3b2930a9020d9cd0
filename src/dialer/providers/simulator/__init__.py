"""An in-house telephone network that behaves like a real one, with faults on demand.

`SimulatedNetwork` is the network, `serve` puts networks behind a port, `Simulator` is the provider over that port, and
`InProcessSimulator` the provider for virtual time. `NetworkProfile` says how a network behaves.
"""

from collections.abc import Mapping
from typing import Any

from dialer.domain.ids import TrunkId
from dialer.providers.base import Kind, Surroundings
from dialer.providers.simulator.calls import CarrierCall
from dialer.providers.simulator.client import Simulator
from dialer.providers.simulator.in_process import InProcessSimulator
from dialer.providers.simulator.network import SimulatedNetwork
from dialer.providers.simulator.profile import NetworkProfile
from dialer.providers.simulator.server import SimulatorServer, serve

__all__ = [
    "KIND",
    "CarrierCall",
    "InProcessSimulator",
    "NetworkProfile",
    "SimulatedNetwork",
    "Simulator",
    "SimulatorServer",
    "serve",
]


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], around: Surroundings) -> Simulator:
    return Simulator(trunk_id, NetworkProfile.parse(config), around.clock, around.egress)


KIND = Kind(NetworkProfile.parse, _connect)
