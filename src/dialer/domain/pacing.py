"""How many calls may start now: the rate of a trunk, and the free slots of a batch.

Arithmetic on what was read. Redis grants the slots (store/leases.py), and the ledger has the last word.
"""

from dataclasses import dataclass
from fractions import Fraction

from dialer.domain.ids import TrunkId

# Departures are planned this much further apart than the rate allows. Then a departure that is late by less than a
# hundredth of the window does not delay those behind it; in a window that is always full, every delay would add up.
SPREAD = 1.02


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` call starts in any `window_ms` milliseconds on one trunk, as its network sees them (P2)."""

    trunk_id: TrunkId
    limit: int
    window_ms: int

    @property
    def interval_ms(self) -> float:
        """How far apart departures are planned."""
        return self.window_ms * SPREAD / self.limit

    @classmethod
    def per_second(cls, trunk_id: TrunkId, calls_per_second: float) -> "RateLimit":
        """Read a rate as a whole number of calls in a sliding window: 10 = 10 in 1 s, 0.5 = 1 in 2 s, 2.5 = 2 in 0.8 s.

        A sliding window, not a token bucket: a bucket with a burst lets twice the rate through in its first second.
        """
        rate = Fraction(str(calls_per_second))
        limit = max(1, int(rate))
        return cls(trunk_id, limit, -int(-1000 * limit // rate))


def free_slots(limit: int, in_progress: int, wanted: int, day_cap: int | None, today: int) -> int:
    """Say how many calls a batch may start: within its concurrency, its daily cap, and the contacts it has to call."""
    allowance = wanted if day_cap is None else min(wanted, day_cap - today)
    return max(0, min(limit - in_progress, allowance))
