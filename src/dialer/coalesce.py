"""Joins requests for the same work: one thread does it, and a request that comes meanwhile makes it do it once more."""

from collections.abc import Callable
from threading import Event, Lock


class Coalesced:
    """Does work on one thread at a time.

    Args:
        work: does one part of the work, and returns whether there may be more at once.
        most: how often a call of `run` does the work at most, so that a process that is asked to stop does.
    """

    def __init__(self, work: Callable[[], bool], most: int) -> None:
        self._work, self._most = work, most
        self._running, self._asked = Lock(), Event()

    def run(self) -> bool:
        """Do the work until there is no request for it. Return at once if another thread is doing it.

        Returns:
            Whether it was done `most` times: the caller must have it run again, since others may have left it to this
            call.
        """
        self._asked.set()
        for _ in range(self._most):
            if not self._asked.is_set() or not self._running.acquire(blocking=False):
                return False
            try:
                self._asked.clear()
                if self._work():
                    self._asked.set()
            finally:
                self._running.release()
        return True
