"""The listener: holds the providers' event sockets and hands call events over to the inbox.

A report is acknowledged to its network only after it is committed. Then settle is asked to look; should that be lost,
the next tick sees that the inbox is not empty.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from dialer import wiring
from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.engine import events
from dialer.errors import DialerError
from dialer.log import Outage
from dialer.providers import registry
from dialer.providers.base import Provider
from dialer.store import attempts, numbers, trunk_listeners
from dialer.store.database import Database
from dialer.store.numbers import Trunk

log = structlog.get_logger()


@dataclass(slots=True)
class Link:
    """One socket and the trunks that are heard on it; it is opened as the first of them says.

    `is_shared`: it tells of the calls of other trunks, too. `is_up`: its network says so, or nothing else since it did.
    """

    trunks: Sequence[Trunk]
    is_shared: bool
    task: asyncio.Task[None] | None = None
    is_up: bool = False

    @property
    def is_over(self) -> bool:
        return self.task is not None and self.task.done()


class Listener:
    """One socket a network, as the trunks in Postgres say: they are read again every few seconds.

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
        self._outage = Outage("a server that the listener needs does not answer", wiring.seconds)
        self._links: dict[Hashable, Link] = {}
        # Why a trunk is not heard, as it was last logged.
        self._logged: dict[TrunkId, str] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Listen until stopped; what was acknowledged by then is committed."""
        try:
            while not stopped.is_set():
                await self._follow_trunks()
                await self._say_that_it_lives()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), self._reread_seconds)
        finally:
            await self._close(list(self._links))
            await asyncio.to_thread(self._leave)

    async def _follow_trunks(self) -> None:
        try:
            found = await asyncio.to_thread(self._read_trunks)
        except DialerError as error:
            self._outage.note(error)
            return
        wanted: dict[Hashable, list[Trunk]] = defaultdict(list)
        for trunk in found:
            wanted[_key(trunk)].append(trunk)
        present = {trunk.id for trunk in found}
        self._logged = {of: reason for of, reason in self._logged.items() if of in present}
        await self._close([key for key, link in self._links.items() if key not in wanted or link.is_over])
        for key, trunks in wanted.items():
            if key in self._links:
                self._links[key].trunks = trunks
            else:
                self._links[key] = link = Link(trunks, is_shared=registry.shared_link(trunks[0]) is not None)
                link.task = asyncio.create_task(self._listen(link))

    async def _say_that_it_lives(self) -> None:
        """Renew the word of networks that say once that they are heard, for they keep what nobody has taken."""
        up = [trunk.id for link in self._links.values() if link.is_up for trunk in link.trunks
              if not registry.needs_listener(trunk.provider)]  # fmt: skip
        with suppress(DialerError):  # the ledger is away: the next time
            await asyncio.to_thread(self._renew, up)

    def _renew(self, trunk_ids: Sequence[TrunkId]) -> None:
        if trunk_ids:
            with self._db.begin() as connection:
                trunk_listeners.renew(connection, trunk_ids, self._id)

    def _read_trunks(self) -> list[Trunk]:
        with self._db.begin() as connection:
            return numbers.reporting_trunks(connection)

    async def _listen(self, link: Link) -> None:
        """Listen on one link; what goes wrong is logged once, and tried again when the trunks are read next."""

        async def on_events(reports: Sequence[CallEvent]) -> None:
            await asyncio.to_thread(self._store, link, reports)
            await asyncio.to_thread(self._ask)

        async def on_link_state(reason: str | None) -> None:
            self._log(link, reason)
            was_up, link.is_up = link.is_up, False
            await asyncio.to_thread(self._note_link, link, reason, is_anew=not was_up)
            link.is_up = reason is None

        trunk = link.trunks[0]
        try:
            provider = self._connect(trunk)
            try:
                await provider.listen(on_events, on_link_state)
                # Its network reports by HTTP: there is nothing to hold until the trunk changes.
                await asyncio.Event().wait()
            finally:
                await provider.close()
        except DialerError as error:
            self._log(link, str(error))
            await self._note_failure(link, str(error))
        except Exception as error:
            self._log(link, repr(error), exc_info=True)
            await self._note_failure(link, repr(error))

    def _log(self, link: Link, reason: str | None, **more: bool) -> None:
        """Log that a trunk is not heard: once and whenever the reason changes, for it is tried every few seconds."""
        trunk_id = link.trunks[0].id
        if reason == self._logged.get(trunk_id):
            return
        if reason is None:
            del self._logged[trunk_id]
            log.info("trunk is heard again", trunk_id=str(trunk_id))
        else:
            self._logged[trunk_id] = reason
            log.warning("trunk is not heard", trunk_id=str(trunk_id), reason=reason, **more)

    def _store(self, link: Link, reports: Sequence[CallEvent]) -> None:
        if link.is_shared:
            events.receive_shared(self._db, [trunk.id for trunk in link.trunks], reports)
        else:
            events.receive(self._db, link.trunks[0].id, reports)

    async def _note_failure(self, link: Link, reason: str) -> None:
        with suppress(DialerError):  # the ledger is away: that, too, is a reason to be tried again
            await asyncio.to_thread(self._note_link, link, reason)

    def _note_link(self, link: Link, reason: str | None, *, is_anew: bool = False) -> None:
        """Write whether these trunks are heard; of those that are heard again, rescue asks what was missed."""
        with self._db.begin() as connection:
            for trunk in link.trunks:
                if reason is not None:
                    trunk_listeners.down(connection, trunk.id, self._id, reason)
                elif trunk_listeners.up(connection, trunk.id, self._id, is_anew=is_anew):
                    attempts.look_soon(connection, trunk.id)

    def _leave(self) -> None:
        with suppress(DialerError), self._db.begin() as connection:
            trunk_listeners.forget(connection, self._id)

    def _ask(self) -> None:
        try:
            self._ask_settle()
        except Exception as error:
            # The reports are safe; the next tick asks settle to look.
            self._outage.note(error)

    async def _close(self, keys: Sequence[Hashable]) -> None:
        tasks = [task for key in keys if (task := self._links.pop(key).task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _key(trunk: Trunk) -> Hashable:
    """Say which trunks are heard on one socket; one that has changed is heard on a new one."""
    return registry.shared_link(trunk) or (trunk.id, trunk.provider, json.dumps(trunk.config, sort_keys=True))
