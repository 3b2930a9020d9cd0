"""The state of a simulated network, and the changes that can be made to it.

In: changes. Out: the state after them: calls, pending reports (`Outbox`), calls that are up and rate (`Capacity`). The
same code applies a change when it happens and when it is read from a journal, so that a restarted network has the same
state as the killed one. Nothing is decided here.
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from dialer.domain.call import EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import RefusalCause
from dialer.providers.simulator.call import SECOND, CarrierCall, report_key
from dialer.providers.simulator.config import NetworkProfile

COPIES = 2
CONGESTION = "normal_circuit_congestion"
RATE_EXCEEDED = RefusalCause.RATE_LIMITED


@dataclass(frozen=True, slots=True)
class Requested:
    """The script of the nth request to this number was drawn."""

    to_number: str
    nth: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A call exists; `due` lists its deliveries as kind, copy and time."""

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
    """This call was removed; others placed up to this time may have been removed too."""

    call_id: str
    placed: int


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A request was refused because it exceeded a limit of the network."""

    attempt_id: AttemptId
    cause: str
    at: int


Change = Requested | Opened | HungUp | Acknowledged | Forgotten | OverLimit


class Delivery(NamedTuple):
    """One delivery of a report; a repeated report has two, with `copy` 0 and 1. `due` is in microseconds."""

    due: int
    number: int
    id: str
    call_id: str
    kind: EventKind
    copy: int


def delivery_id(call_id: str, kind: EventKind, copy: int) -> str:
    return f"{report_key(call_id, kind)}#{copy}"


def delivery_ids(call_id: str) -> Iterator[str]:
    """Yield the ids of every delivery that a call can have."""
    for kind in EventKind:
        yield from (delivery_id(call_id, kind, copy) for copy in range(COPIES))


class Outbox:
    """The reports that have not reached a subscriber. A delivery is taken by one subscriber at a time, until it is
    removed (acknowledged) or put back (its subscriber has gone).
    """

    def __init__(self) -> None:
        self._heap: list[Delivery] = []
        self._ahead: dict[str, Delivery] = {}
        self._taken: dict[str, Delivery] = {}
        self._numbers = count()

    def add(self, call_id: str, kind: EventKind, copy: int, due: int) -> None:
        self._push(Delivery(due, next(self._numbers), delivery_id(call_id, kind, copy), call_id, kind, copy))

    def take(self, now: int, limit: int) -> list[Delivery]:
        """Take at most `limit` deliveries that are due, in order."""
        taken: list[Delivery] = []
        while len(taken) < limit and (head := self._head()) and head.due <= now:
            heapq.heappop(self._heap)
            self._taken[head.id] = self._ahead.pop(head.id)
            taken.append(head)
        return taken

    def withdraw(self, delivery: str) -> Delivery | None:
        """Remove and return a delivery that was not taken."""
        return self._ahead.pop(delivery, None)

    def remove(self, deliveries: Iterable[str]) -> None:
        """Remove deliveries, taken or not."""
        for delivery in deliveries:
            self._taken.pop(delivery, None)
            self._ahead.pop(delivery, None)

    def put_back(self, deliveries: Iterable[str]) -> None:
        """Make taken deliveries due again."""
        for delivery in deliveries:
            if delivery in self._taken:
                self._push(self._taken.pop(delivery))

    def taken(self) -> Collection[str]:
        return self._taken.keys()

    def of_call(self, call_id: str) -> list[Delivery]:
        deliveries = ((self._ahead.get(name) or self._taken.get(name)) for name in delivery_ids(call_id))
        return [delivery for delivery in deliveries if delivery]

    def next_due(self) -> int | None:
        head = self._head()
        return head.due if head else None

    def _push(self, delivery: Delivery) -> None:
        self._ahead[delivery.id] = delivery
        heapq.heappush(self._heap, delivery)

    def _head(self) -> Delivery | None:
        # Withdrawn deliveries stay in the heap until they are at its head: removing one from the middle needs a scan.
        while self._heap and self._ahead.get(self._heap[0].id) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None


class Capacity:
    """The calls that are up, and those placed in the last second, kept without a scan of all calls.

    A second is half-open: two calls that were placed exactly one second apart are not in the same second.
    """

    def __init__(self) -> None:
        self._ends: list[tuple[int, str]] = []
        self._up: set[str] = set()
        self._placed: deque[int] = deque()

    def opened(self, call_id: str, placed: int, ended: int) -> None:
        self._up.add(call_id)
        heapq.heappush(self._ends, (ended, call_id))
        self._placed.append(placed)

    def cut(self, call_id: str) -> None:
        self._up.discard(call_id)

    def exceeded(self, profile: NetworkProfile, now: int) -> str | None:
        """Return the cause for which one more call must be refused; None: it is within the limits."""
        self._pass_time(now)
        if profile.max_concurrent_calls is not None and len(self._up) >= profile.max_concurrent_calls:
            return CONGESTION
        if profile.calls_per_second is not None and len(self._placed) >= profile.calls_per_second:
            return RATE_EXCEEDED
        return None

    def retry_after(self, now: int) -> float:
        """Return in how many seconds one more call will be within the rate."""
        return (self._placed[0] + SECOND - now) / SECOND

    def _pass_time(self, now: int) -> None:
        while self._ends and self._ends[0][0] <= now:
            self._up.discard(heapq.heappop(self._ends)[1])
        while self._placed and self._placed[0] <= now - SECOND:
            self._placed.popleft()


class NetworkState:
    """Calls, requests per number, reports not yet acknowledged, and the latest `max_log` requests over the limits."""

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
        """Yield the fewest changes that lead from an empty state to this one."""
        if self.forgotten_until is not None:
            yield Forgotten("", self.forgotten_until)
        for to_number, nth in self.requests.items():
            yield Requested(to_number, nth)
        for call in self.calls.values():
            pending = self.outbox.of_call(call.call_id)
            yield Opened(call, tuple((delivery.kind, delivery.copy, delivery.due) for delivery in pending))
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
        for kind, copy, due_at in due:
            self.outbox.add(call.call_id, kind, copy, due_at)

    def _cut(self, call: CarrierCall, at: int) -> None:
        cut = call.cut(at)
        self.calls[call.call_id] = cut
        self.capacity.cut(call.call_id)
        happened = {kind for kind, _ in cut.steps()}
        for name in delivery_ids(call.call_id):
            delivery = self.outbox.withdraw(name)
            if delivery and delivery.kind in happened:
                # Reports due with the end or after it are due earlier by as much as the call is shorter.
                earlier = call.ended - at if delivery.due >= call.ended else 0
                self.outbox.add(call.call_id, delivery.kind, delivery.copy, delivery.due - earlier)


def call_id(attempt_id: AttemptId, nth: int) -> str:
    return f"{attempt_id}.{nth}"
