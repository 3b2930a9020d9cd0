"""Arguments for calls to a provider, besides the request."""

import asyncio
from collections.abc import Awaitable

from dialer.providers.base import CallHandle, CallRequest
from support.deadline import DEADLINE_SECONDS


def in_time(story: Awaitable[None]) -> None:
    """Run a coroutine on its own event loop; fail after the deadline."""

    async def run() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await story

    asyncio.run(run())


def call_handle(request: CallRequest, provider_call_id: str | None = None) -> CallHandle:
    """Return the handle that the engine has of the call of this request."""
    created_at = request.place_by.subtract(seconds=15)
    return CallHandle(request.attempt_id, request.to_number, request.from_number, created_at, provider_call_id)


async def ignore_link_state(_: str | None) -> None:
    """Ignore the state of the connection."""
