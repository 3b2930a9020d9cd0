"""The circuit breakers, of a trunk and of an agent on a trunk.

A trunk's: placements and calls that fail one after the other open it; one that works closes it. A call counts as failed
there where it never rang, for reasons that are not the person's (dialer.domain.sip). An agent's: calls that are
answered and dropped at once, because there is nothing where they should go.
"""

from collections.abc import Sequence
from itertools import takewhile

BREAK_AFTER = 10
"""So many placements or calls in a row that failed: the trunk is failing."""

FIRST_PAUSE_SECONDS = 30.0
"""How long no call goes out then. Longer than a grant is good for: nothing is under way when the first probe is."""

LAST_PAUSE_SECONDS = 600.0

PROBE_SECONDS = 5
"""After a pause one call goes out in this time, until one works or fails."""

DROPS_IN_A_ROW = 5
"""So many people in a row who answered and were dropped at once: the agent's destination does not exist there."""

DROP_SECONDS = 0.5

AGENT_PAUSE_SECONDS = 30.0
"""How long no call goes out for an agent whose destination is known to be missing; then the network is asked again."""


def drops_at_the_end(talks: Sequence[float]) -> int:
    """Count answered calls that ended at once, since the last one that did not. `talks`: seconds, oldest first."""
    return sum(1 for _ in takewhile(lambda talk_seconds: talk_seconds < DROP_SECONDS, reversed(talks)))


def next_pause(failures: int, pause_seconds: float, *, is_probe: bool) -> float | None:
    """Say how long no call goes out after another failure; None: calls go on, or the pause is on already.

    `failures`: in a row, this one included. `pause_seconds`: the last pause, 0 if there was none. `is_probe`: that
    pause is over, so what failed was a probe.
    """
    if is_probe:
        return min(2 * pause_seconds, LAST_PAUSE_SECONDS)
    if not pause_seconds and failures >= BREAK_AFTER:
        return FIRST_PAUSE_SECONDS
    return None
