"""Too much at once: a flood of reports, and an inbox that was left alone for long. It drains by age, in flat memory."""

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import pytest

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, BatchId
from dialer.engine.events import receive
from dialer.engine.settle import PAGE, settle
from support.engine_steps import assert_clean, go, held, later, live, report
from support.world import World, made_up_phones

pytestmark = pytest.mark.proof

# What one page of reports, and all that is decided about it, may take.
MEMORY_BYTES = 8_000_000


@contextmanager
def flat_memory() -> Iterator[None]:
    """Fail if ever more than a page was held."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < MEMORY_BYTES


def called(world: World, batches: int) -> list[BatchId]:
    """So many batches of a hundred contacts, all of whom are being called."""
    phones = made_up_phones(batches * 100)
    made = [world.batch(phones[n * 100 : (n + 1) * 100], max_concurrent_calls=100) for n in range(batches)]
    for first in range(0, batches, 10):
        go(world, *made[first : first + 10])
    return made


def flood(world: World, attempts: list[AttemptId], copies: int) -> list[CallEvent]:
    """Every report of these calls, first all that ring, then all that were answered, then all that ended; each comes
    so many times under keys of its own, as from a network that repeats itself.
    """
    at = world.clock.now
    return [
        report(of, kind, at, "answered" if kind == "ended" else None, key=f"{of}:{kind}:{copy}")
        for kind in EventKind
        for copy in range(copies)
        for of in attempts
    ]


def drain(world: World, pages: int = sys.maxsize) -> int:
    """Settle page by page, a second for each, until none is left or so many are done; return how many."""
    done = 0
    while done < pages and settle(world.context, world.clock.now).reports:
        later(world, 1)
        done += 1
    return done


def settled_before_an_older_one(world: World) -> int:
    found: int = world.value(
        """
        SELECT count(*) FROM (SELECT settled_at < lag(settled_at) OVER (ORDER BY id) AS is_early FROM inbox) AS i
        WHERE is_early
        """
    )
    return found


@pytest.mark.timeout(300)
def test_a_hundred_thousand_reports_at_once_drain_by_age_in_flat_memory(world: World) -> None:
    batch_ids = called(world, 20)
    attempts = live(world)
    assert len(attempts) == 2_000
    later(world, 5)
    reports = flood(world, attempts, 17)
    assert receive(world.db, world.installed.trunk_id, reports) == 102_000
    with flat_memory():
        first = drain(world, pages=10)
    assert first + drain(world) == -(-len(reports) // PAGE)
    assert settled_before_an_older_one(world) == 0
    counts = world.rows("SELECT verdict, count(*) AS n FROM inbox GROUP BY 1 ORDER BY 1")
    assert [(row.verdict, row.n) for row in counts] == [("applied", 6_000), ("late", 96_000)]
    go(world, *batch_ids)
    assert world.is_over(*batch_ids)
    assert not held(world)
    assert_clean(world)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_inbox_a_million_rows_deep_is_drained_as_fast_as_a_shallow_one(world: World) -> None:
    called(world, 1)
    (attempt_id, *_) = live(world)
    fill = """
        INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at)
        SELECT :trunk, :name || n, :attempt, 'ringing', dialer_now() FROM generate_series(1, :count) AS n
        """

    def seconds(pages: int) -> float:
        began = perf_counter()
        assert drain(world, pages) == pages
        return perf_counter() - began

    trunk_id = world.installed.trunk_id
    world.sql(fill, trunk=trunk_id, name="a", attempt=attempt_id, count=40 * PAGE)
    shallow = seconds(40)
    world.sql(fill, trunk=trunk_id, name="b", attempt=attempt_id, count=1_000_000)
    deep = seconds(40)
    assert deep < 3 * shallow
    with flat_memory():
        assert drain(world, 40) == 40
    assert drain(world) == 1_000_000 // PAGE - 80
    assert settled_before_an_older_one(world) == 0
