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
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from dialer.domain.call import CallEvent
from dialer.providers.asterisk.events import Calls, Unreadable
from dialer.providers.asterisk.frames import LONGEST_MESSAGE, Frames, LinkLost, reason_of
from dialer.providers.base import OnEvents, OnLinkState
from dialer.providers.egress import THIS_MACHINE, Egress
from dialer.providers.http_client import trust

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PING_SECONDS = 5.0
MOST_WAITING = 256
CLOSING_SECONDS = 1.0

log = structlog.get_logger()

# At its most talkative this logger writes the headers of requests, the password among them.
_quiet = logging.getLogger("dialer.providers.asterisk.websocket")
_quiet.setLevel(logging.WARNING)


class _Direct(connect):
    """Connects to the address it was given, and to no other: what follows a redirect would show it the password."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Listening:
    """Listens to one Asterisk, with a memory of its calls that outlives a connection."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        calls: Calls,
        *,
        ping_seconds: float = PING_SECONDS,
        egress: Egress = THIS_MACHINE,
    ) -> None:
        self._url = url
        self._headers = headers
        self._timeout = timeout_seconds
        self._calls = calls
        self._ping_seconds = ping_seconds
        self._egress = egress

    async def run(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Hand over events until cancelled, or until `on_events` or `on_link_state` raises."""
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while True:
            began = loop.time()
            try:
                async with self._connected() as frames:
                    await self._pass_on(frames, on_events, on_link_state)
            except LinkLost as lost:
                await on_link_state(str(lost))
            if loop.time() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Frames]:
        app = f"dialer-{secrets.token_hex(8)}"
        url = f"ws{self._url.removeprefix('http')}/events?app={app}&subscribeAll=true"
        try:
            socket = await self._egress.connect(*_address(url), self._timeout, lambda address: self._open(url, address))
        except (OSError, TimeoutError, WebSocketException, ValueError) as error:
            raise LinkLost(reason_of(error, self._timeout)) from error
        frames = Frames(socket, self._timeout, self._ping_seconds)
        try:
            yield frames
        finally:
            await frames.close()

    async def _open(self, url: str, address: str) -> ClientConnection:
        return await _Direct(
            url,
            host=address,
            additional_headers=self._headers,
            compression=None,
            proxy=None,
            open_timeout=self._timeout,
            close_timeout=CLOSING_SECONDS,
            ping_interval=None,  # Frames asks for itself, and in order with what is received
            max_size=LONGEST_MESSAGE,
            max_queue=MOST_WAITING,
            logger=_quiet,
            ssl=trust(url) if url.startswith("wss") else None,
        )

    async def _pass_on(self, frames: Frames, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        while True:
            batch, is_all = await frames.next()
            events, unreadable = self._read(batch)
            if events:
                await on_events(events)
            if unreadable:
                # It may have been a report: until the next word that all is well, it counts as a gap.
                log.warning("message from asterisk cannot be read", reason=unreadable)
                await on_link_state(f"Asterisk has sent what cannot be read: {unreadable}")
            elif is_all:
                await on_link_state(None)

    def _read(self, batch: list[bytes]) -> tuple[list[CallEvent], str | None]:
        events: list[CallEvent] = []
        unreadable = None
        for frame in batch:
            try:
                events += self._calls.read(frame)
            except Unreadable as error:
                unreadable = str(error)
        return events, unreadable


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
