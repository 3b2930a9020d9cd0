"""Frames of the Event Socket: bytes in pieces of any size come in, whole frames go out, in order.

A frame is a head of `Name: value` lines, an empty line, and as many bytes of body as the head says. Nothing larger than
the bounds here is ever kept. What cannot be a frame is `Garbled`, after all that came before it: from then on nobody
knows where the next frame begins, so that the connection is of no use any more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

LONGEST_HEAD = 1 << 16
LONGEST_BODY = 1 << 22


class Garbled(ConnectionError):
    """What came is not what the protocol says."""


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
        """What an answer says, to whichever kind of command."""
        return (self.body if self.kind == "api/response" else self.head.get("Reply-Text", "")).strip()


@dataclass(frozen=True, slots=True)
class Event:
    """What has happened on the switch. `body`: the result of a job. `size`: of the text it was read from."""

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    size: int = field(default=0, compare=False)


def read_event(text: str) -> Event:
    """Read an event of the form `plain`, whose values are percent-encoded."""
    head, _, body = text.partition("\n\n")
    # Most values have nothing to decode, and there are some two hundred of them in an event.
    fields = {name: unquote(value) if "%" in value else value for name, value in _pairs(head)}
    return Event(fields.get("Event-Name", ""), fields, body, len(text))


class Frames:
    """The bytes of one connection that are no whole frame yet."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._head: Mapping[str, str] | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now; raises Garbled once what follows cannot be one."""
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
