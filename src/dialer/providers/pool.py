"""The providers of all trunks, behind synchronous functions: one event loop in a thread, connections kept alive.

In: calls and their trunks. Out: an answer for each call. An error is turned into the answer that never lets a call be
placed twice: `Refused` if the request surely has not left, else `Unclear`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from threading import Lock, Thread
from typing import Any, TypeVar

import structlog
import uvloop
from pendulum import DateTime

from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.domain.timeouts import PLACE_SECONDS
from dialer.domain.trunk import Trunk
from dialer.errors import DialerError
from dialer.providers.base import (
    TOO_LATE,
    CallHandle,
    CallRequest,
    ChecksDestinations,
    LookupFailed,
    LookupResult,
    Placement,
    Provider,
    Refused,
    Unclear,
)

T = TypeVar("T")
Connect = Callable[[Trunk], Provider]

HEALTH_CHECKS_AT_ONCE = 32
# How long a provider stays open whose trunk has another config: its requests in progress have ended by then.
REPLACED_SECONDS = 2 * PLACE_SECONDS

log = structlog.get_logger()


class ProviderPool:
    """The providers of this process, one per trunk: made on first use, and again when the trunk's config changes."""

    def __init__(self, connect: Connect, clock: Callable[[], DateTime]) -> None:
        self._connect = connect
        self._clock = clock
        self._open: dict[TrunkId, tuple[Trunk, Provider]] = {}
        self._replaced: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = Lock()

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        """Place all these calls at once; every attempt gets an answer."""

        async def place(trunk: Trunk, request: CallRequest) -> Placement:
            try:
                provider = await self._provider(trunk)
            except DialerError as error:
                return Refused(str(error), CauseClass.INFRASTRUCTURE)
            now = self._clock()
            if now >= request.leave_by:
                return TOO_LATE
            # Afterwards rescue may give the attempt back, so nothing may leave any more (P1). Longer than any trunk's
            # timeout: its adapter knows whether the request has left, and this does not.
            longest = (request.place_by - now).total_seconds() + PLACE_SECONDS
            try:
                async with asyncio.timeout(longest):
                    return await provider.place(request)
            except TimeoutError:
                return Unclear("the provider did not answer in time")
            except Exception as error:
                # A provider must not raise here, so it is not known whether the request has left.
                log.exception("provider raised while placing", trunk_id=trunk.id, attempt_id=request.attempt_id)
                return Unclear(repr(error))

        answers = self._run(_gather(place(trunk, request) for trunk, request in calls))
        return {request.attempt_id: answer for (_, request), answer in zip(calls, answers, strict=True)}

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        """Look up all these calls at once; every attempt gets an answer."""

        async def look_up(trunk: Trunk, call: CallHandle) -> LookupResult:
            try:
                async with asyncio.timeout(PLACE_SECONDS):
                    return await (await self._provider(trunk)).look_up(call)
            except TimeoutError:
                return LookupFailed("the provider did not answer in time")
            except DialerError as error:
                return LookupFailed(str(error))
            except Exception as error:
                log.exception("provider raised while looking up", trunk_id=trunk.id, attempt_id=call.attempt_id)
                return LookupFailed(repr(error))

        answers = self._run(_gather(look_up(trunk, call) for trunk, call in calls))
        return {call.attempt_id: answer for (_, call), answer in zip(calls, answers, strict=True)}

    def hang_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> None:
        """Hang up these calls; their ends are reported as usual."""

        async def hang_up(trunk: Trunk, call: CallHandle) -> None:
            try:
                async with asyncio.timeout(PLACE_SECONDS):
                    await (await self._provider(trunk)).hang_up(call)
            except (DialerError, TimeoutError) as error:
                log.warning("not hung up yet", trunk_id=trunk.id, attempt_id=call.attempt_id, reason=str(error))
            except Exception:
                log.exception("provider raised while hanging up", trunk_id=trunk.id, attempt_id=call.attempt_id)

        self._run(_gather(hang_up(trunk, call) for trunk, call in calls))

    def warm_up(self, trunks: Sequence[Trunk], seconds: float) -> None:
        """Load the code of these trunks' providers and open their connections, for at most this many seconds.

        Otherwise the first call would be delayed. A problem of a trunk is reported when the trunk is used.
        """

        async def reach(trunk: Trunk) -> None:
            try:
                await (await self._provider(trunk)).health()
            except DialerError as error:
                log.warning("trunk cannot be used", trunk_id=trunk.id, reason=str(error))
            except Exception:
                log.exception("provider raised while it was asked for its health", trunk_id=trunk.id)

        async def reach_all() -> None:
            if trunks:
                tasks = [asyncio.create_task(reach(trunk)) for trunk in trunks]
                _, late = await asyncio.wait(tasks, timeout=seconds)
                for task in late:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        self._run(reach_all())

    def health(self, trunk: Trunk) -> str | None:
        """Return why no calls can be placed on this trunk now; None: they can."""
        return self.health_all([trunk])[0]

    def health_all(self, trunks: Sequence[Trunk]) -> list[str | None]:
        """Say of each trunk why no calls can be placed on it now; None: they can. Asks a few dozen trunks at once."""

        async def ask(trunk: Trunk, turn: asyncio.Semaphore) -> str | None:
            try:
                async with turn, asyncio.timeout(PLACE_SECONDS):
                    return await (await self._provider(trunk)).health()
            except TimeoutError:
                return "the provider did not answer in time"
            except DialerError as error:
                return str(error)
            except Exception as error:
                log.exception("provider raised while it was asked for its health", trunk_id=trunk.id)
                return repr(error)

        async def ask_all() -> list[str | None]:
            turn = asyncio.Semaphore(HEALTH_CHECKS_AT_ONCE)
            return await _gather(ask(trunk, turn) for trunk in trunks)

        return self._run(ask_all())

    def missing_destination(self, trunk: Trunk, connection: Mapping[str, Any]) -> str | None:
        """Return why an answered call of this agent on this trunk would be dropped; None: no reason is known."""

        async def ask() -> str | None:
            try:
                provider = await self._provider(trunk)
                if not isinstance(provider, ChecksDestinations):
                    return None
                async with asyncio.timeout(PLACE_SECONDS):
                    return await provider.missing_destination(connection)
            except (DialerError, TimeoutError) as error:
                log.warning("destination not checked", trunk_id=trunk.id, reason=str(error))
            except Exception:
                log.exception("provider raised while it was asked for a destination", trunk_id=trunk.id)
            return None

        return self._run(ask())

    def close(self) -> None:
        """Close all connections and stop the event loop."""
        if self._loop is None:
            return
        self._run(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close_all(self) -> None:
        replaced = tuple(self._replaced)
        for closing in replaced:
            closing.cancel()
        await asyncio.gather(*replaced, return_exceptions=True)
        await _gather(provider.close() for _, provider in self._open.values())

    async def _provider(self, trunk: Trunk) -> Provider:
        opened_for, opened = self._open.get(trunk.id, (None, None))
        if opened is not None and opened_for == trunk:
            return opened
        provider = self._connect(trunk)
        self._open[trunk.id] = (trunk, provider)
        if opened is not None:
            closing = asyncio.create_task(_close_later(opened))
            self._replaced.add(closing)
            closing.add_done_callback(self._replaced.discard)
        return provider

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._starting:
            if self._loop is None:
                self._loop = uvloop.new_event_loop()
                Thread(target=_serve, args=(self._loop,), name="provider-pool", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _close_later(provider: Provider) -> None:
    """Close a provider that no new request uses. Closed at once, it would leave its calls in progress unclear."""
    try:
        await asyncio.sleep(REPLACED_SECONDS)
    finally:
        await provider.close()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _gather(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    return list(await asyncio.gather(*work))
