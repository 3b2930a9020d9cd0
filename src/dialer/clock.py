"""The clock and the random numbers of a process. Only entry points use them; all else gets them as arguments."""

import time
from random import Random, SystemRandom

import pendulum
from pendulum import DateTime


def clock() -> DateTime:
    """Return the current time, in UTC."""
    return pendulum.now("UTC")


def seconds() -> float:
    """Return the time of a monotonic clock, for durations."""
    return time.perf_counter()


def chance() -> Random:
    """Return the source of random numbers of this process."""
    return SystemRandom()
