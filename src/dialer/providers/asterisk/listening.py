"""Listens to an Asterisk: one WebSocket, opened anew when it is lost.

In: what ARI sends. Out: call events, handed over in batches, and word of how the connection is. Each connection is an
application of its own that hears all channels, so that any number of listeners hear the same. Asterisk keeps nothing
for those who were away: that is told, and asked for by others.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from dialer.domain.events import CallEvent
from dialer.providers.asterisk.answers import sentence
from dialer.providers.asterisk.ari import Answer, described, trusted
from dialer.providers.asterisk.reading import Calls, Unreadable
from dialer.providers.base import HandOver, Linked

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PING_SECONDS = 5.0
BATCH = 500
LONGEST_MESSAGE = 128 * 1024
MOST_WAITING = 256
CLOSING_SECONDS = 1.0

log = structlog.get_logger()

# At its most talkative this logger writes the headers of requests, the password among them.
_quiet = logging.getLogger("dialer.providers.asterisk.websocket")
_quiet.setLevel(logging.WARNING)


class LinkLost(Exception):
    """The connection is not up; says why."""


class _Direct(connect):
    """Connects to the address it was given, and to no other: what follows a redirect would show it the password."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Listening:
    """Listens to one Asterisk, with a memory of its calls that outlives a connection."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_seconds: float, calls: Calls) -> None:
        self._url = url
        self._headers = headers
        self._timeout = timeout_seconds
        self._calls = calls

    async def run(self, hand_over: HandOver, linked: Linked) -> None:
        """Hand over events until cancelled, or until `hand_over` or `linked` raises."""
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while True:
            began = loop.time()
            try:
                async with self._connected() as frames:
                    await self._pass_on(frames, hand_over, linked)
            except LinkLost as lost:
                log.info("link to asterisk lost", reason=str(lost))
                await linked(str(lost))
            if loop.time() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["Frames"]:
        app = f"dialer-{secrets.token_hex(8)}"
        url = f"ws{self._url.removeprefix('http')}/events?app={app}&subscribeAll=true"
        try:
            socket = await _Direct(
                url,
                additional_headers=self._headers,
                compression=None,
                proxy=None,
                open_timeout=self._timeout,
                close_timeout=CLOSING_SECONDS,
                ping_interval=None,  # Frames asks for itself, and in order with what is received
                max_size=LONGEST_MESSAGE,
                max_queue=MOST_WAITING,
                logger=_quiet,
                ssl=trusted() if url.startswith("wss") else None,
            )
        except (OSError, TimeoutError, WebSocketException, ValueError) as error:
            raise LinkLost(_reason(error, self._timeout)) from error
        frames = Frames(socket, self._timeout)
        try:
            yield frames
        finally:
            await frames.close()

    async def _pass_on(self, frames: "Frames", hand_over: HandOver, linked: Linked) -> None:
        while True:
            batch, is_all = await frames.next()
            events, unreadable = self._read(batch)
            if events:
                await hand_over(events)
            if unreadable:
                # It may have been a report: until the next word that all is well, it counts as a gap.
                log.warning("message from asterisk cannot be read", reason=unreadable)
                await linked(f"Asterisk has sent what cannot be read: {unreadable}")
            elif is_all:
                await linked(None)

    def _read(self, batch: list[bytes]) -> tuple[list[CallEvent], str | None]:
        events: list[CallEvent] = []
        unreadable = None
        for frame in batch:
            try:
                events += self._calls.read(frame)
            except Unreadable as error:
                unreadable = str(error)
        return events, unreadable


class Frames:
    """The messages of one connection, and the answers to our pings among them.

    Asterisk answers a ping only after it has sent all that it had to say before, and has begun to send us all channels.
    """

    def __init__(self, socket: ClientConnection, timeout_seconds: float) -> None:
        self._socket = socket
        self._timeout = timeout_seconds
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
            raise LinkLost(_reason(error, self._timeout)) from error

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
            self._pong, self._due = None, self._loop.time() + PING_SECONDS
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


def _reason(error: Exception, timeout_seconds: float) -> str:
    match error:
        case InvalidStatus():
            return sentence(Answer(error.response.status_code, None))
        case ConnectionClosed(sent=sent) if sent is not None and sent.code == 1009:
            return f"Asterisk has sent a message of more than {LONGEST_MESSAGE} bytes"
        case ConnectionClosed():
            return f"Asterisk has closed the connection ({error})"
        case WebSocketException():
            return f"what answers does not speak WebSocket ({error})"
        case _:
            return f"Asterisk does not answer: {described(error, timeout_seconds)}"
