"""All trunks' providers behind one front: what one of them does harms no other."""

import asyncio
from uuid import UUID

from dialer.domain.ids import TrunkId
from dialer.errors import Unavailable
from dialer.providers.pool import ProviderPool
from dialer.store.numbers import Trunk
from support.world import Clock

GOOD, SILENT, BROKEN, UNUSABLE = (Trunk(TrunkId(UUID(int=nth)), str(nth), {}) for nth in range(4))


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
