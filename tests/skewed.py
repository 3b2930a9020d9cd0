"""`python tests/skewed.py SECONDS worker …`: a command of `dialer` on a machine whose clock is so far ahead."""

import sys

from pendulum import DateTime

from dialer import clock

SECONDS = float(sys.argv.pop(1))
true_clock = clock.clock


def skewed() -> DateTime:
    """What this machine believes."""
    return true_clock().add(seconds=SECONDS)


clock.clock = skewed

if __name__ == "__main__":
    from dialer.cli import main

    main()
