"""Webhooks that arrive at the same time are stored together: one transaction and one wake-up of settle for all of them.

While one page is being committed, the next requests wait and make up the next page. So a single webhook does not wait,
and under load the cost of each falls.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.errors import ReportsRefused, Unavailable

# Call events that are stored together: their transaction should take a few milliseconds.
PAGE = 500

Store = Callable[[TrunkId, Sequence[CallEvent]], int]


@dataclass(frozen=True, slots=True, eq=False)
class Webhook:
    """The call events of one request, which is answered once they are `stored`. `context`: has the request's id."""

    trunk_id: TrunkId
    events: Sequence[CallEvent]
    stored: asyncio.Future[None]
    context: Context = field(default_factory=copy_context)

    def answer(self, error: Exception | None) -> None:
        if self.stored.done():  # its client has disconnected
            return
        if error is None:
            self.stored.set_result(None)
        else:
            self.stored.set_exception(error)


class ReportQueue:
    """The webhooks of one process that wait to be stored.

    Args:
        store: stores call events of a trunk and returns how many were new; raises what makes the network send them
            again.
        on_new: called after new call events were stored, in the context of the first of their requests.
    """

    def __init__(self, store: Store, on_new: Callable[[], object]) -> None:
        self._store, self._on_new = store, on_new
        self._waiting: list[Webhook] = []
        self._storing: asyncio.Task[None] | None = None

    async def store(self, trunk_id: TrunkId, events: Sequence[CallEvent]) -> None:
        """Return once these call events are committed; raises what `store` raises for them."""
        webhook = Webhook(trunk_id, events, asyncio.get_running_loop().create_future())
        self._waiting.append(webhook)
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        await webhook.stored

    async def _store_all(self) -> None:
        page: list[Webhook] = []
        try:
            while page := self._next_page():
                errors = await run_in_threadpool(self._store_page, page)
                for webhook in page:
                    webhook.answer(errors.get(webhook))
        finally:
            self._storing = None
            # Of a page that was interrupted, it is not known what was committed: a repetition changes nothing.
            for webhook in page:
                webhook.answer(Unavailable("The API is stopping"))

    def _next_page(self) -> list[Webhook]:
        page: list[Webhook] = []
        while self._waiting and (not page or sum(len(webhook.events) for webhook in page) < PAGE):
            page.append(self._waiting.pop(0))
        return page

    def _store_page(self, page: Sequence[Webhook]) -> dict[Webhook, Exception]:
        """Store a page; return the webhooks that were refused, and why."""
        by_trunk: dict[TrunkId, list[Webhook]] = defaultdict(list)
        for webhook in page:
            by_trunk[webhook.trunk_id].append(webhook)
        errors: dict[Webhook, Exception] = {}
        if sum(self._store_together(webhooks, errors) for webhooks in by_trunk.values()):
            page[0].context.run(self._on_new)
        return errors

    def _store_together(self, webhooks: Sequence[Webhook], errors: dict[Webhook, Exception]) -> int:
        try:
            return self._store(webhooks[0].trunk_id, [event for webhook in webhooks for event in webhook.events])
        except Exception as error:
            # Of several, one may be refused. The others must not be sent again because of it, time after time.
            if len(webhooks) == 1 or not isinstance(error, ReportsRefused):
                errors |= dict.fromkeys(webhooks, error)
                return 0
        return sum(self._store_together([webhook], errors) for webhook in webhooks)
