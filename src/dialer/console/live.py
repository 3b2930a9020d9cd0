"""Feeds all open pages of this process from one reading a second; nothing is read while no page is open.

A page gets the parts of itself that changed, as HTML: the rows of the list, or the state of its batch. It morphs them
into place. What costs more to compute, such as charts, the page asks for when it is told that its batch has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pendulum import DateTime

from dialer import wiring
from dialer.console.explanations import Explanations
from dialer.console.forecast import with_forecasts
from dialer.console.visitor import Visitor
from dialer.domain.ids import BatchId
from dialer.log import Outage
from dialer.service import batch_views, sessions
from dialer.store.database import Database

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
# How far back new batches are looked for: longer than a transaction takes to create one.
OVERLAP_SECONDS = 30

# The template that says why a batch waits.
DETAILED = "batch_state.html"

View = Mapping[str, Any]
# What a list shows of a batch that was deleted while the page was open.
DELETED = {"status": "deleted", "status_reason": None, "forecast": None, "why": None}


@dataclass(eq=False, slots=True)
class OpenPage:
    """An open page. `template`: what it shows of a batch. `known`: what it has shown last of each."""

    visitor: Visitor
    template: str
    batch_ids: frozenset[BatchId]
    opened_at: DateTime
    known: dict[BatchId, dict[str, Any]] = field(default_factory=dict)
    changed: list[View] = field(default_factory=list)
    has_news: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False  #: Its session has ended, its batch was deleted, or this process stops.

    def update(self, views: Sequence[dict[str, Any]]) -> None:
        """Note which batches look different from what the page shows. A page of one batch ends when that is deleted."""
        own = [view for view in views if self._shows(view)]
        for view in own:
            if self.known.get(view["id"]) != view:
                self.known[view["id"]] = view
                self.changed.append(view)
        missing = self.batch_ids - {view["id"] for view in own}
        if missing and self.template == DETAILED:
            self.end()
        self.changed += [self.known.pop(batch_id) | DELETED for batch_id in missing & self.known.keys()]
        if self.changed:
            self.has_news.set()

    def is_new(self, view: View) -> bool:
        """Return whether a batch was created after the page was opened."""
        return bool(view["created_at"] > self.opened_at)

    def _shows(self, view: View) -> bool:
        is_own = view["workspace_id"] == self.visitor.caller.workspace_id
        return is_own and (view["id"] in self.batch_ids or self.is_new(view))

    def take(self) -> list[View]:
        """Return and clear what changed; only the latest view of each batch."""
        latest = {view["id"]: view for view in self.changed}
        self.changed.clear()
        self.has_news.clear()
        return list(latest.values())

    def end(self) -> None:
        self.is_over = True
        self.has_news.set()


class LivePages:
    """All open pages of this process."""

    def __init__(self, db: Database, clock: Callable[[], DateTime], explanations: Explanations) -> None:
        self._db, self._clock, self._explanations = db, clock, explanations
        self._pages: set[OpenPage] = set()
        self._polling: asyncio.Task[None] | None = None
        self._outage = Outage("the batches of open pages cannot be read", wiring.seconds)
        self.is_closed = False
        self.polls = 0

    @property
    def open_pages(self) -> int:
        return len(self._pages)

    def close(self) -> None:
        """End every page's stream, because the process stops."""
        self.is_closed = True
        for page in self._pages:
            page.end()

    async def follow(self, page: OpenPage, max_seconds: float) -> AsyncIterator[list[View]]:
        """Yield what changed on a page, or nothing as a heartbeat. Ends after `max_seconds`, and with the session."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + max_seconds
        self._pages.add(page)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            while not (page.is_over or self.is_closed) and (left := ends_at - loop.time()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(page.has_news.wait(), min(left, HEARTBEAT_SECONDS))
                yield page.take()
        finally:
            self._pages.discard(page)

    async def _poll(self) -> None:
        explaining: asyncio.Task[None] | None = None
        while self._pages and not self.is_closed:
            self.polls += 1
            pages = list(self._pages)
            try:
                live, views = await asyncio.to_thread(self._read, pages)
            except Exception as error:
                # Any exception: if this task ended, every page would fall silent.
                self._outage.note(error)
            else:
                for page in pages:
                    if page.visitor.session.hash in live:
                        page.update(views)
                    else:
                        page.end()
                if explaining is None or explaining.done():
                    explaining = asyncio.create_task(asyncio.to_thread(self._explain, pages, views))
            await asyncio.sleep(POLL_SECONDS)
        self._polling = None

    def _read(self, pages: Sequence[OpenPage]) -> tuple[set[bytes], list[dict[str, Any]]]:
        now = self._clock()
        live = sessions.live_among(self._db, {page.visitor.session.hash for page in pages})
        workspaces = {page.visitor.caller.workspace_id for page in pages}
        batch_ids = frozenset[BatchId]().union(*(page.batch_ids for page in pages))
        since = now.subtract(seconds=OVERLAP_SECONDS)
        views = with_forecasts(self._db, batch_views.list_shown(self._db, workspaces, batch_ids, since, now))
        return live, [view | {"why": self._explanations.latest(view)} for view in views]

    def _explain(self, pages: Sequence[OpenPage], views: Sequence[View]) -> None:
        """Explain the batches that pages show in detail. The next reading finds the explanations."""
        detailed = frozenset[BatchId]().union(*(page.batch_ids for page in pages if page.template == DETAILED))
        for view in views:
            if view["id"] in detailed:
                self._explanations.of(view, self._clock())
