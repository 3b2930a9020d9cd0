"""Delivers the reports of one network to its subscribers when they are due.

In: subscribers that join, acknowledge and leave. Out: batches of reports, each report to one subscriber, and to another
one if that subscriber leaves without an acknowledgement. A timer fires when the next report is due. A subscriber has
one batch at a time: reports that fall due while it is busy form the next batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.providers.simulator.call import SECOND, to_micros
from dialer.providers.simulator.network import SimulatedNetwork

BATCH = 500

Subscriber = Callable[[Sequence[tuple[str, CallEvent]]], None]


class Pump:
    """Delivers one network's reports; belongs to the running event loop."""

    def __init__(self, network: SimulatedNetwork, clock: Callable[[], DateTime]) -> None:
        self._network = network
        self._clock = clock
        self._idle: deque[Subscriber] = deque()
        self._busy: dict[Subscriber, set[str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def join(self, subscriber: Subscriber) -> None:
        """Add a subscriber. Called twice: the same."""
        if subscriber not in self._busy and subscriber not in self._idle:
            self._idle.append(subscriber)
            self.wake()

    def leave(self, subscriber: Subscriber) -> None:
        self._network.put_back(self._busy.pop(subscriber, ()))
        if subscriber in self._idle:
            self._idle.remove(subscriber)
        self.wake()

    def acknowledge(self, subscriber: Subscriber, deliveries: Iterable[str]) -> None:
        """Confirm those of these deliveries that this subscriber has."""
        waiting = self._busy.get(subscriber, set())
        received = waiting.intersection(deliveries)
        self._network.confirm(sorted(received))
        waiting -= received
        if subscriber in self._busy and not waiting:
            del self._busy[subscriber]
            self.join(subscriber)

    def wake(self) -> None:
        """Set the timer for the next report; to be called after every change that may make one due earlier."""
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
