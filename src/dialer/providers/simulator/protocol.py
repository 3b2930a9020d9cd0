"""The protocol between clients and servers of the simulated network: JSON objects, one per line, over TCP.

In and out: the values of the provider contract and their JSON; times are microseconds. Whatever cannot be read is
InvalidInput. An agent's `connection` is not sent: a simulated call is not connected to anything.

A client sends `{"id": n, "op": …}`; the answer has the same id and the result, or `error`. The first op is `hello`
(`trunk_id`, `profile`); then come `place` (`request`), `look_up` and `hang_up` (`attempt_id`), `health` and
`subscribe`. A subscriber gets `{"reports": [[delivery, event], …]}`, and the next ones only after it has sent
`acknowledge` (`deliveries`) for all of them. To simulate a network that does not answer, the server sends no answer.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass, Outcome, RefusalCause
from dialer.errors import InvalidInput
from dialer.providers.base import (
    Absent,
    CallRequest,
    Candidates,
    LookupFailed,
    LookupResult,
    NotFoundNow,
    Placed,
    Placement,
    Refused,
    Seen,
)
from dialer.providers.simulator.call import from_micros, to_micros

Message = Mapping[str, Any]
LINE_LIMIT = 1 << 20
LONGEST_TEXT = 64
LONGEST_RING_SECONDS = 1_000_000


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn every error while a message is read into InvalidInput."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidInput.of(what, f"cannot be read ({type(error).__name__}: {error})") from error


def encode_request(request: CallRequest) -> dict[str, Any]:
    return {
        "attempt_id": str(request.attempt_id),
        "to_number": request.to_number,
        "from_number": request.from_number,
        "ring_timeout_seconds": request.ring_timeout_seconds,
        "place_by": to_micros(request.place_by),
        "ring_by": None if request.ring_by is None else to_micros(request.ring_by),
    }


def decode_request(message: Message) -> CallRequest:
    with reading("request"):
        request = message["request"]
        return CallRequest(
            attempt_id=_attempt_id(request["attempt_id"]),
            to_number=_text(request["to_number"]),
            from_number=_text(request["from_number"]),
            connection={},
            ring_timeout_seconds=_ring_timeout(request["ring_timeout_seconds"]),
            place_by=from_micros(request["place_by"]),
            ring_by=_time(request["ring_by"]),
        )


def decode_attempt_id(message: Message) -> AttemptId:
    with reading("attempt_id"):
        return _attempt_id(message["attempt_id"])


def encode_placement(placement: Placed | Refused) -> dict[str, Any]:
    match placement:
        case Placed(call_id):
            return {"placed": call_id}
        case Refused(cause, cause_class, retry_after):
            return {"refused": cause, "class": cause_class, "retry_after": retry_after}


def decode_placement(message: Message) -> Placement:
    """Read a placement. An `error` is a refusal: the server did not understand the request, so it placed no call."""
    with reading("placement"):
        if "placed" in message:
            return Placed(message["placed"])
        if "error" in message:
            return Refused(RefusalCause.PROTOCOL_ERROR, CauseClass.INFRASTRUCTURE)
        wait = message.get("retry_after")
        return Refused(message["refused"], CauseClass(message["class"]), None if wait is None else float(wait))


def encode_lookup_result(result: LookupResult) -> dict[str, Any]:
    match result:
        case Seen(call_id, events):
            return {"seen": call_id, "events": [encode_event(event) for event in events]}
        case Absent():
            return {"absent": True}
        case NotFoundNow() | Candidates():
            raise AssertionError("a simulated network keeps its records, by our ids")
        case LookupFailed(reason):
            return {"no_word": reason}


def decode_lookup_result(message: Message) -> LookupResult:
    with reading("sighting"):
        if "seen" in message:
            return Seen(message["seen"], tuple(decode_event(event) for event in message["events"]))
        return Absent() if message.get("absent") is True else LookupFailed(message.get("no_word") or message["error"])


def encode_event(event: CallEvent) -> dict[str, Any]:
    return {
        "key": event.key,
        "attempt_id": str(event.attempt_id),
        "kind": event.kind,
        "at": to_micros(event.at),
        "outcome": event.outcome,
        "cause": event.cause,
        "talk_seconds": event.talk_seconds,
        "provider_call_id": event.provider_call_id,
    }


def decode_event(message: Message) -> CallEvent:
    return CallEvent(
        key=message["key"],
        attempt_id=_attempt_id(message["attempt_id"]),
        kind=EventKind(message["kind"]),
        at=from_micros(message["at"]),
        outcome=None if message["outcome"] is None else Outcome(message["outcome"]),
        cause=message["cause"],
        talk_seconds=message["talk_seconds"],
        provider_call_id=message["provider_call_id"],
    )


def decode_reports(message: Message) -> tuple[list[str], Sequence[CallEvent]]:
    """Return the ids of the deliveries, and what they deliver."""
    with reading("reports"):
        pairs = message["reports"]
        return [delivery for delivery, _ in pairs], tuple(decode_event(event) for _, event in pairs)


def _attempt_id(value: object) -> AttemptId:
    return AttemptId(UUID(str(value)))


def _time(value: float | None) -> DateTime | None:
    return None if value is None else from_micros(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not 0 < len(value) <= LONGEST_TEXT:
        raise ValueError(f"a number is an ASCII text of at most {LONGEST_TEXT} characters")
    return value


def _ring_timeout(value: float) -> float:
    if not 0 <= value <= LONGEST_RING_SECONDS:
        raise ValueError(f"a ring timeout is between 0 and {LONGEST_RING_SECONDS} seconds")
    return value


class JsonLines(asyncio.Protocol, ABC):
    """One end of a connection: client and server differ in what they do with a message.

    A line longer than a message may be ends the connection.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abstractmethod
    def received(self, message: Mapping[str, Any]) -> None:
        """Handle a message from the other end."""

    @abstractmethod
    def refuse(self, reason: str) -> None:
        """Handle a line that is not a JSON object."""

    @property
    def is_usable(self) -> bool:
        return not self._transport.is_closing()

    def send(self, message: Mapping[str, Any]) -> None:
        if self.is_usable:
            self._transport.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Send what is left in the buffer and close; `gone` is set once that is done."""
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > LINE_LIMIT for line in (*lines, self._rest)):
            self._rest = b""
            self.refuse(f"a line is longer than {LINE_LIMIT} bytes")
            self.close()
            return
        for line in lines:
            self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self.refuse("a line is not JSON")
            return
        if isinstance(message, dict):
            self.received(message)
        else:
            self.refuse("a line is not a JSON object")
