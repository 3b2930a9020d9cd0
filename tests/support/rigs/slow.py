"""A proxy to a carrier on which connecting takes a second or more."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SlowDoor:
    """Forwards connections to a local port once it is opened. `passed`: what clients have sent so far.

    Until then its backlog is full, so that the kernel drops SYN packets; clients send them again after a second.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self.port: int = self._listening.getsockname()[1]
        self._filler = socket.create_connection(("127.0.0.1", self.port))
        self.passed = bytearray()

    async def open(self) -> None:
        self._listening.setblocking(False)
        first, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        first.close()
        self._filler.close()
        self._server = await asyncio.start_server(self._pass_on, sock=self._listening)

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, to_inner = await asyncio.open_connection("127.0.0.1", self._behind)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, to_inner, self.passed))
                both.create_task(self._copy(inner, writer, bytearray()))
        except* OSError:
            pass  # one side has closed its connection
        finally:
            to_inner.close()
            writer.close()

    @staticmethod
    async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: bytearray) -> None:
        while data := await source.read(65_536):
            seen += data
            target.write(data)
        target.close()


@asynccontextmanager
async def slow_door(behind: int) -> AsyncIterator[SlowDoor]:
    door = SlowDoor(behind)
    try:
        yield door
    finally:
        await door.close()
