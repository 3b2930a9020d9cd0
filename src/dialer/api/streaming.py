"""Responses that are generated while they are sent."""

from collections.abc import Generator
from contextlib import AbstractContextManager

import anyio
from anyio import CancelScope
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Sends what a generator yields in a thread, and closes the generator also when the client disconnects.

    Args:
        chunks: yields the body; it runs in a thread.
        media_type: content type of the response.
        headers: further headers.
        slot: entered before the first byte; it may raise Busy.
        max_seconds: the response is aborted then, so that a client that reads slowly does not keep its slot.
    """

    def __init__(
        self,
        chunks: Generator[bytes],
        media_type: str,
        headers: dict[str, str],
        slot: AbstractContextManager[None],
        max_seconds: float,
    ) -> None:
        super().__init__(chunks, media_type=media_type, headers=headers)
        self._chunks = chunks
        self._slot = slot
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._slot, anyio.fail_after(self._max_seconds):
                await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await run_in_threadpool(self._chunks.close)
