"""A small HTTP/1.1 server for tests, which can also keep silent, break off in the middle, and send what is no HTTP.

In: what answers a request. Out: its answers, over connections that stay open, and how many of those there were.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Sent:
    """A request. `headers`: with lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer. `status` None: none at all. `content`: the body, as it is or to be made JSON. `cut`: break off in the
    middle of it. `raw`: these bytes instead.
    """

    status: int | None
    content: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    raw: bytes | None = None


class Web:
    """The server; belongs to the running event loop."""

    def __init__(self, answer: Callable[[Sent], Awaitable[Reply]]) -> None:
        self._answer = answer
        self._open: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server

    @classmethod
    async def start(
        cls,
        answer: Callable[[Sent], Awaitable[Reply]],
        port: int = 0,
        secure: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> Self:
        web = cls(answer)
        web._server = await asyncio.start_server(web._serve, host, port, ssl=secure)
        web.port = web._server.sockets[0].getsockname()[1]
        return web

    async def close(self) -> None:
        """Stop, and break every connection; called twice: the same."""
        self._server.close()
        for connection in list(self._open):
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = asyncio.current_task()
        assert mine is not None
        self._open.add(mine)
        self.connections += 1
        try:
            while sent := await _read(reader):
                if not await _write(writer, await self._answer(sent)):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client is gone, or we are closing: a task that ends cancelled here would be logged as an error.
            pass
        finally:
            self._open.discard(mine)
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Sent | None:
    """Read one request; None: the client has hung up."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return Sent(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


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
