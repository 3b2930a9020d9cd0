"""All trunks' providers behind one front: what one of them does harms no other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event as ThreadEvent
from typing import Any
from uuid import UUID

import pytest

from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.domain.trunk import Trunk
from dialer.errors import Unavailable
from dialer.providers.base import CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.pool import HEALTH_CHECKS_AT_ONCE, ProviderPool
from support.deadline import DEADLINE_SECONDS, wait_until
from support.world import Clock

GOOD, SILENT, BROKEN, UNUSABLE = (Trunk(TrunkId(UUID(int=nth)), str(nth), {}) for nth in range(4))
BROKEN_REASON = "RuntimeError('a mistake in a provider')"


class Asked:
    """A provider of which only the health is asked for."""

    def __init__(self, trunk: Trunk, reached: list[Trunk]) -> None:
        self._trunk, self._reached = trunk, reached

    async def health(self) -> str | None:
        if self._trunk is SILENT:
            await asyncio.Event().wait()
        if self._trunk is BROKEN:
            raise RuntimeError("a mistake in a provider")
        self._reached.append(self._trunk)
        return None

    async def close(self) -> None:
        """There is nothing open."""


def test_networks_are_reached_before_they_are_needed_and_one_that_is_silent_delays_nothing_for_long() -> None:
    reached: list[Trunk] = []

    def connect(trunk: Trunk) -> Asked:
        if trunk is UNUSABLE:
            raise Unavailable("its password is not set")
        return Asked(trunk, reached)

    pool = ProviderPool(connect, Clock())  # type: ignore[arg-type]
    pool.warm_up([SILENT, BROKEN, UNUSABLE, GOOD], seconds=0.2)
    assert reached == [GOOD]
    pool.warm_up([], seconds=0.2)
    pool.close()


def test_a_provider_that_raises_is_a_trunk_that_cannot_place_calls_and_hides_no_other() -> None:
    reached: list[Trunk] = []
    pool = ProviderPool(lambda trunk: Asked(trunk, reached), Clock())  # type: ignore[arg-type,return-value]
    assert pool.health_all([BROKEN, GOOD, BROKEN]) == [BROKEN_REASON, None, BROKEN_REASON]
    assert pool.health(BROKEN) == BROKEN_REASON
    pool.close()


def test_a_trunk_s_own_timeout_says_that_nothing_has_left(
    call_request: Callable[..., CallRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dialer.providers.pool.PLACE_SECONDS", 0.05)

    class Unreachable(Asked):
        async def place(self, _: CallRequest) -> Placement:
            try:
                async with asyncio.timeout(0.05):
                    await asyncio.Event().wait()
            except TimeoutError:
                return Refused(RefusalCause.NETWORK_UNREACHABLE, CauseClass.INFRASTRUCTURE)
            raise AssertionError

    clock = Clock()
    request = call_request(clock())
    pool = ProviderPool(lambda trunk: Unreachable(trunk, []), clock)  # type: ignore[arg-type,return-value]
    answers = pool.place_all([(GOOD, request)])
    pool.close()
    assert isinstance(answers[request.attempt_id], Refused)


def test_a_change_of_a_trunk_does_not_cut_off_its_calls_in_progress(call_request: Callable[..., CallRequest]) -> None:
    opened: list[Any] = []

    class Answering(Asked):
        def __init__(self, trunk: Trunk) -> None:
            super().__init__(trunk, [])
            self.asked, self.answered, self.closed = ThreadEvent(), asyncio.Event(), False
            opened.append(self)

        async def place(self, _: CallRequest) -> Placement:
            self.asked.set()
            if self is opened[0]:
                await self.answered.wait()
            else:
                opened[0].answered.set()
            return Unclear("closed") if self.closed else Placed("one")

        async def close(self) -> None:
            self.closed = True

    clock = Clock()
    pool = ProviderPool(Answering, clock)  # type: ignore[arg-type]
    first, second = call_request(clock()), call_request(clock())
    with ThreadPoolExecutor(1) as thread:
        placing = thread.submit(pool.place_all, [(GOOD, first)])
        wait_until(lambda: bool(opened) and opened[0].asked.is_set())
        pool.place_all([(replace(GOOD, config={"edited": True}), second)])
        assert placing.result(DEADLINE_SECONDS) == {first.attempt_id: Placed("one")}
    pool.close()
    assert [provider.closed for provider in opened] == [True, True]


def test_many_trunks_are_asked_for_their_health_at_once() -> None:
    trunks = [Trunk(TrunkId(UUID(int=nth)), str(nth), {}) for nth in range(3 * HEALTH_CHECKS_AT_ONCE)]
    waiting, most, enough = 0, 0, asyncio.Event()

    class Waiting(Asked):
        async def health(self) -> str | None:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            if most == HEALTH_CHECKS_AT_ONCE:
                enough.set()
            await enough.wait()
            waiting -= 1
            return None

    pool = ProviderPool(lambda trunk: Waiting(trunk, []), Clock())  # type: ignore[arg-type,return-value]
    assert pool.health_all(trunks) == [None] * len(trunks)
    assert most == HEALTH_CHECKS_AT_ONCE
    pool.close()
