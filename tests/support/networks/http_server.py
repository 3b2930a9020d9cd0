"""A small HTTP/1.1 server for fake networks. It can also keep silent, break off in the middle, and send invalid HTTP.

In: a function that answers requests. Out: its replies, over connections that are kept alive, and their number.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class HttpRequest:
    """`target`: the path with its query. `headers`: with lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
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


@dataclass(frozen=True)
class Reply:
    """`status` None: no reply at all. `content`: the body, bytes or a value to be sent as JSON. `cut`: break off in the
    middle of it. `raw`: these bytes instead.
    """

    status: int | None
    content: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    raw: bytes | None = None


Answer = Callable[[HttpRequest], Awaitable[Reply]]


class HttpServer:
    """Belongs to the running event loop. `connections`: how many were opened so far."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server

    @classmethod
    async def start(
        cls,
        answer: Answer,
        port: int = 0,
        secure: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> Self:
        server = cls(answer)
        server._server = await asyncio.start_server(server._serve, host, port, ssl=secure)
        server.port = server._server.sockets[0].getsockname()[1]
        return server

    async def close(self) -> None:
        """Stop, and break every connection; called twice: the same."""
        self._server.close()
        for connection in list(self._open):
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            while request := await _read(reader):
                if not await _write(writer, await self._answer(request)):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client is gone, or we are closing: a task that ends cancelled here would be logged as an error.
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()


@asynccontextmanager
async def serving(
    answer: Answer, port: int = 0, secure: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[HttpServer]:
    server = await HttpServer.start(answer, port, secure, host)
    try:
        yield server
    finally:
        await server.close()


async def _read(reader: asyncio.StreamReader) -> HttpRequest | None:
    """Read one request; None: it is no HTTP, but a TLS handshake."""
    first_byte = await reader.readexactly(1)
    if not first_byte.isalpha():
        return None
    head = (first_byte + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return HttpRequest(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Send the answer; False: the connection is to be broken."""
    if reply.status is None and reply.raw is None:
        await asyncio.Event().wait()
    whole = reply.raw if reply.raw is not None else _encode(reply)
    writer.write(whole[:-5] if reply.cut else whole)
    await writer.drain()
    if reply.cut or reply.raw is not None:
        writer.close()
        return False
    return True


def _encode(reply: Reply) -> bytes:
    body = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
    headers = {"content-length": str(len(body)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} .", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
