"""Whether a Stasis application is connected, asked of Asterisk before people are called for it.

Asterisk answers a call for an application that is not connected, and drops it at once.
"""

import asyncio
from collections.abc import Callable

from pendulum import DateTime

from dialer.providers.asterisk.ari import Ari, AriResponse

# As long as this an answer counts, so that many calls at once ask one time.
VALID_SECONDS = 1.0


class Applications:
    """The applications of one Asterisk. Belongs to the event loop that uses it first."""

    def __init__(self, ari: Ari, clock: Callable[[], DateTime]) -> None:
        self._ari = ari
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: dict[str, tuple[DateTime, bool]] = {}

    async def is_missing(self, app: str) -> bool:
        """Say whether it is surely not connected; where Asterisk does not say, the originate will."""
        async with self._asking:
            asked_at, is_missing = self._known.get(app, (None, False))
            if asked_at is None or self._clock() >= asked_at.add(seconds=VALID_SECONDS):
                answer = await self._ari.ask("GET", f"/applications/{app}")
                is_missing = isinstance(answer, AriResponse) and answer.is_no_application
                self._known[app] = (self._clock(), is_missing)
            return is_missing
