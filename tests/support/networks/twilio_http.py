"""HTTP/1.1 for a mock carrier: each request goes to one function, which answers, breaks off or is silent.

Connections are kept alive, as a real server's are, and every one of them is broken when the server is closed.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11


@dataclass(frozen=True, slots=True)
class Asked:
    """`target`: the path with its query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_cut`: the connection breaks in the middle of the body."""

    status: int
    body: bytes
    is_cut: bool = False
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)

    @classmethod
    def of(cls, status: int, value: Any, *, is_cut: bool = False) -> "Answer":
        return cls(status, json.dumps(value).encode(), is_cut)


Handle = Callable[[Asked], Awaitable[Answer | None]]


@dataclass
class Serving:
    """A server that runs. `connections`: how many were opened so far."""

    handle: Handle
    port: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _open: dict[asyncio.StreamWriter, asyncio.Future[None]] = field(default_factory=dict)

    async def start(self, port: int, secure: ssl.SSLContext | None, host: str) -> None:
        self._server = await asyncio.start_server(self._converse, host, port, ssl=secure)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Called twice: the same."""
        if self._server:
            self._server.close()
        gone = list(self._open.values())
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*gone)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[writer] = asyncio.get_running_loop().create_future()
        try:
            await self._answer_all(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError):
            pass  # whoever asked has gone, or does not speak HTTP
        finally:
            writer.close()
            self._open.pop(writer).set_result(None)

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = h11.Connection(h11.SERVER)
        while (asked := await _read(protocol, reader)) is not None:
            answer = await self.handle(asked)
            if answer is None:
                await reader.read()
                return
            writer.write(_head(protocol, answer))
            if answer.is_cut:
                writer.write(answer.body[: len(answer.body) // 2])
                await writer.drain()
                return
            writer.write((protocol.send(h11.Data(answer.body)) or b"") + (protocol.send(h11.EndOfMessage()) or b""))
            await writer.drain()
            if protocol.our_state is not h11.DONE or protocol.their_state is not h11.DONE:
                return
            protocol.start_next_cycle()


@asynccontextmanager
async def serving(
    handle: Handle, port: int = 0, secure: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Serving]:
    server = Serving(handle)
    await server.start(port, secure, host)
    try:
        yield server
    finally:
        await server.close()


async def _read(protocol: h11.Connection, reader: asyncio.StreamReader) -> Asked | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        match protocol.next_event():
            case h11.NEED_DATA:
                protocol.receive_data(await reader.read(65536))
            case h11.Request() as request:
                head = request
            case h11.Data(data=piece):
                body += piece
            case h11.EndOfMessage() if head is not None:
                headers = {name.decode().lower(): value.decode() for name, value in head.headers}
                return Asked(head.method.decode(), head.target.decode(), headers, bytes(body))
            case _:
                return None


def _head(protocol: h11.Connection, answer: Answer) -> bytes:
    headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
    return protocol.send(h11.Response(status_code=answer.status, headers=headers)) or b""
