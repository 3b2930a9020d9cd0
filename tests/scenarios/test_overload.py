"""Overload: a flood of call events, and an old backlog in the inbox. Both drain oldest first, in constant memory."""

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
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    call_event,
    dispatch_and_place,
    held_leases,
    live_attempts,
)
from support.world import World, made_up_phones

pytestmark = pytest.mark.proof

# The memory that settling one page of call events may use.
MEMORY_BYTES = 8_000_000


@contextmanager
def flat_memory() -> Iterator[None]:
    """Fail if more than one page was in memory at any time."""
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
    """Start this many batches of 100 contacts, and place all their calls."""
    phones = made_up_phones(batches * 100)
    made = [world.batch(phones[n * 100 : (n + 1) * 100], max_concurrent_calls=100) for n in range(batches)]
    for first in range(0, batches, 10):
        dispatch_and_place(world, *made[first : first + 10])
    return made


def flood(world: World, attempts: list[AttemptId], copies: int) -> list[CallEvent]:
    """Every report of these calls, first all that ring, then all that were answered, then all that ended; each comes
    so many times under keys of its own, as from a network that repeats itself.
    """
    at = world.clock.now
    return [
        call_event(of, kind, at, "answered" if kind == "ended" else None, key=f"{of}:{kind}:{copy}")
        for kind in EventKind
        for copy in range(copies)
        for of in attempts
    ]


def drain(world: World, pages: int = sys.maxsize) -> int:
    """Settle one page a second, until no event is left or this many pages are done; return how many."""
    done = 0
    while done < pages and settle(world.context, world.clock.now).reports:
        advance_clock(world, 1)
        done += 1
    return done


def settled_before_an_older_one(world: World) -> int:
    total: int = world.value(
        """
        SELECT count(*) FROM (SELECT settled_at < lag(settled_at) OVER (ORDER BY id) AS is_early FROM inbox) AS i
        WHERE is_early
        """
    )
    return total


@pytest.mark.timeout(300)
def test_a_hundred_thousand_reports_at_once_drain_by_age_in_flat_memory(world: World) -> None:
    batch_ids = called(world, 20)
    attempts = live_attempts(world)
    assert len(attempts) == 2_000
    advance_clock(world, 5)
    reports = flood(world, attempts, 17)
    assert receive(world.db, world.installed.trunk_id, reports) == 102_000
    with flat_memory():
        first = drain(world, pages=10)
    assert first + drain(world) == -(-len(reports) // PAGE)
    assert settled_before_an_older_one(world) == 0
    counts = world.rows("SELECT verdict, count(*) AS n FROM inbox GROUP BY 1 ORDER BY 1")
    assert [(row.verdict, row.n) for row in counts] == [("applied", 6_000), ("late", 96_000)]
    dispatch_and_place(world, *batch_ids)
    assert world.is_over(*batch_ids)
    assert not held_leases(world)
    assert_audit_is_clean(world)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_inbox_a_million_rows_deep_is_drained_as_fast_as_a_shallow_one(world: World) -> None:
    called(world, 1)
    (attempt_id, *_) = live_attempts(world)
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
