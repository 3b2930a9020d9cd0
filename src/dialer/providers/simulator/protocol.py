"""What clients and servers of the simulated network say to each other: JSON objects, times as microseconds.

In and out: the values of the contract and their JSON. What cannot be read is InvalidInput, whatever it is. An agent's
`connection` is left out: a simulated call goes nowhere.

A client sends `{"id": n, "op": …}`; the answer bears the same id and what was asked for, or `error`. It begins with
`hello` (`trunk_id`, `profile`); then come `place` (`request`), `look_up` and `hang_up` (`attempt_id`), `health` and
`subscribe`. A subscriber gets `{"reports": [[delivery, event], …]}`, and the next ones only when it has sent
`acknowledge` (`deliveries`) for all of them. A network that is to seem silent does not answer at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
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
from dialer.providers.simulator.instants import from_micros, to_micros

Message = Mapping[str, Any]
LONGEST_TEXT = 64
LONGEST_RING_SECONDS = 1_000_000


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever goes wrong while a message is read into InvalidInput."""
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
        found = message["request"]
        return CallRequest(
            attempt_id=_attempt_id(found["attempt_id"]),
            to_number=_text(found["to_number"]),
            from_number=_text(found["from_number"]),
            connection={},
            ring_timeout_seconds=_ring_timeout(found["ring_timeout_seconds"]),
            place_by=from_micros(found["place_by"]),
            ring_by=_moment(found["ring_by"]),
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
    """An `error` is an answer too: the server did not understand, so it did not place."""
    with reading("placement"):
        if "placed" in message:
            return Placed(message["placed"])
        if "error" in message:
            return Refused(RefusalCause.PROTOCOL_ERROR, CauseClass.INFRASTRUCTURE)
        wait = message.get("retry_after")
        return Refused(message["refused"], CauseClass(message["class"]), None if wait is None else float(wait))


def encode_sighting(sighting: LookupResult) -> dict[str, Any]:
    match sighting:
        case Seen(call_id, events):
            return {"seen": call_id, "events": [encode_event(event) for event in events]}
        case Absent():
            return {"absent": True}
        case NotFoundNow() | Candidates():
            raise AssertionError("a simulated network keeps its records, by our ids")
        case LookupFailed(reason):
            return {"no_word": reason}


def decode_sighting(message: Message) -> LookupResult:
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


def decode_event(found: Message) -> CallEvent:
    return CallEvent(
        key=found["key"],
        attempt_id=_attempt_id(found["attempt_id"]),
        kind=EventKind(found["kind"]),
        at=from_micros(found["at"]),
        outcome=None if found["outcome"] is None else Outcome(found["outcome"]),
        cause=found["cause"],
        talk_seconds=found["talk_seconds"],
        provider_call_id=found["provider_call_id"],
    )


def decode_reports(message: Message) -> tuple[list[str], Sequence[CallEvent]]:
    """Return the ids of the deliveries, and what they deliver."""
    with reading("reports"):
        pairs = message["reports"]
        return [delivery for delivery, _ in pairs], tuple(decode_event(event) for _, event in pairs)


def _attempt_id(value: object) -> AttemptId:
    return AttemptId(UUID(str(value)))


def _moment(value: float | None) -> DateTime | None:
    return None if value is None else from_micros(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not 0 < len(value) <= LONGEST_TEXT:
        raise ValueError(f"a number is an ASCII text of at most {LONGEST_TEXT} characters")
    return value


def _ring_timeout(value: float) -> float:
    if not 0 <= value <= LONGEST_RING_SECONDS:
        raise ValueError(f"a ring timeout is between 0 and {LONGEST_RING_SECONDS} seconds")
    return value
