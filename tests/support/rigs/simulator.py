"""The simulated network, in this process and over a socket."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.providers.base import Provider
from dialer.providers.simulator import InProcessSimulator, NetworkProfile, SimulatedNetwork, Simulator, serve
from support.rigs import CallLog
from support.rigs.real_time import RealTimeRig, listening

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000002"))


@dataclass
class InProcessRig(CallLog):
    network: SimulatedNetwork
    moment: DateTime
    received: list[CallEvent] = field(default_factory=list)
    keeps_records: bool = True
    knows_place_by: bool = True
    tells_rate: bool = True
    secrets: Sequence[str] = ()
    port: int | None = None
    is_switch: bool = False

    def connect(self, port: int) -> Provider:
        raise NotImplementedError

    @property
    def provider(self) -> Provider:
        return InProcessSimulator(self.network, self.now)

    def now(self) -> DateTime:
        return self.moment

    async def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            due = self.network.next_due()
            assert due is not None, "nothing more will be reported"
            self.moment = max(self.moment, due)
            events = self.network.due(self.moment)
            self.received.extend(events)
            self.network.acknowledge([event.key for event in events])

    def evaluated(self) -> Sequence[str]:
        return ()

    def cut_next_answer(self) -> bool:
        return False

    async def go_away(self) -> bool:
        return False


@asynccontextmanager
async def in_process(config: dict[str, Any]) -> AsyncIterator[InProcessRig]:
    yield InProcessRig(SimulatedNetwork(NetworkProfile.parse(config)), pendulum.datetime(2026, 3, 2, 9))


@asynccontextmanager
async def over_a_socket(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    server = await serve("127.0.0.1", 0, lambda: pendulum.now("UTC"))
    port = urlsplit(server.url).port or 0

    def profile(port: int) -> NetworkProfile:
        url = f"tcp://127.0.0.1:{port}"
        return NetworkProfile.parse({"speed": 1000, "timeout_seconds": 10, "url": url, **config})

    def connect(port: int) -> Simulator:
        return Simulator(TRUNK, profile(port), lambda: pendulum.now("UTC"))

    simulator = connect(port)
    network, _ = server.open_trunk(TRUNK, profile(port))
    rig = RealTimeRig(
        simulator, network, port, connect, tuple, keeps_records=True, knows_place_by=True, close_network=server.close
    )
    try:
        async with listening(rig):
            yield rig
    finally:
        await simulator.close()
        await server.close()


RIGS = [in_process, over_a_socket]
