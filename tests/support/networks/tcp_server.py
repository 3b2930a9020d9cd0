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
    """Run `on_connection` for each connection to a free port of loopback; yield the port. At the end none is open."""
    open_connections: set[asyncio.Future[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(on_connection(reader, writer))
        open_connections.add(serving)
        try:
            await serving
        finally:
            open_connections.discard(serving)
            writer.close()

    async with await asyncio.start_server(serve, host, 0, ssl=secure) as server:
        yield server.sockets[0].getsockname()[1]
    for connection in open_connections:
        connection.cancel()
    await asyncio.gather(*open_connections, return_exceptions=True)
