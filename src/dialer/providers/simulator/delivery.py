"""Brings the reports of one network to its subscribers, when they are due.

In: subscribers, who come, acknowledge and go. Out: batches of reports, each report to one subscriber; when that one
goes without a word, to the next. It sleeps until the next report is due; a subscriber has one batch at a time, so that
what falls due while it is busy makes the next batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.providers.simulator.instants import SECOND, to_micros
from dialer.providers.simulator.network import SimulatedNetwork

BATCH = 500

Subscriber = Callable[[Sequence[tuple[str, CallEvent]]], None]


class Pump:
    """One network's way to its subscribers; belongs to the running event loop."""

    def __init__(self, network: SimulatedNetwork, clock: Callable[[], DateTime]) -> None:
        self._network = network
        self._clock = clock
        self._idle: deque[Subscriber] = deque()
        self._busy: dict[Subscriber, set[str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def join(self, subscriber: Subscriber) -> None:
        """Called twice: the same."""
        if subscriber not in self._busy and subscriber not in self._idle:
            self._idle.append(subscriber)
            self.wake()

    def leave(self, subscriber: Subscriber) -> None:
        self._network.put_back(self._busy.pop(subscriber, ()))
        if subscriber in self._idle:
            self._idle.remove(subscriber)
        self.wake()

    def acknowledge(self, subscriber: Subscriber, deliveries: Iterable[str]) -> None:
        """Take these as received, as far as this subscriber has them."""
        waiting = self._busy.get(subscriber, set())
        received = waiting.intersection(deliveries)
        self._network.confirm(sorted(received))
        waiting -= received
        if subscriber in self._busy and not waiting:
            del self._busy[subscriber]
            self.join(subscriber)

    def wake(self) -> None:
        """Look again when the next report is due: called after whatever may have changed that."""
        due = self._network.next_due()
        if due is None or not self._idle:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0, to_micros(due) - to_micros(self._clock())) / SECOND
        if self._timer is None or at < self._timer.when():
            self.stop()
            self._timer = loop.call_at(at, self._deliver)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _deliver(self) -> None:
        self._timer = None
        while self._idle and (taken := self._network.take(self._clock(), BATCH)):
            subscriber = self._idle.popleft()
            self._busy[subscriber] = {delivery.id for delivery in taken}
            subscriber([(delivery.id, self._network.event(delivery)) for delivery in taken])
        self.wake()
