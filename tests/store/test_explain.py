"""The hot path reads by index alone: what Postgres means to do for every statement of every step in a full database."""

from collections.abc import Callable, Iterator

import pytest

from dialer.domain.ids import BatchId
from dialer.engine.bulk_change import bulk_change
from dialer.engine.events import receive
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.service import batches
from support.engine_steps import call_event, live_attempts
from support.recorded_statements import Statement, recorded_statements, sequentially_scanned_tables
from support.stored_past import FILL_INBOX, fill_attempts, store_past
from support.world import MONDAY, World

BIG = {"contacts", "attempts", "inbox", "batch_progress", "batches", "batch_days", "suppressions"}


@pytest.fixture
def full(world: World) -> World:
    """A world with 3,000 batches, 20,000 contacts in 200 of them, and their past; nobody of them is due."""
    store_past(world)
    return world


def hot_path(world: World) -> Iterator[tuple[str, Callable[[], object]]]:
    """The life of some calls, step by step, each with something to do."""
    context, chance = world.context, world.rng
    plain = world.batch(40, max_calls_per_day=1000, retry_failed=True, max_retry_attempts=1)
    in_lanes = world.batch(40, respect_contact_timezone=True, sticky_caller_id=True)
    expiring = world.batch(2, expires_at=MONDAY.add(minutes=1).isoformat())
    three: list[BatchId] = [plain, in_lanes, expiring]
    world.sql("ANALYZE")
    yield "tick", lambda: tick(context, world.clock.now)
    yield "dispatch", lambda: world.dispatch(three)
    ends = [call_event(of, "ended", world.clock.now, "busy") for of in live_attempts(world)[:15]]
    yield "events", lambda: receive(world.db, world.installed.trunk_id, ends)
    yield "settle", lambda: settle(context, world.clock.now)
    yield "progress", lambda: batches.read_progress(world.db, plain)
    world.clock.now = MONDAY.add(minutes=11)
    yield "retry", lambda: retry(context, world.clock.now)
    yield "rescue", lambda: rescue(context, world.clock.now, chance)
    yield "dispatch again", lambda: world.dispatch(three)
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=plain)
    suppress = "INSERT INTO suppressions SELECT :workspace, phone_number FROM contacts WHERE batch_id = :id"
    world.sql(suppress, workspace=world.installed.workspace_id, id=in_lanes)
    yield "bulk change", lambda: bulk_change(context, world.clock.now)


def explained(world: World, statements: list[Statement]) -> dict[str, set[str]]:
    """For each statement that reads a big table from end to end: which."""
    with world.db.begin() as connection:
        scanned = {
            statement.sql: sequentially_scanned_tables(connection, statement) & BIG
            for statement in statements
            if is_explainable(statement)
        }
    return {sql: tables for sql, tables in scanned.items() if tables}


def is_explainable(statement: Statement) -> bool:
    return statement.sql.split(maxsplit=1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


def test_no_statement_of_the_hot_path_reads_a_big_table_from_end_to_end(full: World) -> None:
    seen: dict[str, int] = {}
    for step, work in hot_path(full):
        statements = recorded_statements(full.db, work)
        assert explained(full, statements) == {}, step
        seen[step] = len(statements)
    assert min(seen.values()) >= 1
    assert seen["dispatch"] >= 8
    assert seen["settle"] >= 6


FILL_TWO = """
INSERT INTO contacts (id, batch_id, phone_number, status, status_reason, outcome, finished_at)
SELECT gen_random_uuid(), CASE WHEN n <= 500 THEN :first ELSE :second END, '+1' || 2010000000 + n, 'failed', 'test',
       'busy', dialer_now()
FROM generate_series(1, 5000) AS n
"""
LIVE = """
UPDATE attempts SET state = 'placed', outcome = NULL, ended_at = NULL, rescue_at = created_at
WHERE id IN (SELECT id FROM attempts WHERE batch_id = :batch LIMIT 1000)
"""
FEW_FAILING = (
    "UPDATE inbox SET settled_at = NULL, verdict = NULL, tries = CAST(id % 500 = 0 AS integer) WHERE id % 2 = 0"
)
FEW_PASSED_OVER = "UPDATE inbox SET verdict = 'quarantined' WHERE id % 1000 = 1"
RARE = {
    "attempts_live_of_batch": "SELECT 1 FROM attempts WHERE batch_id = '{batch}' AND rescue_at IS NOT NULL",
    "inbox_due": "SELECT id FROM inbox WHERE settled_at IS NULL ORDER BY due_at, id LIMIT 5",
    "inbox_failing": "SELECT 1 FROM inbox WHERE error_kind = '23514' AND settled_at IS NULL AND tries > 0",
    "inbox_passed_over": """
        SELECT 1 FROM inbox WHERE attempt_id = (SELECT min(id::text)::uuid FROM batches) AND kind = 'ended'
        AND verdict IN ('set_aside', 'quarantined')
        """,
}


def test_what_is_rare_among_many_rows_is_found_by_an_index_of_its_own(world: World) -> None:
    """A stop looks at the live attempts of its own batches alone, and no report that went well is looked at again."""
    first, second = world.batch(1, start=False), world.batch(1, start=False)
    world.sql(FILL_TWO, first=first, second=second)
    fill_attempts(world, MONDAY)
    world.sql(FILL_INBOX)
    world.sql(LIVE, batch=second)
    world.sql(FEW_FAILING)
    world.sql(FEW_PASSED_OVER)
    world.sql("ANALYZE")
    for index, statement in RARE.items():
        plan = [row[0] for row in world.rows(f"EXPLAIN {statement.format(batch=first)}")]
        assert any(f"using {index} on" in line or f"on {index} " in line for line in plan), plan
