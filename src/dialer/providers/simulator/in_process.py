"""The provider for virtual time: a simulated network in the same process, without sockets.

In: the methods of the provider contract, and a clock that a test moves. Out: the network's answers, at once. Reports
are not pushed: the test takes them with `network.due` and `network.acknowledge`.
"""

from collections.abc import Callable

from pendulum import DateTime

from dialer.providers.base import TOO_LATE, CallHandle, CallRequest, LookupResult, OnEvents, OnLinkState, Placement
from dialer.providers.simulator.network import SimulatedNetwork


class InProcessSimulator:
    """One trunk's connection to a network in memory. Implements `Provider`."""

    def __init__(self, network: SimulatedNetwork, clock: Callable[[], DateTime]) -> None:
        self.network = network
        self._clock = clock

    async def place(self, request: CallRequest) -> Placement:
        """Place a call. Unlike over a socket, a missing answer is `Unclear` at once."""
        now = self._clock()
        return TOO_LATE if now >= request.leave_by else self.network.place(request, now)

    async def look_up(self, call: CallHandle) -> LookupResult:
        return self.network.look_up(call.attempt_id, self._clock())

    async def hang_up(self, call: CallHandle) -> None:
        self.network.hang_up(call.attempt_id, self._clock())

    async def health(self) -> str | None:
        return None

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Return at once: nothing is pushed."""

    async def close(self) -> None:
        """Nothing is held."""
