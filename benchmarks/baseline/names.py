"""What the processes of the baseline, and those who look at it from outside, must agree on."""

from uuid import UUID

from dialer.domain.outcomes import Outcome

# The baseline's network, among those of one simulator.
TRUNK = UUID(int=1)
RETRYABLE = frozenset({Outcome.BUSY, Outcome.NO_ANSWER, Outcome.FAILED, Outcome.REJECTED})
EMPTY_TASK = "nothing"
# Celery's own names, in Redis.
QUEUE, UNACKNOWLEDGED = "celery", "unacked"


def slots_key(campaign_id: int | str) -> str:
    """Return the key of the semaphore of a campaign; `*`: the pattern of all of them."""
    return f"campaign:{campaign_id}:calls"
