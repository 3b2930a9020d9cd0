"""Follow a network's event connection: open it, hand its events over, report its state, and open it again.

In: a function that opens one connection and yields what it receives. Out: events, and whether the connection is up. How
a dead peer is noticed is the adapter's: it asks the other side every few seconds and raises `LinkLost` without an
answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from dialer.domain.call import CallEvent
from dialer.providers.base import OnEvents, OnLinkState

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class LinkLost(Exception):
    """The connection is not up, or cannot be opened; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a connection has received since the last time.

    `is_up`: the other side has answered, and `events` holds all that it sent before its answer. `gap`: something could
    not be read. It may have been a report, so the connection counts as down until the next answer.
    """

    events: Sequence[CallEvent] = ()
    is_up: bool = False
    gap: str | None = None


Connect = Callable[[], AsyncGenerator[Received, None]]
"""Opens one connection and yields what it receives; raises LinkLost when it cannot be opened or is over.

It is resumed after a `yield` once `on_events` has returned: only then may it acknowledge the events. It may also return
without LinkLost: then the connection is opened again and not reported as down, because the network keeps the reports.
"""


async def follow(connect: Connect, on_events: OnEvents, on_link_state: OnLinkState) -> None:
    """Run until cancelled, or until `on_events` or `on_link_state` raises. Connections are opened with backoff."""
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
    while True:
        began_at = loop.time()
        try:
            async with aclosing(connect()) as connection:
                async for received in connection:
                    await _hand_over(received, on_events, on_link_state)
        except LinkLost as lost:
            await on_link_state(str(lost))
        if loop.time() - began_at > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _hand_over(received: Received, on_events: OnEvents, on_link_state: OnLinkState) -> None:
    if received.events:
        await on_events(received.events)
    if received.gap is not None:
        await on_link_state(received.gap)
    elif received.is_up:
        await on_link_state(None)
