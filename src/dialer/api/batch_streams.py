"""Watches batches for all event streams of a process: one query a second, however many listen; none if nobody does."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from dialer import wiring
from dialer.domain.ids import BatchId
from dialer.log import Outage
from dialer.store import batch_views
from dialer.store.batch_views import BatchChanges
from dialer.store.database import Database

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0


class Listener:
    """One stream. What it has not taken yet is kept: every change of status, and the latest progress."""

    def __init__(self, last_id: int) -> None:
        self.last_id = last_id
        self.news = asyncio.Event()
        self._changes: list[Mapping[str, Any]] = []
        self._progress: Mapping[str, Any] | None = None
        self._shown: Mapping[str, Any] | None = None
        self.is_over = False

    def hear(self, look: BatchChanges | None) -> None:
        """Take note of where the batch stands now; None: it was deleted."""
        if look is None:
            self.is_over = True
        else:
            self._changes += [change for change in look.changes if change["id"] > self.last_id]
            self.last_id = max(self.last_id, look.last_id)
            self._progress = look.progress if look.progress != self._shown else None
            self.is_over = look.is_over
        if self._changes or self._progress or self.is_over:
            self.news.set()

    def take(self) -> tuple[list[Mapping[str, Any]], Mapping[str, Any] | None]:
        """Return the changes of status that were not taken yet, and the progress if it is new."""
        taken, self._changes, progress, self._progress = self._changes, [], self._progress, None
        self._shown = progress or self._shown
        self.news.clear()
        return taken, progress


class Watching:
    """All listeners of one process."""

    def __init__(self, db: Database, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._db = db
        self._heartbeat_seconds = heartbeat_seconds
        self._listeners: dict[BatchId, set[Listener]] = defaultdict(set)
        self._polling: asyncio.Task[None] | None = None
        self._unread = Outage("watched batches cannot be read", wiring.seconds)
        self.is_closed = False
        self.polls = 0

    @property
    def open_streams(self) -> int:
        return sum(map(len, self._listeners.values()))

    def close(self) -> None:
        """End every stream, as a process that stops does."""
        self.is_closed = True
        for listener in [one for mine in self._listeners.values() for one in mine]:
            listener.news.set()

    def join(self, batch_id: BatchId, last_id: int) -> Listener:
        """Listen to a batch from now on; changes up to `last_id` are known."""
        listener = Listener(last_id)
        self._listeners[batch_id].add(listener)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        return listener

    def leave(self, batch_id: BatchId, listener: Listener) -> None:
        """Listen no more."""
        self._listeners[batch_id].discard(listener)
        if not self._listeners[batch_id]:
            del self._listeners[batch_id]

    async def look(self, batch_id: BatchId, last_id: int) -> BatchChanges | None:
        """Read where one batch stands."""
        return (await asyncio.to_thread(self._read, {batch_id: last_id})).get(batch_id)

    async def follow(self, listener: Listener, seconds: float) -> AsyncIterator[None]:
        """Yield whenever there may be something to say: news, or the time for a heartbeat. Ends after `seconds`."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while not self.is_closed and (left := ends_at - loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(listener.news.wait(), min(left, self._heartbeat_seconds))
            yield

    async def _poll(self) -> None:
        while self._listeners and not self.is_closed:
            await asyncio.sleep(POLL_SECONDS)
            self.polls += 1
            after = {of: min(one.last_id for one in mine) for of, mine in self._listeners.items() if mine}
            try:
                looks = await asyncio.to_thread(self._read, after)
            except Exception as error:
                # Whatever it is: without polls every stream of this process would fall silent (P7).
                self._unread.note(error)
                continue
            for batch_id in after:
                for listener in list(self._listeners.get(batch_id, ())):
                    listener.hear(looks.get(batch_id))
        self._polling = None

    def _read(self, after: Mapping[BatchId, int]) -> dict[BatchId, BatchChanges]:
        with self._db.begin() as connection:
            return batch_views.changes_since(connection, after)
