"""The network's own limits: how many calls are up, and how many were placed in the last second.

In: the calls that are opened and cut short. Out: the cause for which one more call must be refused, or None.
"""

import heapq
from collections import deque

from dialer.providers.simulator.instants import SECOND
from dialer.providers.simulator.profile import NetworkProfile


class Capacity:
    """Which calls are up, without a scan of those that are not."""

    def __init__(self) -> None:
        self._ends: list[tuple[int, str]] = []
        self._up: set[str] = set()
        self._placed: deque[int] = deque()

    def opened(self, call_id: str, placed: int, ended: int) -> None:
        self._up.add(call_id)
        heapq.heappush(self._ends, (ended, call_id))
        self._placed.append(placed)

    def cut(self, call_id: str) -> None:
        self._up.discard(call_id)

    def exceeded(self, profile: NetworkProfile, now: int) -> str | None:
        """Name the limit that one more call would break."""
        self._pass_time(now)
        if profile.max_concurrent_calls is not None and len(self._up) >= profile.max_concurrent_calls:
            return "normal_circuit_congestion"
        if profile.calls_per_second is not None and len(self._placed) >= profile.calls_per_second:
            return "rate_exceeded"
        return None

    def _pass_time(self, now: int) -> None:
        while self._ends and self._ends[0][0] <= now:
            self._up.discard(heapq.heappop(self._ends)[1])
        while self._placed and self._placed[0] <= now - SECOND:
            self._placed.popleft()
