"""A TCP server that speaks what a test scripts, byte for byte: no protocol, or a broken one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

OnConnection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(
    on_connection: OnConnection, secure: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Run `on_connection` for each connection to a free port of loopback; yield the port."""
    async with await asyncio.start_server(on_connection, host, 0, ssl=secure) as server:
        yield server.sockets[0].getsockname()[1]
