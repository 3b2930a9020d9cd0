"""Runs `dialer` with a clock that is SECONDS ahead: `python tests/support/skewed_clock.py SECONDS worker …`."""

import sys

from pendulum import DateTime

from dialer import clock

SECONDS = float(sys.argv.pop(1))
true_clock = clock.clock


def skewed() -> DateTime:
    """Return the wrong time."""
    return true_clock().add(seconds=SECONDS)


clock.clock = skewed

if __name__ == "__main__":
    from dialer.cli import main

    main()
