"""A blocking client of the simulated network, as a telephony SDK would be one."""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from dialer.providers.simulator.protocol import Message

PLACE_BY_SECONDS = 15
RING_SECONDS = 30
TIMEOUT_SECONDS = 5.0


class NetworkError(Exception):
    """The network refused the call, or did not answer."""


class Network:
    """One connection. `trunk_id` and `profile` name the network."""

    def __init__(self, address: tuple[str, int], trunk_id: UUID, profile: Mapping[str, Any]) -> None:
        self._address, self._hello = address, {"op": "hello", "trunk_id": str(trunk_id), "profile": dict(profile)}
        self._number = 0
        self._connect()

    def place(self, call_id: UUID, to_number: str, from_number: str, now: float) -> str:
        """Place one call and return the network's id of it. Raises NetworkError."""
        request = {
            "attempt_id": str(call_id),
            "to_number": to_number,
            "from_number": from_number,
            "ring_timeout_seconds": RING_SECONDS,
            "place_by": int((now + PLACE_BY_SECONDS) * 1_000_000),
            "ring_by": None,
        }
        try:
            answer = self._ask({"op": "place", "request": request})
        except OSError as error:
            self._connect()
            raise NetworkError(str(error)) from error
        if "placed" not in answer:
            raise NetworkError(str(answer))
        return str(answer["placed"])

    def reports(self) -> Iterator[Sequence[Any]]:
        """Yield reports as they come; each page is acknowledged when the next one is asked for."""
        self._ask({"op": "subscribe"})
        self._socket.settimeout(None)
        while True:
            pairs = json.loads(self._file.readline())["reports"]
            yield [event for _, event in pairs]
            self._send({"op": "acknowledge", "deliveries": [delivery for delivery, _ in pairs]})

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._ask(self._hello)

    def _ask(self, message: Message) -> Message:
        self._number += 1
        self._send({"id": self._number, **message})
        answer: Message = json.loads(self._file.readline())
        return answer

    def _send(self, message: Message) -> None:
        self._socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
