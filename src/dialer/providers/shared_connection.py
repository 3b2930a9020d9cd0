"""A kept-alive connection that is opened when it is first needed and shared by all concurrent requests.

When it is lost or retired, the next request opens another. Requests that come while it is being opened wait for it, and
share its failure.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

LOST = "the connection was lost"


class Shareable(Protocol):
    """What is shared. `gone` is set once the connection is closed."""

    gone: asyncio.Future[None]

    @property
    def is_usable(self) -> bool:
        """Say whether new requests may be sent on it."""

    def abort(self) -> None:
        """Close it and discard what was not sent."""


C = TypeVar("C", bound=Shareable)


class SharedConnection(Generic[C]):
    """Belongs to the event loop that uses it first. `open_connection` opens a connection, or raises."""

    def __init__(self, open_connection: Callable[[], Awaitable[C]]) -> None:
        self._open_connection = open_connection
        self._opening: asyncio.Task[C] | None = None
        # Retired connections too: they stay open until the last request that waits on them has ended.
        self._open: set[C] = set()

    async def get(self) -> C:
        """Return the connection; raises what `open_connection` raises, and OSError where it was lost at once."""
        opening = self._opening
        if opening is None or (opening.done() and not _is_usable(opening)):
            self._opening = opening = asyncio.create_task(self._open_and_keep())
            # Retrieve the exception, so that asyncio does not warn "exception was never retrieved".
            opening.add_done_callback(_result)
        if not opening.done():
            # When this request is cancelled, the others still want the connection.
            await asyncio.wait([opening])
        connection = opening.result()
        if not connection.is_usable:
            raise ConnectionResetError(LOST)
        return connection

    async def close(self) -> None:
        """Close all connections. Called twice: the same."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            self._opening = None
        for connection in tuple(self._open):
            connection.abort()
            await connection.gone

    async def _open_and_keep(self) -> C:
        connection = await self._open_connection()
        self._open.add(connection)
        connection.gone.add_done_callback(lambda _: self._open.discard(connection))
        return connection


def _is_usable(task: asyncio.Task[C]) -> bool:
    connection = _result(task)
    return connection is not None and connection.is_usable


def _result(task: asyncio.Task[C]) -> C | None:
    """Return the connection that a finished task has opened; None: it failed."""
    return None if task.cancelled() or task.exception() else task.result()
