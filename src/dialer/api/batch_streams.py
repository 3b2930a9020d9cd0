"""Feeds all event streams of this process from one query a second; no query runs while there are no streams."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from dialer import wiring
from dialer.domain.ids import BatchId
from dialer.log import Outage
from dialer.store.batch_streams import BatchChanges, changes_since
from dialer.store.database import Database

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0


class StreamSubscriber:
    """One event stream of one batch. Buffers every change of status, and only the latest progress."""

    def __init__(self, last_id: int) -> None:
        self.last_id = last_id  #: The newest change of status that was buffered or is known to the client.
        self.has_events = asyncio.Event()  #: Set while there is something to send.
        self.is_over = False  #: The batch is final and drained, or was deleted.
        self.last_status: Mapping[str, Any] = {"status": None, "status_reason": None}  #: As in the latest progress.
        self._changes: list[Mapping[str, Any]] = []
        self._progress: Mapping[str, Any] | None = None
        self._sent_progress: Mapping[str, Any] | None = None

    def update(self, state: BatchChanges | None) -> None:
        """Buffer what is new in the state of the batch; None: it was deleted."""
        if state is None:
            self.is_over, self.last_status = True, dict.fromkeys(self.last_status)
        else:
            self.last_status = {name: state.progress.get(name) for name in self.last_status}
            self._changes += [change for change in state.changes if change["id"] > self.last_id]
            self.last_id = max(self.last_id, state.last_id)
            self._progress = state.progress if state.progress != self._sent_progress else None
            self.is_over = state.is_over
        if self._changes or self._progress or self.is_over:
            self.has_events.set()

    def take(self) -> tuple[list[Mapping[str, Any]], Mapping[str, Any] | None]:
        """Return and clear the buffered changes of status, and the progress if it is new."""
        changes, self._changes, progress, self._progress = self._changes, [], self._progress, None
        self._sent_progress = progress or self._sent_progress
        self.has_events.clear()
        return changes, progress


class BatchStreams:
    """All event streams of this process, by batch."""

    def __init__(self, db: Database, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._db = db
        self._heartbeat_seconds = heartbeat_seconds
        self._subscribers: dict[BatchId, set[StreamSubscriber]] = defaultdict(set)
        self._polling: asyncio.Task[None] | None = None
        self._outage = Outage("watched batches cannot be read", wiring.seconds)
        self.is_closed = False
        self.polls = 0

    @property
    def open_streams(self) -> int:
        return sum(map(len, self._subscribers.values()))

    def close(self) -> None:
        """End every stream, because the process stops."""
        self.is_closed = True
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.has_events.set()

    def subscribe(self, batch_id: BatchId, last_id: int) -> StreamSubscriber:
        """Open a stream of a batch; the client knows its changes of status up to `last_id`."""
        subscriber = StreamSubscriber(last_id)
        self._subscribers[batch_id].add(subscriber)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        return subscriber

    def unsubscribe(self, batch_id: BatchId, subscriber: StreamSubscriber) -> None:
        """Close a stream."""
        self._subscribers[batch_id].discard(subscriber)
        if not self._subscribers[batch_id]:
            del self._subscribers[batch_id]

    async def read(self, batch_id: BatchId, last_id: int) -> BatchChanges | None:
        """Read the state of one batch, with its changes of status after `last_id`; None: there is no such batch."""
        return (await asyncio.to_thread(self._read, {batch_id: last_id})).get(batch_id)

    async def wait(self, subscriber: StreamSubscriber, seconds: float) -> AsyncIterator[None]:
        """Yield when there are events to send, or a heartbeat is due. Ends after `seconds`."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while not self.is_closed and (left := ends_at - loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(subscriber.has_events.wait(), min(left, self._heartbeat_seconds))
            yield

    async def _poll(self) -> None:
        while self._subscribers and not self.is_closed:
            await asyncio.sleep(POLL_SECONDS)
            self.polls += 1
            after = {
                batch_id: min(subscriber.last_id for subscriber in subscribers)
                for batch_id, subscribers in self._subscribers.items()
                if subscribers
            }
            try:
                states = await asyncio.to_thread(self._read, after)
            except Exception as error:
                # Any exception: if this task ended, every stream of this process would fall silent (P7).
                self._outage.note(error)
                continue
            for batch_id in after:
                for subscriber in list(self._subscribers.get(batch_id, ())):
                    subscriber.update(states.get(batch_id))
        self._polling = None

    def _read(self, after: Mapping[BatchId, int]) -> dict[BatchId, BatchChanges]:
        with self._db.begin() as connection:
            return changes_since(connection, after)
