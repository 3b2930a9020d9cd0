"""The listener: holds the providers' event sockets and hands call events over to the inbox.

A report is acknowledged to its network only after it is committed. Then settle is asked to look; should that be lost,
the next tick sees that the inbox is not empty.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from dialer.domain.events import CallEvent
from dialer.domain.ids import TrunkId
from dialer.engine import events
from dialer.errors import DialerError
from dialer.providers.base import Provider
from dialer.store import attempts, numbers, trunk_links
from dialer.store.database import Database
from dialer.store.numbers import Trunk

log = structlog.get_logger()


class Listener:
    """One socket a trunk, as the trunks in Postgres say: they are read again every few seconds.

    A socket that broke, or whose reports could not be stored, is opened anew then: its network keeps what was not
    acknowledged, or is asked for what was missed. `listener_id`: the name of this listener in the ledger.
    """

    def __init__(
        self,
        db: Database,
        listener_id: UUID,
        connect: Callable[[Trunk], Provider],
        ask_settle: Callable[[], object],
        *,
        reread_seconds: float = 5.0,
    ) -> None:
        self._db = db
        self._id = listener_id
        self._connect = connect
        self._ask_settle = ask_settle
        self._reread_seconds = reread_seconds
        self._sockets: dict[TrunkId, tuple[Trunk, asyncio.Task[None]]] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Listen until stopped; what was acknowledged by then is committed."""
        try:
            while not stopped.is_set():
                await self._follow_trunks()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), self._reread_seconds)
        finally:
            await self._close(list(self._sockets))
            await asyncio.to_thread(self._leave)

    async def _follow_trunks(self) -> None:
        try:
            trunks = {trunk.id: trunk for trunk in await asyncio.to_thread(self._read_trunks)}
        except DialerError as error:
            log.warning("trunks cannot be read", reason=str(error))
            return
        await self._close(
            [of for of, (trunk, socket) in self._sockets.items() if trunks.get(of) != trunk or socket.done()]
        )
        for trunk in trunks.values():
            if trunk.id not in self._sockets:
                self._sockets[trunk.id] = (trunk, asyncio.create_task(self._listen(trunk)))

    def _read_trunks(self) -> list[Trunk]:
        with self._db.begin() as connection:
            return numbers.reporting_trunks(connection)

    async def _listen(self, trunk: Trunk) -> None:
        """Listen to one trunk; whatever goes wrong is logged, and tried again when the trunks are read next."""

        async def hand_over(reports: Sequence[CallEvent]) -> None:
            await asyncio.to_thread(events.receive, self._db, trunk.id, reports)
            await asyncio.to_thread(self._ask)

        is_up = False

        async def linked(reason: str | None) -> None:
            nonlocal is_up
            was_up, is_up = is_up, False
            await asyncio.to_thread(self._note_link, trunk, reason, is_anew=not was_up)
            is_up = reason is None

        try:
            provider = self._connect(trunk)
            try:
                await provider.listen(hand_over, linked)
                # Its network reports by HTTP: there is nothing to hold until the trunk changes.
                await asyncio.Event().wait()
            finally:
                await provider.close()
        except DialerError as error:
            log.warning("listening failed", trunk_id=str(trunk.id), reason=str(error))
            await self._note_failure(trunk, str(error))
        except Exception as error:
            log.exception("listening failed", trunk_id=str(trunk.id))
            await self._note_failure(trunk, repr(error))

    async def _note_failure(self, trunk: Trunk, reason: str) -> None:
        with suppress(DialerError):  # the ledger is away: that, too, is a reason to be tried again
            await asyncio.to_thread(self._note_link, trunk, reason)

    def _note_link(self, trunk: Trunk, reason: str | None, *, is_anew: bool = False) -> None:
        """Write whether this trunk is heard; of one that is heard again, rescue asks what was missed."""
        with self._db.begin() as connection:
            if reason is not None:
                trunk_links.down(connection, trunk.id, self._id, reason)
            elif trunk_links.up(connection, trunk.id, self._id, is_anew=is_anew):
                attempts.look_soon(connection, trunk.id)

    def _leave(self) -> None:
        with suppress(DialerError), self._db.begin() as connection:
            trunk_links.forget(connection, self._id)

    def _ask(self) -> None:
        try:
            self._ask_settle()
        except Exception as error:
            # The reports are safe; the next tick asks settle to look.
            log.warning("settle could not be asked", reason=str(error))

    async def _close(self, trunk_ids: Sequence[TrunkId]) -> None:
        sockets = [self._sockets.pop(of)[1] for of in trunk_ids]
        for socket in sockets:
            socket.cancel()
        await asyncio.gather(*sockets, return_exceptions=True)
