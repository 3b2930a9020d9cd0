"""Runs work at its time on threads of this process. What was accepted is done before the process leaves."""

import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Condition, Thread

import structlog

log = structlog.get_logger()


class Scheduler:
    """`seconds`: a clock that never goes back. `threads`: how much may be in hand at once; the rest waits its turn.

    An exception of the work is logged, not raised. A process that is killed loses what was not begun: callers
    must have written down what has to survive.
    """

    def __init__(self, threads: int, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scheduled")
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._changed = Condition()
        self._in_hand = 0
        self._timer: Thread | None = None

    def after(self, wait_seconds: float, work: Callable[[], object]) -> None:
        """Do this work when so many seconds have passed. It may schedule more work, also while `close` waits."""
        with self._changed:
            self._in_hand += 1
            if wait_seconds > 0:
                heapq.heappush(self._due, (self._seconds() + wait_seconds, next(self._order), work))
                self._start_timer()
                self._changed.notify_all()
                return
        self._pool.submit(self._run, work)

    def close(self) -> None:
        """Wait until all work is done, also what is due later, and end the threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._in_hand)
        self._pool.shutdown()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = Thread(target=self._watch, name="scheduler", daemon=True)
            self._timer.start()

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                wait_seconds = self._due[0][0] - self._seconds()
                if wait_seconds > 0:
                    # Woken early where something earlier is scheduled.
                    self._changed.wait(wait_seconds)
                    continue
                _, _, work = heapq.heappop(self._due)
            self._pool.submit(self._run, work)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            log.exception("scheduled work failed")
        finally:
            with self._changed:
                self._in_hand -= 1
                self._changed.notify_all()
