"""How long a test waits for a condition.

Usually it holds at once. The deadline is long because the machine may be busy; it only ends a test that would hang.
"""

from collections.abc import Callable
from threading import Event
from time import monotonic

DEADLINE_SECONDS = 90
_NEVER = Event()


def wait_until(holds: Callable[[], object], seconds: float = DEADLINE_SECONDS, what: str = "") -> None:
    """Wait until this holds; `what` describes it in the error.

    It is checked less and less often: each check takes CPU time that the processes under test need.
    """
    begin = monotonic()
    while not holds():
        waited = monotonic() - begin
        assert waited < seconds, f"waited {seconds} s until {what or holds}"
        _NEVER.wait(min(0.01 + waited / 100, 0.25))
