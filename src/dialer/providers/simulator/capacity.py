"""The network's own limits: how many calls are up, and how many were placed in the last second.

In: the calls that are opened and cut short. Out: the cause for which one more call must be refused, or None. A second
is half-open: two calls that were placed exactly one second apart are not in the same one.
"""

import heapq
from collections import deque
from collections.abc import Iterable

from dialer.domain.outcomes import RefusalCause
from dialer.providers.simulator.instants import SECOND
from dialer.providers.simulator.profile import NetworkProfile

CONGESTION = "normal_circuit_congestion"
RATE_EXCEEDED = RefusalCause.RATE_LIMITED


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
            return CONGESTION
        if profile.calls_per_second is not None and len(self._placed) >= profile.calls_per_second:
            return RATE_EXCEEDED
        return None

    def retry_after(self, now: int) -> float:
        """In how many seconds there will be room again in the last second."""
        return (self._placed[0] + SECOND - now) / SECOND

    def _pass_time(self, now: int) -> None:
        while self._ends and self._ends[0][0] <= now:
            self._up.discard(heapq.heappop(self._ends)[1])
        while self._placed and self._placed[0] <= now - SECOND:
            self._placed.popleft()


def most_in_any_second(moments: Iterable[int]) -> int:
    """Count the most of these moments, in microseconds, that lie in one second, whenever that begins."""
    last: deque[int] = deque()
    most = 0
    for moment in sorted(moments):
        while last and last[0] <= moment - SECOND:
            last.popleft()
        last.append(moment)
        most = max(most, len(last))
    return most
