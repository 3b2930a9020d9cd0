"""What a terminal shows of a batch, and what a plain log does, until the batch is over."""

import io
from collections.abc import Callable
from threading import Event

import pendulum
import pytest
from rich.console import Console

from dialer.cli.progress import RATE_OVER_SECONDS, CompletionRate, current
from dialer.cli.watch import watch
from dialer.domain.batch_progress import Progress
from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus
from dialer.errors import Unavailable
from dialer.store.database import Database
from support.proxy import proxied
from support.world import World


class Story:
    """What happens while someone watches: one thing at each look."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def __call__(self) -> None:
        if self._steps:
            self._steps.pop(0)()


def shown(world: World, batch_id: BatchId, story: Callable[[], None], *, terminal: bool) -> tuple[Progress, str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    last = watch(world.db, batch_id, story, console)
    assert isinstance(console.file, io.StringIO)
    return last, console.file.getvalue()


def nothing() -> None:
    """Let time pass."""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_batch_is_watched_through_a_pause_to_its_end(terminal: bool, world: World) -> None:
    batch_id = world.batch(3)

    def go_on_to_the_end() -> None:
        world.run(lambda: world.progress(batch_id).drained_at is not None)
        world.sql("UPDATE batches SET status = 'active'")
        world.run(lambda: world.is_over(batch_id))

    story = Story(world.step, lambda: world.sql("UPDATE batches SET status = 'paused'"), go_on_to_the_end)
    last, text = shown(world, batch_id, story, terminal=terminal)
    assert last.status is BatchStatus.COMPLETED
    assert last.completed + last.failed == 3
    for word in ("active", "paused", "completed", "3 in progress", "no new calls; those in progress finish"):
        assert word in text
    assert "3/3" in text


def progress(status: BatchStatus, **fields: object) -> Progress:
    counts = dict.fromkeys(("pending", "waiting", "dialing", "completed", "failed", "skipped", "cancelled"), 0)
    texts = dict.fromkeys(("status_reason", "held_by", "next_dispatch_at", "drained_at"))
    values = counts | texts | {"id": None, "name": "list", "status": status, "total": 4_000} | fields
    return Progress(**values)  # type: ignore[arg-type]


def test_a_drained_pause_says_since_when() -> None:
    at = pendulum.datetime(2026, 3, 2, 8, 0)
    line = current(progress(BatchStatus.PAUSED, pending=4_000, drained_at=at), None)
    assert line.endswith("0 in progress, 0 waiting, drained at 2026-03-02 08:00:00 UTC")


def test_a_rate_and_the_time_that_is_left_are_shown_once_they_are_known() -> None:
    running = progress(BatchStatus.ACTIVE, pending=2_000, dialing=10, completed=1_990)
    assert current(running, None) == "10 in progress, 0 waiting"
    assert current(running, 2.0).endswith(", 2.0/s, about 16 min 45 s left")
    assert current(running, 0.1).endswith(", 6.0/min, about 5 h 35 min left")


def test_what_holds_a_batch_back_is_told_while_nobody_is_called() -> None:
    opens_at = pendulum.datetime(2026, 3, 3, 9, 0)
    held = progress(BatchStatus.ACTIVE, pending=4_000, held_by="daily_cap", next_dispatch_at=opens_at)
    assert current(held, None).endswith("held by daily cap until 2026-03-03 09:00:00 UTC")


def test_while_all_wait_for_a_retry_no_end_is_estimated() -> None:
    retry_at = pendulum.datetime(2026, 3, 3, 9, 5)
    waiting = progress(BatchStatus.ACTIVE, waiting=19, completed=3_981)
    assert current(waiting, 2.0) == "0 in progress, 19 waiting, all wait for a retry"
    assert "all wait for a retry, the first at 2026-03-03" in current(waiting, 2.0, retry_at)


def test_the_rate_forgets_what_is_long_past() -> None:
    rate = CompletionRate()
    assert rate.add(-20, 0) is None
    assert rate.add(0, 0) is None
    assert rate.add(1, 100) == 100, "without the time before the first calls ended"
    assert rate.add(10, 100) == 10
    assert rate.add(2 + RATE_OVER_SECONDS, 100 + 200) == pytest.approx(200 / (RATE_OVER_SECONDS - 8))
    assert rate.add(100, 300) is None


def test_a_database_that_does_not_answer_for_a_while_is_waited_for(world: World) -> None:
    batch_id = world.batch(2)
    with proxied(world.database_url) as proxy:
        through, console = Database(proxy.url), Console(file=io.StringIO())
        story = Story(nothing, proxy.down, nothing, proxy.up, lambda: world.run(lambda: world.is_over(batch_id)))
        last = watch(through, batch_id, story, console)
        through.close()
    assert last.status is BatchStatus.COMPLETED
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("Postgres does not answer") == 1
    assert "trying again for 1 min 0 s" in text


def test_an_engine_that_is_gone_for_good_is_not_waited_for(world: World) -> None:
    batch_id, is_gone = world.batch(2), Event()

    def tend() -> None:
        if is_gone.is_set():
            raise Unavailable("The engine has ended")
        is_gone.set()

    with pytest.raises(Unavailable, match="The engine has ended"):
        watch(world.db, batch_id, tend, Console(file=io.StringIO()))
