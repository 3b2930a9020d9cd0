"""A kept-alive connection that is opened when it is needed, and shared by all who ask at the same time.

When it is lost or retired, the next one who asks opens another. Whoever asks while one is being opened waits for that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from dialer.providers.freeswitch.esl import Connection

C = TypeVar("C", bound=Connection)


class Line(Generic[C]):
    """`open_one` opens a connection, or raises."""

    def __init__(self, open_one: Callable[[], Awaitable[C]]) -> None:
        self._open_one = open_one
        self._opening: asyncio.Task[C] | None = None
        # Retired ones too: they are open until the last one who waits on them is gone.
        self._open: set[C] = set()

    async def get(self) -> C:
        """Return the connection; raises what `open_one` raises."""
        if self._opening is None or (self._opening.done() and not _is_usable(self._opening)):
            self._opening = asyncio.create_task(self._open_and_note())
            # Nobody may be left to hear of its failure when those who waited were cancelled.
            self._opening.add_done_callback(_result)
        # Shielded, since the others still want it when this one is cancelled.
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Called twice: the same."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            self._opening = None
        for connection in tuple(self._open):
            await connection.close()

    async def _open_and_note(self) -> C:
        connection = await self._open_one()
        self._open.add(connection)
        connection.gone.add_done_callback(lambda _: self._open.discard(connection))
        return connection


def _is_usable(task: asyncio.Task[C]) -> bool:
    connection = _result(task)
    return connection is not None and connection.is_usable


def _result(task: asyncio.Task[C]) -> C | None:
    """Return what a finished task has opened, if it has."""
    return None if task.cancelled() or task.exception() else task.result()
