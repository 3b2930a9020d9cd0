"""Requests for work are joined, and none is lost."""

from collections.abc import Callable
from threading import Barrier, Thread

import pytest

from dialer.coalesce import Coalesced

SECONDS = 10


class Work:
    """Counts how often it is done; `during` runs in the first part."""

    def __init__(self, during: Callable[[], object] = lambda: None, more: int = 0) -> None:
        self.done = 0
        self._during, self._more = during, more

    def __call__(self) -> bool:
        self.done += 1
        if self.done == 1:
            self._during()
        return self.done <= self._more


def test_who_asks_while_the_work_is_done_leaves_it_to_the_thread_that_does_it() -> None:
    others: list[bool] = []
    work = Work(lambda: others.extend(coalesced.run() for _ in range(5)))
    coalesced = Coalesced(work, 20)
    assert coalesced.run() is False
    # Once more for all five.
    assert (work.done, others) == (2, [False] * 5)


def test_work_goes_on_while_there_is_more() -> None:
    work = Work(more=3)
    assert Coalesced(work, 20).run() is False
    assert work.done == 4


def test_after_the_most_parts_the_caller_must_have_it_run_again() -> None:
    """Also where another thread has left its request to this one, as no message asks for it any more."""
    work = Work(lambda: coalesced.run(), more=0)
    coalesced = Coalesced(work, 1)
    assert coalesced.run() is True
    assert coalesced.run() is True
    assert work.done == 2


def test_work_that_fails_can_be_asked_for_again() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    work = Work(fail)
    coalesced = Coalesced(work, 20)
    with pytest.raises(ZeroDivisionError):
        coalesced.run()
    assert coalesced.run() is False
    assert work.done == 2


def test_no_request_of_many_threads_is_lost() -> None:
    """Whatever is asked for before the last part begins is seen by a part that begins after it."""
    wanted, seen, start = [0], [0], Barrier(8)

    def look() -> bool:
        seen[0] = max(seen[0], wanted[0])
        return False

    coalesced = Coalesced(look, 1_000)

    def ask() -> None:
        start.wait(SECONDS)
        for _ in range(200):
            wanted[0] += 1
            coalesced.run()

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert seen[0] == wanted[0]
