"""JSON objects, one a line, over one TCP connection: what the client's and the server's end have in common.

In: bytes, in pieces of any size. Out: whole messages, in order. A line that is no JSON object is told to `refuse`; one
that is longer than a message can be ends the connection.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

LINE_LIMIT = 1 << 20


class JsonLines(asyncio.Protocol, ABC):
    """One end of a connection; each end says what it does with a message."""

    def __init__(self) -> None:
        self._rest = b""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abstractmethod
    def received(self, message: Mapping[str, Any]) -> None:
        """Act on a message of the other end."""

    @abstractmethod
    def refuse(self, reason: str) -> None:
        """Act on a line that is no message."""

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def send(self, message: Mapping[str, Any]) -> None:
        if self.is_open:
            self._transport.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Send what is left and hang up; `gone` is set once that is done."""
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > LINE_LIMIT for line in (*lines, self._rest)):
            self._rest = b""
            self.refuse(f"a line is longer than {LINE_LIMIT} bytes")
            self.close()
            return
        for line in lines:
            self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self.refuse("a line is not JSON")
            return
        if isinstance(message, dict):
            self.received(message)
        else:
            self.refuse("a line is not a JSON object")
