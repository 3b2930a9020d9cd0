"""Runs work at a given time on threads of this process. Accepted work is finished before the process exits."""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
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
        most_of_one: how much of it may be for the same owner, so that one who is slow does not hold up all others.
    """

    def __init__(self, threads: int, seconds: Callable[[], float], most_of_one: int | None = None) -> None:
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scheduled")
        self._most_of_one = most_of_one or threads
        self._due: list[tuple[float, int, Callable[[], object], Hashable]] = []
        # How much work of each owner runs, and what of it waits for that.
        self._running: dict[Hashable, int] = defaultdict(int)
        self._waiting: dict[Hashable, deque[Callable[[], object]]] = defaultdict(deque)
        self._order = count()
        self._changed = Condition()
        self._unfinished = 0
        self._timer: Thread | None = None

    def after(self, wait_seconds: float, work: Callable[[], object], owner: Hashable = None) -> None:
        """Run this work after a delay. It may schedule more work, even while `close` waits."""
        due: Callable[[], object] = partial(copy_context().run, work)
        with self._changed:
            self._unfinished += 1
            if wait_seconds > 0:
                heapq.heappush(self._due, (self._seconds() + wait_seconds, next(self._order), due, owner))
                self._start_timer()
                self._changed.notify_all()
            else:
                self._start(due, owner)

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
                _, _, work, owner = heapq.heappop(self._due)
                self._start(work, owner)

    def _start(self, work: Callable[[], object], owner: Hashable) -> None:
        """Give work to a thread, or have it wait until less of its owner's runs."""
        if owner is not None and self._running[owner] >= self._most_of_one:
            self._waiting[owner].append(work)
            return
        self._running[owner] += 1
        self._pool.submit(self._run, work, owner)

    def _run(self, work: Callable[[], object], owner: Hashable) -> None:
        try:
            work()
        except Exception:
            log.exception("scheduled work failed")
        finally:
            with self._changed:
                self._unfinished -= 1
                self._running[owner] -= 1
                if waiting := self._waiting[owner]:
                    self._start(waiting.popleft(), owner)
                elif not self._running[owner]:
                    # Owners come and go: nothing is kept of those without work.
                    del self._running[owner], self._waiting[owner]
                self._changed.notify_all()
