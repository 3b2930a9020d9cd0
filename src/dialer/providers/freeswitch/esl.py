"""One connection to the Event Socket: commands go out, their answers come back in their order, events in between.

In: commands as text. Out: frames and events. Nothing is ever sent again: a command whose answer does not come may have
been carried out. A connection on which an answer is overdue is retired; who still waits on it may wait to the end.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TypeVar, cast

from dialer.domain.outcomes import RefusalCause
from dialer.errors import Unavailable
from dialer.providers import sockets
from dialer.providers.egress import THIS_MACHINE, AddressRefused, Egress
from dialer.providers.freeswitch.config import FreeSwitchConfig
from dialer.providers.freeswitch.frames import Event, Frame, Frames, Garbled, read_event

T = TypeVar("T")
C = TypeVar("C", bound="Connection")

LOST = "the connection was lost"


class Connection(asyncio.Protocol):
    """The client's end; belongs to the running event loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._users = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._why: OSError | Unavailable | None = None
        self.is_retired = False
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    @property
    def why(self) -> OSError | Unavailable:
        """Why the connection is over."""
        return self._why or ConnectionResetError(LOST)

    @property
    def is_usable(self) -> bool:
        return not self._transport.is_closing() and not self.is_retired

    def heard(self, event: Event) -> None:
        """Take an event. Which ones come was asked for with the command `event`."""

    def send(self, command: str, job: str | None = None) -> asyncio.Future[Frame]:
        """Send one command; its answer will come, or OSError or Unavailable.

        `job`: the Job-UUID of a background command, which is in its answer too.
        """
        if self._transport.is_closing():
            raise ConnectionResetError(LOST)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[job or str(next(self._numbers))] = answer
        sockets.reset_on_close(self._socket, True)
        self._transport.write(f"{command}\n\n".encode())
        return answer

    async def flowing(self) -> None:
        """Wait until all that was sent has left this process, so that what is sent now leaves now."""
        await self._flowing.wait()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep a retired connection open while somebody waits for what may still come on it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self.is_retired and not self._users:
                self.abort()

    def retire(self) -> None:
        """Send nothing more, also nothing that has not left yet: it would arrive at a time when nobody expects it."""
        self.is_retired = True
        if not self._flowing.is_set() or not self._users:
            self.abort()

    def abort(self) -> None:
        """Close the connection; a command that has had no answer and has not arrived is discarded."""
        self._transport.abort()

    async def close(self) -> None:
        self.abort()
        await self.gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._socket: socket.socket = transport.get_extra_info("socket")

    def eof_received(self) -> None:
        # Else asyncio would first send all that still waits in this process.
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            self._blame(exc)
        why = self.why
        fail(self.greeted, why)
        for answer in self._waiting.values():
            fail(answer, why)
        self._waiting.clear()
        self._flowing.set()
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._take(frame)
        except Garbled as error:
            self._blame(error)
            self.abort()

    def _blame(self, why: OSError | Unavailable) -> None:
        """Keep the first reason: after a rejection FreeSWITCH also says that it disconnects."""
        self._why = self._why or why

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case "command/reply" | "api/response":
                self._answer(frame)
            case "text/event-plain":
                self.heard(read_event(frame.body))
            case "auth/request" if not self.greeted.done():
                self.greeted.set_result(None)
            case "text/rude-rejection":
                reason = "FreeSWITCH does not let this address in: see apply-inbound-acl in event_socket.conf.xml."
                self._blame(Unavailable(reason, code="access_denied"))
            case "text/disconnect-notice":
                self._blame(ConnectionResetError("FreeSWITCH has closed the connection"))

    def _answer(self, frame: Frame) -> None:
        # Answers come in the order of the commands; those to background commands say in so many words whose they are.
        job = frame.head.get("Job-UUID", "")
        answer = self._waiting.pop(job or next(iter(self._waiting), ""), None)
        if answer and not answer.done():
            answer.set_result(frame)
        if not self._waiting:
            sockets.reset_on_close(self._socket, False)


async def connect(
    config: FreeSwitchConfig, password: str, make: type[C], events: str = "", egress: Egress = THIS_MACHINE
) -> C:
    """Open a connection and prove who we are; raises Unavailable, whose `code` is the cause.

    `events`: the names of those to subscribe to.
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
        raise Unavailable(f"{config.address} does not answer.", code=RefusalCause.NETWORK_UNREACHABLE) from error
    except AddressRefused as error:
        raise Unavailable(f"{config.address}: {error}.", code=RefusalCause.NETWORK_UNREACHABLE) from error
    except OSError as error:
        raise Unavailable(
            f"Nothing listens at {config.address}: {error}.", code=RefusalCause.NETWORK_UNREACHABLE
        ) from error
    try:
        async with asyncio.timeout(config.timeout_seconds):
            await _enter(connection, config, password, events)
    except BaseException as error:
        await connection.close()
        if isinstance(error, OSError):
            raise _no_event_socket(config, error) from error
        raise
    return connection


async def _enter(connection: Connection, config: FreeSwitchConfig, password: str, events: str) -> None:
    await connection.greeted
    if not (await connection.send(f"auth {password}")).reply.startswith("+OK"):
        raise Unavailable(f"FreeSWITCH at {config.address} refuses the password.", code=RefusalCause.WRONG_CREDENTIALS)
    if events and not (await connection.send(f"event plain {events}")).reply.startswith("+OK"):
        raise Unavailable(f"FreeSWITCH at {config.address} does not send its events.", code="events_refused")


def _no_event_socket(config: FreeSwitchConfig, error: OSError) -> Unavailable:
    if isinstance(error, TimeoutError):
        reason = f"{config.address} took the connection, but does not greet as a FreeSWITCH Event Socket does."
        return Unavailable(reason, code=RefusalCause.NETWORK_UNREACHABLE)
    return Unavailable(f"{config.address} is no working Event Socket: {error}.", code=RefusalCause.NETWORK_UNREACHABLE)


def fail(waiting: "asyncio.Future[T]", error: Exception) -> None:
    """Let whoever waits hear of it; nobody may be left who does."""
    if not waiting.done():
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        waiting.set_exception(error)
