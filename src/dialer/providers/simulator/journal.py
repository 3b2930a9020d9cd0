"""The journal of a network: its changes in a file, one JSON array a line, so that a killed network can be restarted.

In: changes, each written to the operating system before its effect is visible: it survives a kill -9 of the process,
though not a crash of the machine. Out: the changes of earlier runs. A last line that a kill left incomplete is dropped.
Any other line that cannot be read stops the start: with a gap, calls that have ended would be up again.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from dialer.domain.call import EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.errors import Unavailable
from dialer.providers.simulator.call import CarrierCall, from_micros, to_micros
from dialer.providers.simulator.state import Acknowledged, Change, Forgotten, HungUp, Opened, OverLimit, Requested


class Journal:
    """An append-only file of changes; call `rewrite` before the first `append`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Iterator[Change]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield self._parse(line, number)

    def rewrite(self, changes: Iterable[Change]) -> None:
        """Atomically replace all earlier changes by these, and open the file for more."""
        draft = self._path.with_name(self._path.name + ".new")
        with draft.open("wb") as file:
            file.writelines(_line(change) for change in changes)
        draft.replace(self._path)
        # Unbuffered: each append is one write to the operating system.
        self._file = self._path.open("ab", buffering=0)

    def append(self, change: Change) -> None:
        self._file.write(_line(change))

    def close(self) -> None:
        self._file.close()

    def _parse(self, line: bytes, number: int) -> Change:
        try:
            return _decode(*json.loads(line))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Unavailable(f"The journal {self._path} is damaged at line {number}: {error}") from error


def _line(change: Change) -> bytes:
    return json.dumps(_encode(change), separators=(",", ":")).encode() + b"\n"


def _encode(change: Change) -> list[Any]:
    match change:
        case Requested(to_number, nth):
            return ["requested", to_number, nth]
        case Opened(call, due):
            return ["opened", _encode_call(call), due]
        case HungUp(call_id, at):
            return ["hung_up", call_id, at]
        case Acknowledged(deliveries):
            return ["acknowledged", deliveries]
        case Forgotten(call_id, placed):
            return ["forgotten", call_id, placed]
        case OverLimit(attempt_id, cause, at):
            return ["over_limit", str(attempt_id), cause, at]


def _decode(kind: str, *values: Any) -> Change:
    match kind:
        case "requested":
            return Requested(*values)
        case "opened":
            call, due = values
            return Opened(_decode_call(*call), tuple((EventKind(kind), copy, due_at) for kind, copy, due_at in due))
        case "hung_up":
            return HungUp(*values)
        case "acknowledged":
            return Acknowledged(tuple(values[0]))
        case "forgotten":
            return Forgotten(*values)
        case "over_limit":
            attempt_id, cause, at = values
            return OverLimit(AttemptId(UUID(attempt_id)), cause, at)
    raise ValueError(f"no change is called {kind!r}")


def _encode_call(call: CarrierCall) -> list[Any]:
    ring_by = None if call.ring_by is None else to_micros(call.ring_by)
    numbers = [call.to_number, call.from_number]
    return [str(call.attempt_id), call.call_id, *numbers, call.placed, call.rang, call.answered, call.ended,
            call.outcome, call.cause, ring_by]  # fmt: skip


def _decode_call(attempt_id: str, *values: Any) -> CarrierCall:
    *plain, outcome, cause, ring_by = values
    by = None if ring_by is None else from_micros(ring_by)
    fields: list[Any] = [AttemptId(UUID(attempt_id)), *plain, Outcome(outcome), cause, by]
    return CarrierCall(*fields)
