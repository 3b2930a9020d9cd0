"""Receives the events of an Asterisk on a WebSocket.

In: ARI's messages. Out: batches of call events, and whether they are all that Asterisk has sent. Each connection is a
Stasis application of its own that subscribes to all channels, so that any number of listeners receive the same events.
Asterisk keeps no events for a listener that is away: look-ups find what was missed.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from dialer.domain.call import CallEvent
from dialer.providers.asterisk.ari import AriResponse
from dialer.providers.asterisk.events import AriEventReader, Unreadable
from dialer.providers.asterisk.responses import error_text
from dialer.providers.egress import Egress
from dialer.providers.event_source import LinkLost, Received
from dialer.providers.http_client import explain, printable, trust

PING_SECONDS = 5.0
BATCH = 500
LONGEST_MESSAGE = 128 * 1024
MOST_WAITING = 256
CLOSING_SECONDS = 1.0

log = structlog.get_logger()

# On level DEBUG this logger writes the headers of requests, the password among them.
_quiet = logging.getLogger("dialer.providers.asterisk.websocket")
_quiet.setLevel(logging.WARNING)


async def receive(
    url: str,
    headers: Mapping[str, str],
    timeout_seconds: float,
    reader: AriEventReader,
    *,
    egress: Egress,
    ping_seconds: float = PING_SECONDS,
) -> AsyncGenerator[Received, None]:
    """Open one connection and yield what it receives; raises LinkLost. `reader` may outlive the connection."""
    socket = await _open(url, headers, timeout_seconds, egress)
    messages = SocketMessages(socket, timeout_seconds, ping_seconds)
    try:
        while True:
            batch, is_all = await messages.next()
            events, unreadable = _read(batch, reader)
            if unreadable:
                log.warning("message from asterisk cannot be read", reason=unreadable)
            gap = f"Asterisk has sent what cannot be read: {unreadable}" if unreadable else None
            yield Received(events, is_all, gap)
    finally:
        await messages.close()


class SocketMessages:
    """The messages of one WebSocket, taken in batches, and the answers to our pings among them.

    Asterisk answers a ping only after it has sent all that it had to send before, and has subscribed us to all
    channels. The library's own pings do not tell an answer's place among the messages.
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
        """Return what was received, and whether that is all that Asterisk sent before it answered our last ping.

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
        # Read before the messages are taken: then all messages that came before the answer are among those taken.
        is_answered = self._pong is not None and self._pong.done()
        batch = await self._take()
        is_all = is_answered and not self._next.done()
        if is_all:
            self._pong, self._due = None, self._loop.time() + self._ping_seconds
        elif batch and self._pong is not None:
            self._due = self._loop.time() + self._timeout
        elif self._pong is not None and self._loop.time() >= self._due:
            raise TimeoutError
        return batch, is_all

    async def _take(self) -> list[bytes]:
        """Take the received messages without waiting for more; an error comes after the messages before it."""
        batch: list[bytes] = []
        await asyncio.sleep(0)
        while self._next.done() and len(batch) < BATCH:
            if batch and self._next.exception():
                break
            batch.append(self._next.result())
            self._next = self._receive()
            await asyncio.sleep(0)
        return batch


class _ConnectWithoutRedirects(connect):
    """Connects to the given address only: a redirect would send the password to another server."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _open(url: str, headers: Mapping[str, str], timeout_seconds: float, egress: Egress) -> ClientConnection:
    app = f"dialer-{secrets.token_hex(8)}"
    socket_url = f"ws{url.removeprefix('http')}/events?app={app}&subscribeAll=true"

    async def open_at(address: str) -> ClientConnection:
        return await _ConnectWithoutRedirects(
            socket_url,
            host=address,
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=timeout_seconds,
            close_timeout=CLOSING_SECONDS,
            ping_interval=None,  # SocketMessages pings, see there
            max_size=LONGEST_MESSAGE,
            max_queue=MOST_WAITING,
            logger=_quiet,
            ssl=trust(socket_url) if socket_url.startswith("wss") else None,
        )

    try:
        return await egress.connect(*_host_and_port(socket_url), timeout_seconds, open_at)
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        raise LinkLost(_reason(error, timeout_seconds)) from error


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)


def _read(batch: Sequence[bytes], reader: AriEventReader) -> tuple[list[CallEvent], str | None]:
    """Return the events of these messages, and why the last unreadable one cannot be read."""
    events: list[CallEvent] = []
    unreadable = None
    for message in batch:
        try:
            events += reader.read(message)
        except Unreadable as error:
            unreadable = str(error)
    return events, unreadable


def _reason(error: Exception, timeout_seconds: float) -> str:
    match error:
        case InvalidStatus():
            return error_text(AriResponse(error.response.status_code, None))
        case ConnectionClosed(sent=sent) if sent is not None and sent.code == 1009:
            return f"Asterisk has sent a message of more than {LONGEST_MESSAGE} bytes"
        case ConnectionClosed():
            return f"Asterisk has closed the connection ({printable(str(error))})"
        case WebSocketException():
            return f"what answers does not speak WebSocket ({printable(str(error))})"
        case _:
            _, reason = explain(error, timeout_seconds)
            return f"Asterisk does not answer: {reason}"
