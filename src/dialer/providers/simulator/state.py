"""All that a simulated network remembers, and the changes that can be made to it.

In: changes. Out: what is known after them. Each change is applied by the same code when it happens and when it is read
back from a journal, so that a restarted network knows exactly what the killed one knew. Nothing is decided here.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from dialer.domain.call import EventKind
from dialer.domain.ids import AttemptId
from dialer.providers.simulator.call import CarrierCall
from dialer.providers.simulator.capacity import Capacity
from dialer.providers.simulator.outbox import Outbox, delivery_ids


@dataclass(frozen=True, slots=True)
class Requested:
    """The nth request to this number was drawn."""

    to_number: str
    nth: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A call exists; `due` lists its deliveries as kind, copy and moment."""

    call: CarrierCall
    due: tuple[tuple[EventKind, int, int], ...]


@dataclass(frozen=True, slots=True)
class HungUp:
    call_id: str
    at: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    deliveries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Nothing is known any more of this call, nor of any other placed up to this moment."""

    call_id: str
    placed: int


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A request for a call was refused, because it exceeded a limit of the network's own."""

    attempt_id: AttemptId
    cause: str
    at: int


Change = Requested | Opened | HungUp | Acknowledged | Forgotten | OverLimit


class Book:
    """The calls, the requests per number, the reports not yet acknowledged, the latest `max_log` requests too many."""

    def __init__(self, max_log: int | None = None) -> None:
        self.over_limit: deque[OverLimit] = deque(maxlen=max_log)
        self.calls: dict[str, CarrierCall] = {}
        self.requests: dict[str, int] = {}
        self.outbox = Outbox()
        self.capacity = Capacity()
        self.forgotten_until: int | None = None

    def apply(self, change: Change) -> None:
        match change:
            case Requested(to_number, nth):
                self.requests[to_number] = nth
            case Opened(call, due):
                self._open(call, due)
            case HungUp(call_id, at):
                self._cut(self.calls[call_id], at)
            case Acknowledged(deliveries):
                self.outbox.remove(deliveries)
            case Forgotten(call_id, placed):
                self.calls.pop(call_id, None)
                self.forgotten_until = placed
            case OverLimit():
                self.over_limit.append(change)

    def changes(self) -> Iterator[Change]:
        """Yield the fewest changes that lead from an empty book to this one."""
        if self.forgotten_until is not None:
            yield Forgotten("", self.forgotten_until)
        for to_number, nth in self.requests.items():
            yield Requested(to_number, nth)
        for call in self.calls.values():
            pending = self.outbox.of_call(call.call_id)
            yield Opened(call, tuple((each.kind, int(each.id[-1]), each.due) for each in pending))
        yield from self.over_limit

    def of_attempt(self, attempt_id: AttemptId) -> Iterator[CarrierCall]:
        """Yield the calls of one attempt, the first one first."""
        nth = 1
        while call := self.calls.get(call_id(attempt_id, nth)):
            yield call
            nth += 1

    def _open(self, call: CarrierCall, due: tuple[tuple[EventKind, int, int], ...]) -> None:
        self.calls[call.call_id] = call
        self.capacity.opened(call.call_id, call.placed, call.ended)
        for kind, copy, moment in due:
            self.outbox.add(call.call_id, kind, copy, moment)

    def _cut(self, call: CarrierCall, at: int) -> None:
        cut = call.cut(at)
        self.calls[call.call_id] = cut
        self.capacity.cut(call.call_id)
        happened = {kind for kind, _ in cut.steps()}
        for name in delivery_ids(call.call_id):
            delivery = self.outbox.withdraw(name)
            if delivery and delivery.kind in happened:
                # What was to come with the end or after it comes that much sooner.
                sooner = call.ended - at if delivery.due >= call.ended else 0
                self.outbox.add(call.call_id, delivery.kind, int(name[-1]), delivery.due - sooner)


def call_id(attempt_id: AttemptId, nth: int) -> str:
    return f"{attempt_id}.{nth}"
