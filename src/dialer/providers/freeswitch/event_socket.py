"""Connects to the Event Socket of a FreeSWITCH, and receives the events of its calls.

In: events. Out: batches of call events, and whether they are all that FreeSWITCH has sent. FreeSWITCH keeps no events
for a listener that is away: look-ups find what was missed.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from dialer.domain.call import CallEvent
from dialer.domain.outcomes import RefusalCause
from dialer.errors import Unavailable
from dialer.providers import sockets
from dialer.providers.egress import AddressRefused, Egress
from dialer.providers.event_source import LinkLost, Received
from dialer.providers.freeswitch.config import FreeSwitchConfig
from dialer.providers.freeswitch.esl import EslConnection, Frame, SwitchEvent
from dialer.providers.freeswitch.events import ChannelEventReader, Unreadable

C = TypeVar("C", bound=EslConnection)

ASK_EVERY_SECONDS = 5.0
# Back-pressure: with this many events, or bytes of events, waiting here we stop reading. FreeSWITCH then keeps up to
# 100,000 events itself.
MOST_WAITING = 5000
MOST_WAITING_BYTES = 8 * 1024 * 1024

log = structlog.get_logger()


class ListeningConnection(EslConnection):
    """Keeps events until they are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[SwitchEvent] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self.is_paused = False

    def received(self, event: SwitchEvent) -> None:
        self._events.append(event)
        self._bytes += event.size
        is_full = len(self._events) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES
        if is_full and not self.is_paused:
            self.is_paused = True
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._news.set()

    async def news(self, seconds: float) -> bool:
        """Wait until anything is received or the connection ends; False: neither happened in this time."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> list[SwitchEvent]:
        """Return the events received so far, and resume reading."""
        events, self._events, self._bytes = self._events, [], 0
        if not self.gone.done():
            self._news.clear()
            if self.is_paused:
                self.is_paused = False
                self._transport.resume_reading()
        return events

    @property
    def end(self) -> str | None:
        """Why the connection has ended; None: it has not."""
        return str(self.why) if self.gone.done() else None


async def receive(
    open_connection: Callable[[], Awaitable[ListeningConnection]],
    reader: ChannelEventReader,
    timeout_seconds: float,
    ask_every_seconds: float = ASK_EVERY_SECONDS,
) -> AsyncGenerator[Received, None]:
    """Open one connection and yield what it receives; raises LinkLost."""
    try:
        connection = await open_connection()
    except (OSError, Unavailable) as error:
        raise LinkLost(str(error)) from error
    heartbeat = _Heartbeat(connection, timeout_seconds, ask_every_seconds)
    try:
        yield Received(is_up=True)
        while True:
            has_news = await connection.news(heartbeat.wait_seconds)
            # In this order: all events that were sent before the answer are taken with it.
            end, is_answered = connection.end, heartbeat.is_answered
            events, unreadable = _read(connection.take(), reader)
            gap = f"FreeSWITCH has sent what cannot be read: {unreadable}" if unreadable else None
            yield Received(events, is_answered and end is None, gap)
            if end is not None:
                raise LinkLost(end)
            heartbeat.advance(is_answered, has_news)
    finally:
        await connection.close()


def _read(received: Sequence[SwitchEvent], reader: ChannelEventReader) -> tuple[list[CallEvent], str | None]:
    """Return the call events, and why the last unreadable event cannot be read."""
    events: list[CallEvent] = []
    unreadable = None
    for event in received:
        try:
            events += reader.read(event)
        except Unreadable as error:
            unreadable = str(error)
            log.warning("event of freeswitch cannot be read", reason=unreadable)
    return events, unreadable


class _Heartbeat:
    """Asks FreeSWITCH for its status every few seconds, to notice a dead peer."""

    def __init__(self, connection: EslConnection, timeout_seconds: float, ask_every_seconds: float) -> None:
        self._connection = connection
        self._timeout_seconds = timeout_seconds
        self._ask_every_seconds = ask_every_seconds
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Frame] | None = None
        self._ask_at = self._loop.time() + ask_every_seconds

    @property
    def wait_seconds(self) -> float:
        return self._timeout_seconds if self._answer else max(0.0, self._ask_at - self._loop.time())

    @property
    def is_answered(self) -> bool:
        return self._answer is not None and self._answer.done()

    def advance(self, is_answered: bool, has_news: bool) -> None:
        """Ask when it is time; raises LinkLost when nothing at all was received while an answer was awaited."""
        if is_answered:
            self._answer, self._ask_at = None, self._loop.time() + self._ask_every_seconds
        elif self._answer and not has_news:
            raise LinkLost("FreeSWITCH does not answer any more")
        elif not self._answer and self._loop.time() >= self._ask_at and self._connection.is_usable:
            self._answer = self._connection.send("api status")


async def connect(config: FreeSwitchConfig, password: str, make: type[C], events: str, egress: Egress) -> C:
    """Open a connection and log in; raises Unavailable, whose `code` is the cause.

    `events`: the names of the events to subscribe to; empty: none.
    """
    try:
        transport, connection = await egress.connect(
            config.host,
            config.port,
            config.timeout_seconds,
            lambda address: asyncio.get_running_loop().create_connection(make, address, config.port),
        )
        for option in sockets.options(config.timeout_seconds):
            transport.get_extra_info("socket").setsockopt(*option)
    except TimeoutError as error:
        raise Unavailable(f"{config.address} does not answer", code=RefusalCause.NETWORK_UNREACHABLE) from error
    except AddressRefused as error:
        raise Unavailable(f"{config.address}: {error}", code=RefusalCause.NETWORK_UNREACHABLE) from error
    except OSError as error:
        raise Unavailable(
            f"Nothing listens at {config.address}: {error}", code=RefusalCause.NETWORK_UNREACHABLE
        ) from error
    try:
        async with asyncio.timeout(config.timeout_seconds):
            await _log_in(connection, config, password, events)
    except BaseException as error:
        await connection.close()
        if isinstance(error, OSError):
            raise _no_event_socket(config, error) from error
        raise
    return connection


async def _log_in(connection: EslConnection, config: FreeSwitchConfig, password: str, events: str) -> None:
    await connection.greeted
    if not (await connection.send(f"auth {password}")).reply.startswith("+OK"):
        raise Unavailable(f"FreeSWITCH at {config.address} refuses the password", code=RefusalCause.WRONG_CREDENTIALS)
    if events and not (await connection.send(f"event plain {events}")).reply.startswith("+OK"):
        raise Unavailable(f"FreeSWITCH at {config.address} does not send its events", code="events_refused")


def _no_event_socket(config: FreeSwitchConfig, error: OSError) -> Unavailable:
    if isinstance(error, TimeoutError):
        reason = f"{config.address} took the connection, but does not greet as a FreeSWITCH Event Socket does"
        return Unavailable(reason, code=RefusalCause.NETWORK_UNREACHABLE)
    return Unavailable(f"{config.address} is no working Event Socket: {error}", code=RefusalCause.NETWORK_UNREACHABLE)
