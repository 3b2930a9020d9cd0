"""The circuit breaker of a trunk: placements and calls that fail one after the other open it; one that works closes it.

A call counts as failed here where it never rang, for reasons that are not the person's (dialer.domain.sip).
"""

BREAK_AFTER = 10
"""So many placements or calls in a row that failed: the trunk is failing."""

FIRST_PAUSE_SECONDS = 30.0
"""How long no call goes out then. Longer than a grant is good for: nothing is under way when the first probe is."""

LAST_PAUSE_SECONDS = 600.0

PROBE_SECONDS = 5
"""After a pause one call goes out in this time, until one works or fails."""


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
