"""What the tests of providers ask with besides a request."""

import asyncio
from collections.abc import Awaitable

from dialer.providers.base import CallHandle, CallRequest
from support.deadline import DEADLINE_SECONDS


def in_time(story: Awaitable[None]) -> None:
    """Run one story on a loop of its own, until the deadline."""

    async def run() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await story

    asyncio.run(run())


def handle(request: CallRequest, provider_call_id: str | None = None) -> CallHandle:
    """What the engine knows of the call that it asked for with this request."""
    created_at = request.place_by.subtract(seconds=15)
    return CallHandle(request.attempt_id, request.to_number, request.from_number, created_at, provider_call_id)


async def no_matter(_: str | None) -> None:
    """Hear how the connection is, and do nothing about it."""
