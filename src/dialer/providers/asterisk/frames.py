"""The messages of one WebSocket to an Asterisk, taken in batches, and its answers to our pings among them.

In: an open connection. Out: what has come, and whether that is all that Asterisk had sent; `LinkLost` once it is over,
after all that came before. Nothing is read into the messages here.
"""

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from dialer.providers.asterisk.ari import AriResponse
from dialer.providers.asterisk.responses import sentence
from dialer.providers.http_client import explain, printable

BATCH = 500
LONGEST_MESSAGE = 128 * 1024


class LinkLost(Exception):
    """The connection is not up; says why."""


class Frames:
    """The messages of one connection, and the answers to our pings among them.

    Asterisk answers a ping only after it has sent all that it had to say before, and has begun to send us all channels.
    """

    def __init__(self, socket: ClientConnection, timeout_seconds: float, ping_seconds: float) -> None:
        self._socket = socket
        self._timeout = timeout_seconds
        self._ping_seconds = ping_seconds
        self._loop = asyncio.get_running_loop()
        self._next = self._receive()
        self._pong: asyncio.Future[float] | None = None
        self._due = self._loop.time()

    async def next(self) -> tuple[list[bytes], bool]:
        """Return what has come, and whether that is all that Asterisk had sent when it answered our last ping.

        Raises LinkLost when there is nothing more.
        """
        try:
            return await self._wait()
        except (OSError, TimeoutError, WebSocketException) as error:
            raise LinkLost(reason_of(error, self._timeout)) from error

    async def close(self) -> None:
        self._next.cancel()
        if self._pong is not None:
            self._pong.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self._socket.close()

    def _receive(self) -> asyncio.Task[bytes]:
        return self._loop.create_task(self._socket.recv(decode=False))

    async def _wait(self) -> tuple[list[bytes], bool]:
        if self._pong is None and self._loop.time() >= self._due:
            async with asyncio.timeout(self._timeout):
                self._pong = asyncio.ensure_future(await self._socket.ping())
            self._due = self._loop.time() + self._timeout
        waiting: set[asyncio.Future[Any]] = {self._next} if self._pong is None else {self._next, self._pong}
        await asyncio.wait(waiting, timeout=self._due - self._loop.time(), return_when=asyncio.FIRST_COMPLETED)
        # Seen before what has come is taken, so that all that came before the answer is taken.
        is_answered = self._pong is not None and self._pong.done()
        found = await self._take()
        is_all = is_answered and not self._next.done()
        if is_all:
            self._pong, self._due = None, self._loop.time() + self._ping_seconds
        elif found and self._pong is not None:
            self._due = self._loop.time() + self._timeout
        elif self._pong is not None and self._loop.time() >= self._due:
            raise TimeoutError
        return found, is_all

    async def _take(self) -> list[bytes]:
        """Take what has come without waiting for more; an end comes after what came before it."""
        found: list[bytes] = []
        await asyncio.sleep(0)
        while self._next.done() and len(found) < BATCH:
            if found and self._next.exception():
                break
            found.append(self._next.result())
            self._next = self._receive()
            await asyncio.sleep(0)
        return found


def reason_of(error: Exception, timeout_seconds: float) -> str:
    match error:
        case InvalidStatus():
            return sentence(AriResponse(error.response.status_code, None))
        case ConnectionClosed(sent=sent) if sent is not None and sent.code == 1009:
            return f"Asterisk has sent a message of more than {LONGEST_MESSAGE} bytes"
        case ConnectionClosed():
            return f"Asterisk has closed the connection ({printable(str(error))})"
        case WebSocketException():
            return f"what answers does not speak WebSocket ({printable(str(error))})"
        case _:
            _, reason = explain(error, timeout_seconds)
            return f"Asterisk does not answer: {reason}"
