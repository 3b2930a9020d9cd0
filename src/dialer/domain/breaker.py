"""The arithmetic of circuit breakers, of a trunk and of an agent on a trunk.

A trunk's: placements and calls that fail in a row open it; one that works closes it. A call counts as failed where it
never rang, for a reason that is the network's (dialer.domain.sip). An agent's: calls that are answered and dropped at
once, because their destination does not exist. What is counted, and when, is in engine/trunk_breaker.py and
engine/agent_breaker.py.
"""

from collections.abc import Sequence
from itertools import takewhile

BREAK_AFTER = 10
"""After this many failures in a row the breaker opens."""

FIRST_PAUSE_SECONDS = 30.0
"""How long no call leaves then. Longer than a grant is valid, so that the first probe is the only call on its way."""

LAST_PAUSE_SECONDS = 600.0
"""The longest pause. Each pause is twice as long as the one before."""

PROBE_SECONDS = 5
"""After a pause, one call leaves in each period of this length, until one works or fails."""

DROPS_IN_A_ROW = 5
"""After this many people in a row who answered and were dropped at once, the agent is held on the trunk."""

DROP_SECONDS = 0.5
"""An answered call that is shorter than this was dropped at once."""

AGENT_PAUSE_SECONDS = 30.0
"""How long no call leaves for an agent whose destination the network does not find; then one call probes it."""


def drops_at_the_end(talks: Sequence[float]) -> int:
    """Count the calls dropped at once since the last that was not. `talks`: in seconds, oldest first."""
    return sum(1 for _ in takewhile(lambda talk_seconds: talk_seconds < DROP_SECONDS, reversed(talks)))


def next_pause(failures: int, pause_seconds: float, *, is_probe: bool) -> float | None:
    """Decide whether another failure opens the breaker: return for how many seconds; None: it stays as it is.

    `failures`: in a row, this one included. `pause_seconds`: the last pause, 0 if there was none. `is_probe`: that
    pause is over, so it was a probe that failed.
    """
    if is_probe:
        return min(2 * pause_seconds, LAST_PAUSE_SECONDS)
    if not pause_seconds and failures >= BREAK_AFTER:
        return FIRST_PAUSE_SECONDS
    return None
