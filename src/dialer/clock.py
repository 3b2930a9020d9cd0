"""The clock and the random numbers of a process. Only entry points use them; all else gets them as arguments."""

import time
from collections.abc import Callable
from random import Random, SystemRandom

import pendulum
from pendulum import DateTime


def clock() -> DateTime:
    """Return the current time, in UTC."""
    return pendulum.now("UTC")


def seconds() -> float:
    """Return the time of a monotonic clock, for durations."""
    return time.perf_counter()


def steady_clock() -> Callable[[], DateTime]:
    """Return a clock that begins with the current time and goes on when the clock of this machine is set."""
    began_at, began = clock(), seconds()
    return lambda: began_at.add(seconds=seconds() - began)


def chance() -> Random:
    """Return the source of random numbers of this process."""
    return SystemRandom()
