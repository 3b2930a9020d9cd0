"""Serves simulated networks over TCP, one per trunk, to any number of clients.

In: JSON lines (see `protocol`). Out: answers and reports. It needs no configuration: a client sends its trunk's id and
the profile of its network; the latest profile applies to all calls placed after it. No message can stop the server: one
that cannot be read is answered with an error. There is no authentication: bind it to loopback or a private network.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.errors import DialerError, InvalidInput
from dialer.providers.base import Unclear
from dialer.providers.simulator import protocol
from dialer.providers.simulator.config import NetworkProfile
from dialer.providers.simulator.delivery import Pump
from dialer.providers.simulator.network import SimulatedNetwork

CLOSING_SECONDS = 1.0
MAX_LOG = 200_000


class SimulatorServer:
    """The networks of many trunks behind one port; made by `serve`."""

    def __init__(self, clock: Callable[[], DateTime], journals: Path | None, max_log: int | None) -> None:
        self.clock = clock
        self.networks: dict[TrunkId, SimulatedNetwork] = {}
        self.connections: set[_ServerConnection] = set()
        self._pumps: dict[TrunkId, Pump] = {}
        self._journals = journals
        self._max_log = max_log

    async def start(self, host: str, port: int) -> Self:
        if self._journals:
            self._journals.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.get_running_loop().create_server(lambda: _ServerConnection(self), host, port)
        return self

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def open_trunk(self, trunk_id: TrunkId, profile: NetworkProfile) -> tuple[SimulatedNetwork, Pump]:
        """Return the network of this trunk; the first time, it is loaded from its journal."""
        if trunk_id not in self.networks:
            journal = self._journals / f"{trunk_id}.jsonl" if self._journals else None
            self.networks[trunk_id] = SimulatedNetwork(profile, journal, self._max_log)
            self._pumps[trunk_id] = Pump(self.networks[trunk_id], self.clock)
        self.networks[trunk_id].profile = profile
        return self.networks[trunk_id], self._pumps[trunk_id]

    async def close(self) -> None:
        """Stop listening, send what is left in the buffers, and close the journals. Called twice: the same."""
        self._server.close()
        leaving = list(self.connections)
        for connection in leaving:
            connection.close()
        if leaving:
            await asyncio.wait([connection.gone for connection in leaving], timeout=CLOSING_SECONDS)
        for connection in leaving:
            connection.abort()
        await self._server.wait_closed()
        for pump in self._pumps.values():
            pump.stop()
        for network in self.networks.values():
            network.close()


async def serve(
    host: str,
    port: int,
    clock: Callable[[], DateTime],
    journals: Path | None = None,
    max_log: int | None = MAX_LOG,
) -> SimulatorServer:
    """Start a server. Port 0: any free port, see `url`.

    `journals`: a directory with a file for each trunk, from which a restarted server continues. `max_log`: about how
    many ended calls of each trunk it remembers.
    """
    return await SimulatorServer(clock, journals, max_log).start(host, port)


class _ServerConnection(protocol.JsonLines):
    """The server's end of one connection."""

    def __init__(self, server: SimulatorServer) -> None:
        super().__init__()
        self._server = server
        self._network: SimulatedNetwork | None = None
        self._pump: Pump | None = None
        self._answers: dict[object, Callable[[protocol.Message], dict[str, Any] | None]] = {
            "hello": self._hello,
            "place": self._place,
            "look_up": self._look_up,
            "hang_up": self._hang_up,
            "health": self._health,
            "subscribe": self._subscribe,
            "acknowledge": self._acknowledge,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.connections.discard(self)
        if self._pump:
            self._pump.leave(self._report)

    def pause_writing(self) -> None:
        # Back-pressure: stop reading from a client that does not read our answers.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def refuse(self, reason: str) -> None:
        self.send({"id": None, "error": reason})

    def received(self, message: protocol.Message) -> None:
        try:
            answer = self._answer(message)
        except DialerError as error:
            answer = {"error": str(error)}
        if answer is not None:
            self.send({"id": message.get("id"), **answer})

    def _answer(self, message: protocol.Message) -> dict[str, Any] | None:
        op = message.get("op")
        handler = self._answers.get(op) if isinstance(op, str) else None
        if handler is None:
            raise InvalidInput.of("op", f"must be one of {', '.join(map(str, self._answers))}")
        return handler(message)

    def _opened(self) -> tuple[SimulatedNetwork, Pump]:
        if self._network is None or self._pump is None:
            raise InvalidInput.of("op", "must be hello first")
        return self._network, self._pump

    def _hello(self, message: protocol.Message) -> dict[str, Any]:
        with protocol.reading("hello"):
            trunk_id = TrunkId(UUID(str(message["trunk_id"])))
            profile = NetworkProfile.parse(dict(message["profile"]))
        if self._pump:
            self._pump.leave(self._report)
        self._network, self._pump = self._server.open_trunk(trunk_id, profile)
        return {"ok": True}

    def _place(self, message: protocol.Message) -> dict[str, Any] | None:
        network, pump = self._opened()
        placement = network.place(protocol.decode_request(message), self._server.clock())
        pump.wake()
        return None if isinstance(placement, Unclear) else protocol.encode_placement(placement)

    def _look_up(self, message: protocol.Message) -> dict[str, Any]:
        network, _ = self._opened()
        return protocol.encode_lookup_result(network.look_up(protocol.decode_attempt_id(message), self._server.clock()))

    def _hang_up(self, message: protocol.Message) -> dict[str, Any]:
        network, pump = self._opened()
        network.hang_up(protocol.decode_attempt_id(message), self._server.clock())
        pump.wake()
        return {"ok": True}

    def _health(self, _: protocol.Message) -> dict[str, Any]:
        return {"ok": True}

    def _subscribe(self, _: protocol.Message) -> dict[str, Any]:
        self._opened()[1].join(self._report)
        return {"ok": True}

    def _acknowledge(self, message: protocol.Message) -> None:
        _, pump = self._opened()
        with protocol.reading("deliveries"):
            deliveries = frozenset(message["deliveries"])
        pump.acknowledge(self._report, deliveries)

    def _report(self, reports: Sequence[tuple[str, CallEvent]]) -> None:
        self.send({"reports": [(delivery, protocol.encode_event(event)) for delivery, event in reports]})
