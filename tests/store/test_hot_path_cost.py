"""What calls cost in Postgres, as counts and not as seconds: statements a page, row versions a call, blocks a page.

They must not grow with what is stored, with batches that are idle, or with the calls of others that are in progress.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dialer.engine.events import receive
from dialer.engine.settle import settle
from support.engine_steps import call_event
from support.recorded_statements import joins_by_comparing_all, recorded_statements
from support.stored_past import live_calls, store_past
from support.world import World

BATCHES = 4
# Of a call that is placed and then ends: claimed, permitted, placed, ended; dialing, failed; received, settled.
# No endpoint has subscribed to webhooks.
MOST_VERSIONS = {"attempts": 4, "contacts": 2, "inbox": 2, "webhook_deliveries": 0}
VERSIONS = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables"
BLOCKS = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
# Joins of calls, by the names that the statements give to their sets of calls.
OF_CALLS = r"\b(chosen|asked|locked|leaving|paired|o|l|p|u|r|v|c)(_\d+)?\.(id|nth|attempt_id|contact_id)\b"
STEPS = ("dispatch and place", "receive", "settle")


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with a pool of its own, which has one connection: Postgres publishes statistics session by session."""
    make_world()
    return make_world()


def page(world: World, calls: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Let a page of calls leave and end, step by step."""
    ids = [world.batch(calls // BATCHES, max_concurrent_calls=100) for _ in range(BATCHES)]
    yield STEPS[0], lambda: world.dispatch(ids)
    own = world.rows("SELECT id FROM attempts WHERE batch_id = ANY(:ids) AND state = 'placed'", ids=ids)
    assert len(own) == calls
    ends = [call_event(row.id, "ended", world.clock.now, "busy") for row in own]
    yield STEPS[1], lambda: receive(world.db, world.installed.trunk_id, ends)
    yield STEPS[2], lambda: settle(world.context, world.clock.now)


def counted(world: World, query: str) -> list[Any]:
    """Read statistics, those of the transactions that have just ended included."""
    world.rows("SELECT pg_stat_force_next_flush()")
    return world.rows(query)


def blocks_per_step(world: World, calls: int) -> dict[str, int]:
    """Return how many blocks each step of a page touches."""
    blocks = {}
    for step, work in page(world, calls):
        before = counted(world, BLOCKS)[0][0]
        work()
        blocks[step] = counted(world, BLOCKS)[0][0] - before
    return blocks


def test_a_page_takes_as_many_statements_with_200_calls_as_with_20(world: World) -> None:
    small, large = (
        {step: len(recorded_statements(world.db, work)) for step, work in page(world, calls)} for calls in (20, 200)
    )
    assert small == large


def test_a_call_writes_no_more_row_versions_than_it_has_states(world: World) -> None:
    calls = 200
    before: dict[str, int] = {}
    for _, work in page(world, calls):
        before = before or {row.relname: row.n for row in counted(world, VERSIONS)}
        work()
    after = {row.relname: row.n for row in counted(world, VERSIONS)}
    written = {table: (after[table] - before[table]) / calls for table in MOST_VERSIONS}
    assert written == MOST_VERSIONS


def test_a_page_touches_no_more_blocks_with_many_calls_stored_and_in_progress(world: World) -> None:
    alone = blocks_per_step(world, 100)
    store_past(world)
    # By the statistics of this moment, nobody is being called.
    world.sql("ANALYZE")
    live_calls(world, 5_000)
    beside_many = blocks_per_step(world, 100)
    # The indexes are deeper by a level or two.
    assert all(beside_many[step] < 2 * alone[step] for step in STEPS), (alone, beside_many)


@pytest.mark.parametrize("kept", [False, True])
def test_no_calls_of_a_page_are_compared_one_by_one_with_all_others(world: World, kept: bool) -> None:
    store_past(world)
    world.sql("ANALYZE")
    for step, work in page(world, 400):
        # The plan of a claim is not kept.
        statements = [one for one in recorded_statements(world.db, work) if not (kept and "free_numbers" in one.sql)]
        with world.db.begin() as connection:
            joins = [join for sent in statements for join in joins_by_comparing_all(connection, sent, kept=kept)]
        # Batches, numbers and trunks are few.
        assert [join for join in joins if re.search(OF_CALLS, join)] == [], step
