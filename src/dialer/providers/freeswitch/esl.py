"""The protocol of the Event Socket: frames, and a connection that sends commands and receives answers and events.

A frame is a head of `Name: value` lines, an empty line, and as many bytes of body as the head says. Answers come in the
order of their commands, with events in between. No command is sent twice: one without an answer may have been carried
out. A connection with an overdue answer is retired: no new command is sent on it, and pending ones may still complete.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar, cast
from urllib.parse import unquote

from dialer.errors import Unavailable
from dialer.providers import sockets
from dialer.providers.shared_connection import LOST

T = TypeVar("T")

LONGEST_HEAD = 1 << 16
LONGEST_BODY = 1 << 22


class Garbled(ConnectionError):
    """The bytes are no frame. The next frame cannot be found, so the connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of FreeSWITCH."""

    head: Mapping[str, str]
    body: str = ""

    @property
    def kind(self) -> str:
        return self.head.get("Content-Type", "")

    @property
    def reply(self) -> str:
        """The text of an answer, whether to `api` or to another command."""
        return (self.body if self.kind == "api/response" else self.head.get("Reply-Text", "")).strip()


@dataclass(frozen=True, slots=True)
class SwitchEvent:
    """An event of the switch. `body`: the result of a job. `size`: the length of the text it was read from."""

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    size: int = field(default=0, compare=False)


def read_event(text: str) -> SwitchEvent:
    """Read an event in the format `plain`, whose values are percent-encoded."""
    head, _, body = text.partition("\n\n")
    # An event has about 200 values, and most have nothing to decode.
    fields = {name: unquote(value) if "%" in value else value for name, value in _pairs(head)}
    return SwitchEvent(fields.get("Event-Name", ""), fields, body, len(text))


class FrameReader:
    """Splits the bytes of one connection into frames. Its buffer holds no more than one head and one body."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._head: Mapping[str, str] | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete; raises Garbled after them when the bytes that follow are no frame."""
        self._rest += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if self._head is None:
            self._head = self._take_head()
        if self._head is None:
            return None
        length = _length(self._head)
        if len(self._rest) < length:
            return None
        frame = Frame(self._head, self._rest[:length].decode(errors="replace"))
        del self._rest[:length]
        self._head = None
        return frame

    def _take_head(self) -> Mapping[str, str] | None:
        end = self._rest.find(b"\n\n")
        if end > LONGEST_HEAD or (end < 0 and len(self._rest) > LONGEST_HEAD):
            raise Garbled(f"a head is longer than {LONGEST_HEAD} bytes")
        if end < 0:
            return None
        head = dict(_pairs(self._rest[:end].decode(errors="replace")))
        del self._rest[: end + 2]
        if "Content-Type" not in head:
            raise Garbled("a head has no Content-Type")
        return head


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip()


def _length(head: Mapping[str, str]) -> int:
    text = head.get("Content-Length", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Garbled("a Content-Length is not a number")
    if int(text) > LONGEST_BODY:
        raise Garbled(f"a body is longer than {LONGEST_BODY} bytes")
    return int(text)


class EslConnection(asyncio.Protocol):
    """The client's end of a connection; belongs to the running event loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._frames = FrameReader()
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._users = 0
        self._flushed = asyncio.Event()
        self._flushed.set()
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

    def received(self, event: SwitchEvent) -> None:
        """Take an event. The command `event` has subscribed to its name."""

    def send(self, command: str, job: str | None = None) -> asyncio.Future[Frame]:
        """Send one command. The future gets its answer, or OSError or Unavailable.

        `job`: the Job-UUID of a background command; its answer has it too.
        """
        if self._transport.is_closing():
            raise ConnectionResetError(LOST)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[job or str(next(self._numbers))] = answer
        sockets.reset_on_close(self._socket, True)
        self._transport.write(f"{command}\n\n".encode())
        return answer

    async def flushed(self) -> None:
        """Wait until the write buffer is empty, so that what is sent next leaves at once."""
        await self._flushed.wait()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep a retired connection open while a caller still waits for an answer or event on it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self.is_retired and not self._users:
                self.abort()

    def retire(self) -> None:
        """Send no new commands, and discard those that have not left: they would arrive when nobody expects them."""
        self.is_retired = True
        if not self._flushed.is_set() or not self._users:
            self.abort()

    def abort(self) -> None:
        """Close the connection; a command without an answer that has not arrived is discarded."""
        self._transport.abort()

    async def close(self) -> None:
        self.abort()
        await self.gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._socket: socket.socket = transport.get_extra_info("socket")

    def eof_received(self) -> None:
        # Otherwise asyncio would first send what is left in the write buffer.
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            self._blame(exc)
        why = self.why
        fail(self.greeted, why)
        for answer in self._waiting.values():
            fail(answer, why)
        self._waiting.clear()
        self._flushed.set()
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._flushed.clear()

    def resume_writing(self) -> None:
        self._flushed.set()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._take(frame)
        except Garbled as error:
            self._blame(error)
            self.abort()

    def _blame(self, why: OSError | Unavailable) -> None:
        """Keep the first reason: after a rejection FreeSWITCH also sends a disconnect notice."""
        self._why = self._why or why

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case "command/reply" | "api/response":
                self._answer(frame)
            case "text/event-plain":
                self.received(read_event(frame.body))
            case "auth/request" if not self.greeted.done():
                self.greeted.set_result(None)
            case "text/rude-rejection":
                reason = "FreeSWITCH does not let this address in: see apply-inbound-acl in event_socket.conf.xml"
                self._blame(Unavailable(reason, code="access_denied"))
            case "text/disconnect-notice":
                self._blame(ConnectionResetError("FreeSWITCH has closed the connection"))

    def _answer(self, frame: Frame) -> None:
        # Answers come in the order of the commands; answers to background commands also have their Job-UUID.
        job = frame.head.get("Job-UUID", "")
        answer = self._waiting.pop(job or next(iter(self._waiting), ""), None)
        if answer and not answer.done():
            answer.set_result(frame)
        if not self._waiting:
            sockets.reset_on_close(self._socket, False)


def fail(waiting: "asyncio.Future[T]", error: Exception) -> None:
    """Set the error on a pending future."""
    if not waiting.done():
        # Retrieve the exception, so that asyncio does not warn "exception was never retrieved".
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        waiting.set_exception(error)
