"""The reports that are still to reach a subscriber.

In: deliveries with the moment they are due. Out: those that are due, in order, each handed out once until it is either
removed (acknowledged) or put back (its subscriber is gone). Nothing leaves by being handed out alone.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import NamedTuple

from dialer.domain.call import EventKind
from dialer.providers.simulator.call import report_key

COPIES = 2


class Delivery(NamedTuple):
    """One report on its way at one time; a repeated report has two deliveries. `due` is in microseconds."""

    due: int
    number: int
    id: str
    call_id: str
    kind: EventKind


def delivery_id(call_id: str, kind: EventKind, copy: int) -> str:
    return f"{report_key(call_id, kind)}#{copy}"


def delivery_ids(call_id: str) -> Iterator[str]:
    """Yield the ids of every delivery that a call can have."""
    for kind in EventKind:
        yield from (delivery_id(call_id, kind, copy) for copy in range(COPIES))


class Outbox:
    """Deliveries ahead, by due time, and deliveries handed out, by id."""

    def __init__(self) -> None:
        self._heap: list[Delivery] = []
        self._ahead: dict[str, Delivery] = {}
        self._out: dict[str, Delivery] = {}
        self._numbers = count()

    def add(self, call_id: str, kind: EventKind, copy: int, due: int) -> None:
        self._push(Delivery(due, next(self._numbers), delivery_id(call_id, kind, copy), call_id, kind))

    def take(self, now: int, limit: int) -> list[Delivery]:
        """Hand out at most `limit` deliveries that are due, in order."""
        taken: list[Delivery] = []
        while len(taken) < limit and (head := self._head()) and head.due <= now:
            heapq.heappop(self._heap)
            self._out[head.id] = self._ahead.pop(head.id)
            taken.append(head)
        return taken

    def withdraw(self, delivery: str) -> Delivery | None:
        """Take back one delivery that was not handed out."""
        return self._ahead.pop(delivery, None)

    def remove(self, deliveries: Iterable[str]) -> None:
        """Forget deliveries for good, handed out or not."""
        for delivery in deliveries:
            self._out.pop(delivery, None)
            self._ahead.pop(delivery, None)

    def put_back(self, deliveries: Iterable[str]) -> None:
        """Make handed-out deliveries due again."""
        for delivery in deliveries:
            if delivery in self._out:
                self._push(self._out.pop(delivery))

    def out(self) -> Collection[str]:
        return self._out.keys()

    def of_call(self, call_id: str) -> list[Delivery]:
        known = ((self._ahead.get(name) or self._out.get(name)) for name in delivery_ids(call_id))
        return [delivery for delivery in known if delivery]

    def next_due(self) -> int | None:
        head = self._head()
        return head.due if head else None

    def _push(self, delivery: Delivery) -> None:
        self._ahead[delivery.id] = delivery
        heapq.heappush(self._heap, delivery)

    def _head(self) -> Delivery | None:
        # Withdrawn deliveries stay in the heap until they surface: taking one out of its middle would cost a scan.
        while self._heap and self._ahead.get(self._heap[0].id) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None
