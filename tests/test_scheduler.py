"""The scheduler runs work at its time, and runs all accepted work before the process exits."""

from threading import Event
from time import monotonic

from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs

from dialer.scheduler import Scheduler


def test_work_is_done_in_the_order_of_its_times_and_never_early() -> None:
    scheduler, began = Scheduler(1, monotonic), monotonic()
    done: list[tuple[float, float]] = []
    for wait in (0.2, 0.1, 0.0, 0.15):
        scheduler.after(wait, lambda wait=wait: done.append((wait, monotonic() - began)))  # type: ignore[misc]
    scheduler.close()
    assert [wait for wait, _ in done] == [0.0, 0.1, 0.15, 0.2]
    assert all(at >= wait for wait, at in done)


def test_closing_waits_for_what_is_due_later_and_for_what_that_schedules() -> None:
    scheduler, done = Scheduler(2, monotonic), list[str]()

    def first() -> None:
        done.append("first")
        scheduler.after(0.05, lambda: done.append("second"))

    scheduler.after(0.05, first)
    scheduler.close()
    assert done == ["first", "second"]


def test_work_logs_under_the_request_id_of_whoever_scheduled_it() -> None:
    scheduler, ids = Scheduler(1, monotonic), list[object]()
    for request_id, wait in (("a", 0.01), ("b", 0)):
        with bound_contextvars(request_id=request_id):
            scheduler.after(wait, lambda: ids.append(get_contextvars()["request_id"]))
    scheduler.close()
    assert sorted(ids, key=str) == ["a", "b"]


def test_slow_work_does_not_hold_up_other_work() -> None:
    scheduler, release, done = Scheduler(2, monotonic), Event(), Event()
    scheduler.after(0, lambda: release.wait(20))
    scheduler.after(0.01, done.set)
    assert done.wait(10)
    release.set()
    scheduler.close()


def test_an_owner_whose_work_is_slow_does_not_hold_up_others_and_all_of_it_is_done() -> None:
    scheduler, release, done = Scheduler(3, monotonic, most_of_one=2), Event(), list[str]()

    def slow() -> None:
        release.wait(20)
        done.append("slow")

    for wait in (0, 0, 0.01, 0, 0):
        scheduler.after(wait, slow, "slow")
    quick = Event()
    scheduler.after(0.02, quick.set, "quick")
    assert quick.wait(10)
    release.set()
    scheduler.close()
    assert done == ["slow"] * 5


def test_work_that_raises_is_logged_and_stops_nothing() -> None:
    scheduler, done = Scheduler(1, monotonic), Event()

    def broken() -> None:
        raise ValueError("expected")

    with capture_logs() as logged:
        scheduler.after(0, broken)
        scheduler.after(0.01, done.set)
        scheduler.close()
    assert done.is_set()
    assert [entry["event"] for entry in logged] == ["scheduled work failed"]
