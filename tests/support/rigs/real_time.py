"""The rig of a network in real time: reports are handed over and waited for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.providers.base import Provider
from dialer.providers.simulator import SimulatedNetwork
from support.networks.switch import Switch
from support.rigs import CallLog

DEADLINE_SECONDS = 20


@dataclass
class RealTimeRig(CallLog):
    """A rig whose reports are pushed. `switch`: controls of the fake network besides its profile."""

    provider: Provider
    network: SimulatedNetwork
    port: int
    connect: Callable[[int], Provider]
    evaluated: Callable[[], Sequence[str]]
    keeps_records: bool = False
    knows_place_by: bool = False
    tells_rate: bool = True
    secrets: Sequence[str] = ()
    is_switch: bool = False
    switch: Switch | None = None
    close_network: Callable[[], Awaitable[object]] | None = None
    received: list[CallEvent] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def now(self) -> DateTime:
        return pendulum.now("UTC")

    async def on_events(self, events: Sequence[CallEvent]) -> None:
        async with self.news:
            self.received.extend(events)
            self.news.notify_all()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), self.news:
            await self.news.wait_for(enough)

    def cut_next_answer(self) -> bool:
        if self.switch is None:
            return False
        self.switch.cut_answers = 1
        return True

    async def go_away(self) -> bool:
        if self.close_network is None:
            return False
        await self.close_network()
        return True


@asynccontextmanager
async def listening(rig: RealTimeRig) -> AsyncIterator[None]:
    """Listen on the rig's provider; wait until it is up, because some networks keep no events for later."""
    is_up = asyncio.Event()

    async def on_link_state(reason: str | None) -> None:
        if reason is None:
            is_up.set()

    listens = asyncio.create_task(rig.provider.listen(rig.on_events, on_link_state))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await is_up.wait()
        yield
    finally:
        listens.cancel()
        await asyncio.gather(listens, return_exceptions=True)
