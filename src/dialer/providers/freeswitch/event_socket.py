"""Listening: the events of our calls, handed over in their order, on a connection that is opened again and again.

In: events. Out: reports, and how the connection is. FreeSWITCH keeps nothing for whoever was not there: what was
missed is found by look-ups.
"""

import asyncio
from collections.abc import Awaitable, Callable

from dialer.errors import Unavailable
from dialer.providers.base import OnEvents, OnLinkState
from dialer.providers.freeswitch.esl import Connection
from dialer.providers.freeswitch.events import Reports
from dialer.providers.freeswitch.frames import Event, Frame

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
ASK_EVERY_SECONDS = 5.0
# As many events, or bytes of events, wait here; then FreeSWITCH keeps the others, of which it keeps a hundred thousand.
MOST_WAITING = 5000
MOST_WAITING_BYTES = 8 * 1024 * 1024


class ListeningConnection(Connection):
    """Events that wait to be handed over."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[Event] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._is_paused = False

    def heard(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += event.size
        is_full = len(self._events) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES
        if is_full and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._news.set()

    async def news(self, seconds: float) -> bool:
        """Wait for anything at all to come, or for the end; say whether it did."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> list[Event]:
        """Return what has come, and read on."""
        events, self._events, self._bytes = self._events, [], 0
        if not self.gone.done():
            self._news.clear()
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
        return events

    @property
    def end(self) -> str | None:
        """Why the connection is over; None: it is not."""
        return str(self.why) if self.gone.done() else None


async def listen(
    open_one: Callable[[], Awaitable[ListeningConnection]],
    reports: Callable[[], Reports],
    patience_seconds: float,
    on_events: OnEvents,
    on_link_state: OnLinkState,
    ask_every_seconds: float = ASK_EVERY_SECONDS,
) -> None:
    """Pass on reports until cancelled, or until `on_events` raises. `reports`: made anew for each connection."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            connection = await open_one()
        except (OSError, Unavailable) as error:
            await on_link_state(str(error))
        else:
            hearing = _Hearing(connection, reports(), patience_seconds, ask_every_seconds)
            try:
                await on_link_state(await hearing.to_the_end(on_events, on_link_state))
            finally:
                await connection.close()
            if hearing.has_lasted:
                pause = FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _Hearing:
    """One connection. `has_lasted`: it was up long enough to be asked."""

    def __init__(
        self, connection: ListeningConnection, reports: Reports, patience_seconds: float, ask_every_seconds: float
    ) -> None:
        self._connection = connection
        self._reports = reports
        self._patience_seconds = patience_seconds
        self._ask_every_seconds = ask_every_seconds
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[Frame] | None = None
        self._ask_at = self._loop.time() + self._ask_every_seconds
        self.has_lasted = False

    async def to_the_end(self, on_events: OnEvents, on_link_state: OnLinkState) -> str:
        """Hand over until the connection is over; return why it is."""
        await on_link_state(None)
        while True:
            has_come = await self._connection.news(self._wait_seconds())
            # In this order: an answer that is here now came after all that is taken now.
            end, is_answered = self._connection.end, self._asked is not None and self._asked.done()
            told = [one for event in self._connection.take() for one in self._reports.read(event)]
            if told:
                await on_events(told)
            if end is not None:
                return end
            if is_answered:
                self._asked = None
                self._ask_at = self._loop.time() + self._ask_every_seconds
                self.has_lasted = True
                await on_link_state(None)
            elif self._asked and not has_come:
                return "FreeSWITCH does not answer any more"
            elif not self._asked and self._loop.time() >= self._ask_at and self._connection.is_usable:
                self._asked = self._connection.send("api status")

    def _wait_seconds(self) -> float:
        return self._patience_seconds if self._asked else max(0.0, self._ask_at - self._loop.time())
