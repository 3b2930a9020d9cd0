"""The listener: holds the providers' event sockets and stores call events in the inbox.

An event is acknowledged to its network only after it is committed. Then settle is asked to run; if that request is
lost, the next tick finds the events in the inbox.
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
from dialer.domain.trunk import Trunk
from dialer.engine import events, journal
from dialer.errors import DialerError
from dialer.heartbeat import EVERY_SECONDS
from dialer.log import Outage
from dialer.providers import registry
from dialer.providers.base import Provider
from dialer.store import attempts, numbers, trunk_listeners
from dialer.store.database import Database

log = structlog.get_logger()


@dataclass(slots=True)
class Link:
    """One event socket."""

    trunks: Sequence[Trunk]  #: The trunks whose events arrive on it. It is opened with the config of the first.
    is_shared: bool  #: It also carries events of calls on other trunks.
    task: asyncio.Task[None] | None = None  #: Runs as long as the socket is held.
    is_up: bool = False  #: According to the last link state.

    @property
    def has_ended(self) -> bool:
        """Whether its task has ended, because of an error."""
        return self.task is not None and self.task.done()


class Listener:
    """Holds one socket per network, for the trunks in Postgres, which are read again every few seconds.

    A socket that broke, or whose events could not be stored, is opened again then: its network keeps what was not
    acknowledged, or rescue asks it for what was missed.

    Args:
        db: the database.
        listener_id: the id of this listener in the ledger.
        connect: makes the provider of a trunk.
        ask_settle: called after events were stored; if it fails, the next tick finds them.
        reread_seconds: how often the trunks are read.
        touch: called every second in which the event loop runs.
    """

    def __init__(
        self,
        db: Database,
        listener_id: UUID,
        connect: Callable[[Trunk], Provider],
        ask_settle: Callable[[], object],
        *,
        reread_seconds: float = 5.0,
        touch: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._id = listener_id
        self._connect = connect
        self._ask_settle = ask_settle
        self._reread_seconds = reread_seconds
        self._touch = touch
        self._outage = Outage("a server that the listener needs does not answer", wiring.seconds)
        self._links: dict[Hashable, Link] = {}
        # The reason that was last logged for each trunk that is not heard.
        self._logged_reasons: dict[TrunkId, str] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Listen until stopped. Every acknowledged event is committed."""
        heartbeats = asyncio.create_task(self._show_heartbeats())
        try:
            while not stopped.is_set():
                await self._follow_trunks()
                await self._renew_links()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), self._reread_seconds)
        finally:
            await self._close(list(self._links))
            await asyncio.to_thread(self._leave)
            heartbeats.cancel()

    async def _show_heartbeats(self) -> None:
        while True:
            self._touch()
            await asyncio.sleep(EVERY_SECONDS)

    async def _follow_trunks(self) -> None:
        try:
            trunks = await asyncio.to_thread(self._read_trunks)
        except DialerError as error:
            self._outage.note(error)
            return
        trunks_by_link: dict[Hashable, list[Trunk]] = defaultdict(list)
        for trunk in trunks:
            trunks_by_link[_link_key(trunk)].append(trunk)
        present = {trunk.id for trunk in trunks}
        self._logged_reasons = {
            trunk_id: reason for trunk_id, reason in self._logged_reasons.items() if trunk_id in present
        }
        await self._close([key for key, link in self._links.items() if key not in trunks_by_link or link.has_ended])
        for key, trunks in trunks_by_link.items():
            if key in self._links:
                self._links[key].trunks = trunks
            else:
                self._links[key] = link = Link(trunks, is_shared=registry.shared_link(trunks[0]) is not None)
                link.task = asyncio.create_task(self._listen(link))

    async def _renew_links(self) -> None:
        """Record that the links are still up, for networks that report it only once because they keep unread events."""
        up = [trunk.id for link in self._links.values() if link.is_up for trunk in link.trunks
              if not registry.needs_listener(trunk.provider)]  # fmt: skip
        with suppress(DialerError):  # Postgres is away: the next round renews them
            await asyncio.to_thread(self._renew, up)

    def _renew(self, trunk_ids: Sequence[TrunkId]) -> None:
        if trunk_ids:
            with self._db.begin() as connection:
                trunk_listeners.renew(connection, trunk_ids, self._id)

    def _read_trunks(self) -> list[Trunk]:
        with self._db.begin() as connection:
            return numbers.reporting_trunks(connection)

    async def _listen(self, link: Link) -> None:
        """Hold one socket. An error is logged once; the socket is opened again when the trunks are read next."""

        async def on_events(call_events: Sequence[CallEvent]) -> None:
            await asyncio.to_thread(self._store, link, call_events)
            await asyncio.to_thread(self._wake_settle)

        async def on_link_state(reason: str | None) -> None:
            self._log(link, reason)
            was_up, link.is_up = link.is_up, False
            await asyncio.to_thread(self._record_state, link, reason, is_anew=not was_up)
            link.is_up = reason is None

        trunk = link.trunks[0]
        try:
            provider = self._connect(trunk)
            try:
                await provider.listen(on_events, on_link_state)
                # This network posts its events by HTTP: there is no socket to hold until the trunk changes.
                await asyncio.Event().wait()
            finally:
                await provider.close()
        except DialerError as error:
            self._log(link, str(error))
            await self._record_failure(link, str(error))
        except Exception as error:
            self._log(link, repr(error), exc_info=True)
            await self._record_failure(link, repr(error))

    def _log(self, link: Link, reason: str | None, **more: bool) -> None:
        """Log that a trunk is not heard: once, and when the reason changes, because it is retried every few seconds."""
        trunk_id = link.trunks[0].id
        if reason == self._logged_reasons.get(trunk_id):
            return
        if reason is None:
            del self._logged_reasons[trunk_id]
            log.info("trunk is heard again", trunk_id=str(trunk_id))
        else:
            self._logged_reasons[trunk_id] = reason
            log.warning("trunk is not heard", trunk_id=str(trunk_id), reason=reason, **more)

    def _store(self, link: Link, call_events: Sequence[CallEvent]) -> None:
        began_at = wiring.clock()
        if link.is_shared:
            events.receive_shared(self._db, [trunk.id for trunk in link.trunks], call_events)
        else:
            events.receive(self._db, link.trunks[0].id, call_events)
        journal.received(call_events, began_at, wiring.clock())

    async def _record_failure(self, link: Link, reason: str) -> None:
        with suppress(DialerError):  # Postgres is away: the socket is opened again anyway
            await asyncio.to_thread(self._record_state, link, reason)

    def _record_state(self, link: Link, reason: str | None, *, is_anew: bool = False) -> None:
        """Record whether these trunks are heard. Of those that are heard again, rescue looks up the live attempts."""
        with self._db.begin() as connection:
            for trunk in link.trunks:
                if reason is not None:
                    trunk_listeners.down(connection, trunk.id, self._id, reason)
                elif trunk_listeners.up(connection, trunk.id, self._id, is_anew=is_anew):
                    attempts.rescue_trunk_now(connection, trunk.id)

    def _leave(self) -> None:
        with suppress(DialerError), self._db.begin() as connection:
            trunk_listeners.forget(connection, self._id)

    def _wake_settle(self) -> None:
        try:
            self._ask_settle()
        except Exception as error:
            # The events are committed; the next tick starts settle.
            self._outage.note(error)

    async def _close(self, keys: Sequence[Hashable]) -> None:
        tasks = [task for key in keys if (task := self._links.pop(key).task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _link_key(trunk: Trunk) -> Hashable:
    """Return a key that is equal for trunks on the same socket. A changed config needs a new socket."""
    return registry.shared_link(trunk) or (trunk.id, trunk.provider, json.dumps(trunk.config, sort_keys=True))
