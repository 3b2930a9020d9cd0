"""Runs work at a given time on threads of this process. Accepted work is finished before the process exits."""

import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import count
from threading import Condition, Thread

import structlog

log = structlog.get_logger()


class Scheduler:
    """Runs work after a delay, in the context in which it was accepted: its log has the same request id.

    An exception of the work is logged, not raised. A killed process loses work that was not started, so callers must
    have stored what has to survive.

    Args:
        threads: how much work may run at once; the rest waits.
        seconds: a monotonic clock.
    """

    def __init__(self, threads: int, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scheduled")
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._changed = Condition()
        self._unfinished = 0
        self._timer: Thread | None = None

    def after(self, wait_seconds: float, work: Callable[[], object]) -> None:
        """Run this work after a delay. It may schedule more work, even while `close` waits."""
        due: Callable[[], object] = partial(copy_context().run, work)
        with self._changed:
            self._unfinished += 1
            if wait_seconds > 0:
                heapq.heappush(self._due, (self._seconds() + wait_seconds, next(self._order), due))
                self._start_timer()
                self._changed.notify_all()
                return
        self._pool.submit(self._run, due)

    def close(self) -> None:
        """Wait until all work is done, including work that is due later, and end the threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unfinished)
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
                    # Woken early if work with an earlier time is scheduled.
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
                self._unfinished -= 1
                self._changed.notify_all()
