"""Webhooks that arrive together are stored together, and each gets the answer that is its own."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Event
from uuid import UUID, uuid4

from structlog.contextvars import bound_contextvars, get_contextvars

from dialer.api.report_queue import ReportQueue
from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, TrunkId
from dialer.errors import ReportsRefused, Unavailable
from support.world import MONDAY

TRUNK, OTHER_TRUNK = TrunkId(UUID(int=1)), TrunkId(UUID(int=2))


def ringing() -> CallEvent:
    attempt_id = AttemptId(uuid4())
    return CallEvent(str(attempt_id), attempt_id, EventKind.RINGING, MONDAY)


class Inbox:
    """Counts what is stored. The first page is held back until more webhooks wait."""

    def __init__(self, fails: Callable[[Sequence[CallEvent]], Exception | None] = lambda _: None) -> None:
        self.pages: list[tuple[TrunkId, Sequence[CallEvent]]] = []
        self.woken = 0
        self.woken_by: list[object] = []
        self.more_are_waiting = Event()
        self._fails = fails
        self.queue = ReportQueue(self._store, self._wake)

    def _store(self, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
        self.more_are_waiting.wait(10)
        self.pages.append((trunk_id, events))
        if error := self._fails(events):
            raise error
        return len(events)

    def _wake(self) -> None:
        self.woken += 1
        self.woken_by.append(get_contextvars().get("request_id"))

    async def store(self, *webhooks: tuple[TrunkId, Sequence[CallEvent]]) -> list[BaseException | None]:
        """Store the first webhook, and the others while it is being stored; return the error of each."""
        first, *others = (asyncio.ensure_future(self.queue.store(*webhook)) for webhook in webhooks)
        while not self.queue._storing:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.more_are_waiting.set()
        return await asyncio.gather(first, *others, return_exceptions=True)


async def test_webhooks_that_arrive_while_others_are_stored_make_one_page() -> None:
    inbox = Inbox()
    events = [ringing() for _ in range(50)]
    assert await inbox.store(*((TRUNK, [event]) for event in events)) == [None] * 50
    assert len(inbox.pages) <= 2
    assert [event for _, page in inbox.pages for event in page] == events
    assert inbox.woken == len(inbox.pages)


async def test_settle_is_woken_under_the_id_of_the_first_request_of_each_page() -> None:
    inbox = Inbox()

    async def request(request_id: str) -> None:
        with bound_contextvars(request_id=request_id):
            await inbox.queue.store(TRUNK, [ringing()])

    first = asyncio.create_task(request("first"))
    while not inbox.queue._storing:
        await asyncio.sleep(0)
    others = [asyncio.create_task(request(name)) for name in ("second", "third")]
    await asyncio.sleep(0)
    inbox.more_are_waiting.set()
    await asyncio.gather(first, *others)
    assert inbox.woken_by == ["first", "second"]


async def test_each_trunk_stores_its_own() -> None:
    inbox = Inbox()
    first, own, others = ringing(), ringing(), ringing()
    await inbox.store((TRUNK, [first]), (TRUNK, [own]), (OTHER_TRUNK, [others]))
    assert (OTHER_TRUNK, [others]) in inbox.pages
    assert all(others not in events for trunk_id, events in inbox.pages if trunk_id == TRUNK)


async def test_a_report_that_cannot_be_stored_is_refused_alone() -> None:
    bad = ringing()
    inbox = Inbox(lambda events: ReportsRefused("one of them") if bad in events else None)
    answers = await inbox.store(*((TRUNK, [event]) for event in (ringing(), ringing(), bad, ringing())))
    assert [type(answer) for answer in answers] == [type(None), type(None), ReportsRefused, type(None)]


async def test_while_the_database_is_away_a_page_is_tried_once() -> None:
    inbox = Inbox(lambda _: Unavailable("Postgres does not answer"))
    answers = await inbox.store(*((TRUNK, [ringing()]) for _ in range(20)))
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert (len(inbox.pages) <= 2, inbox.woken) == (True, 0)


async def test_a_client_that_disconnects_while_it_waits_does_not_disturb_the_others() -> None:
    inbox = Inbox()
    waiting = [asyncio.ensure_future(inbox.queue.store(TRUNK, [ringing()])) for _ in range(3)]
    while not inbox.queue._storing:
        await asyncio.sleep(0)
    waiting[1].cancel()
    inbox.more_are_waiting.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in done] == [type(None), asyncio.CancelledError, type(None)]
    assert sum(len(events) for _, events in inbox.pages) == 3
