"""Answers that are made while they are sent."""

from collections.abc import Generator

from anyio import CancelScope, CapacityLimiter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Sends pieces as a thread makes them, and closes what makes them also when the client has gone away midway.

    `limiter`: how many are sent at once, for each holds a connection to Postgres as long as its client reads.
    """

    def __init__(
        self, pieces: Generator[bytes], media_type: str, headers: dict[str, str], limiter: CapacityLimiter
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces = pieces
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._limiter:
                await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await run_in_threadpool(self._pieces.close)
