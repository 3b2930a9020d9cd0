"""Where the clock and the chance of a process come from. Whatever works with them is given them."""

import time
from random import Random, SystemRandom

import pendulum
from pendulum import DateTime


def clock() -> DateTime:
    """The present moment, in UTC."""
    return pendulum.now("UTC")


def seconds() -> float:
    """A clock for durations, which never goes back."""
    return time.perf_counter()


def chance() -> Random:
    """The process's source of chance."""
    return SystemRandom()
