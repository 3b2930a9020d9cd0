"""A stop in SQL always stops: what is over, already stopped or not being called is left as it is (P4)."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from dialer.domain.ids import BatchId
from dialer.domain.states import BATCH_TRANSITIONS, BatchStatus
from dialer.store.database import Connection, rows, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import advance_clock, lock_waiters
from support.operator_requests import change, schedule
from support.world import MONDAY, World

STOPS = (BatchStatus.PAUSED, BatchStatus.CANCELLED)
LEFT = [(old, new) for old, new in product(BatchStatus, STOPS) if old is new or new not in BATCH_TRANSITIONS[old]]
STOPPED = [(old, new) for old, new in product(BatchStatus, STOPS) if new in BATCH_TRANSITIONS[old]]
STOP = "UPDATE batches SET status = 'paused'"


def in_status(world: World, wanted: str, name: str = "contacts.csv") -> BatchId:
    """Make a batch of this status, by the ways that operators and the engine have."""
    later = {"schedule_type": "scheduled", "scheduled_at": str(MONDAY.add(days=1))} if wanted == "scheduled" else {}
    batch_id = world.batch(2, start=False, name=name, **later)
    if wanted != "draft":
        schedule(world, batch_id)
    if wanted not in ("draft", "scheduled", "active"):
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=wanted, id=batch_id)
    return batch_id


def everything_about(world: World, *batch_ids: BatchId) -> list[Any]:
    """All that is stored of these batches: the row, the progress, the history, the contacts."""
    tables = (
        ("batches", "id"),
        ("batch_progress", "batch_id"),
        ("batch_history", "batch_id"),
        ("contacts", "batch_id"),
    )
    return [
        [tuple(row) for row in world.rows(f"SELECT * FROM {table} WHERE {of} = ANY(:ids) ORDER BY 1", ids=[*batch_ids])]
        for table, of in tables
    ]


def statuses(world: World) -> dict[BatchId, str]:
    return {row.id: row.status for row in world.rows("SELECT id, status FROM batches")}


def notices(connection: Connection) -> list[str]:
    """What Postgres tells this session from now on."""
    notices_received: list[str] = []
    session: Any = connection.connection.driver_connection
    session.add_notice_handler(lambda notice: notices_received.append(f"{notice.severity}: {notice.message_primary}"))
    return notices_received


@pytest.mark.parametrize(("before", "wanted"), LEFT)
def test_a_batch_with_nothing_to_stop_is_left_as_it_is_with_a_notice(world: World, before: str, wanted: str) -> None:
    batch_id = in_status(world, before)
    stored = everything_about(world, batch_id)
    with world.db.begin() as connection:
        notices_received = notices(connection)
        stop = "UPDATE batches SET status = :status WHERE id = :id RETURNING id"
        assert rows(connection, stop, status=wanted, id=batch_id) == []
    assert notices_received == [f'NOTICE: Batch {batch_id} "contacts.csv" is {before}; it is left as it is']
    assert everything_about(world, batch_id) == stored


@pytest.mark.parametrize(("before", "wanted"), STOPPED)
def test_one_statement_stops_what_can_be_stopped_and_counts_only_that(world: World, before: str, wanted: str) -> None:
    live = [in_status(world, before), in_status(world, before)]
    others = [in_status(world, old) for old, new in LEFT if new == wanted]
    stored = everything_about(world, *others)
    stop = "UPDATE batches SET status = :status WHERE name = 'contacts.csv' RETURNING id, status"
    changed = world.rows(stop, status=wanted)
    assert {row.id: row.status for row in changed} == dict.fromkeys(live, wanted)
    assert everything_about(world, *others) == stored
    written = world.rows("SELECT batch_id FROM batch_history WHERE from_status = :old AND to_status = :new",
                         old=before, new=wanted)  # fmt: skip
    assert {row.batch_id for row in written} >= set(live)
    assert [world.progress(batch_id).next_dispatch_at for batch_id in live] == [None, None]


@pytest.mark.parametrize(("before", "wanted"), [
    ("completed", "active"), ("cancelled", "active"), ("failed", "scheduled"), ("completed", "failed"),
    ("draft", "completed"), ("draft", "failed"), ("active", "draft"), ("cancelled", "draft"),
])  # fmt: skip
def test_a_change_that_is_illegal_and_no_stop_undoes_the_statement(world: World, before: str, wanted: str) -> None:
    in_status(world, before)
    paused = in_status(world, "paused")
    with pytest.raises(IntegrityError, match=f"is {before}; it cannot become {wanted}"):
        world.sql("UPDATE batches SET status = :status", status=wanted)
    assert statuses(world)[paused] == "paused"


@pytest.mark.parametrize("status", ["paused", "cancelled"])
def test_other_columns_of_a_stopped_batch_can_be_changed_in_a_statement_that_stops_it_again(
    world: World, status: str
) -> None:
    batch_id = in_status(world, status)
    version = "SELECT version FROM batches WHERE id = :id"
    before = world.value(version, id=batch_id)
    again = "UPDATE batches SET status = :status, max_concurrent_calls = 40, hang_up = true WHERE id = :id"
    assert world.sql(again, status=status, id=batch_id) == 1
    (row,) = world.rows("SELECT status, max_concurrent_calls, hang_up FROM batches WHERE id = :id", id=batch_id)
    assert tuple(row) == (status, 40, True)
    assert world.value(version, id=batch_id) == before + 1
    assert world.value("SELECT count(*) FROM batch_history WHERE batch_id = :id AND from_status = to_status",
                       id=batch_id) == 0  # fmt: skip


def test_nothing_else_of_a_batch_that_is_over_is_changed_by_a_statement_that_stops_it(world: World) -> None:
    over, live = in_status(world, "completed"), in_status(world, "active")
    cancelled = "UPDATE batches SET status = 'cancelled', status_reason = 'wrong list', hang_up = true"
    assert world.sql(cancelled) == 1
    batches = {row.id: tuple(row)[1:] for row in world.rows("SELECT id, status, status_reason, hang_up FROM batches")}
    assert batches == {over: ("completed", None, False), live: ("cancelled", "wrong list", True)}


def test_a_batch_that_ends_while_a_stop_waits_for_it_is_left_as_it_is(world: World) -> None:
    over, live = sorted((in_status(world, "active"), in_status(world, "active")))
    with ThreadPoolExecutor(1) as pool, world.db.begin() as engine:
        run(engine, "UPDATE batches SET status = 'completed' WHERE id = :id", id=over)
        stopping = pool.submit(world.sql, STOP)
        wait_until(lambda: lock_waiters(world) == 1)
        engine.commit()
        assert stopping.result(DEADLINE_SECONDS) == 1
    assert statuses(world) == {over: "completed", live: "paused"}


def test_a_stop_of_a_paused_batch_holds_against_someone_who_resumes_it_at_the_same_time(world: World) -> None:
    batch_id = in_status(world, "paused")
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        assert run(operator, STOP) == 0
        resuming = pool.submit(change, world, "resume", batch_id)
        wait_until(lambda: lock_waiters(world) == 1)
        assert rows(operator, "SELECT status FROM batches")[0].status == "paused"
        operator.commit()
        assert resuming.result(DEADLINE_SECONDS) == "active"


@pytest.mark.parametrize("asked_for", ["active", "scheduled"])
def test_a_batch_that_is_resumed_after_its_time_is_active_and_started_when_it_first_did(
    world: World, asked_for: str
) -> None:
    batch_id = in_status(world, "active")
    advance_clock(world, 60)
    world.sql("UPDATE batches SET status = 'paused', status_reason = 'lunch'")
    assert world.progress(batch_id).status_reason == "lunch"
    advance_clock(world, 60)
    world.sql("UPDATE batches SET status = :status", status=asked_for)
    assert world.progress(batch_id).status_reason is None
    assert world.rows("SELECT status, started_at FROM batches") == [("active", MONDAY)]


def test_a_batch_that_is_edited_while_it_is_stopped_stays_drained_since_it_was(world: World) -> None:
    batch_id = in_status(world, "paused")
    world.sql("UPDATE batch_progress SET held_by = 'rate'")
    advance_clock(world, 60)
    world.sql("UPDATE batches SET name = 'edited'")
    progress = world.progress(batch_id)
    assert (progress.drained_at, progress.next_dispatch_at) == (MONDAY, None)
    assert world.value("SELECT count(*) FROM batch_history WHERE from_status = to_status") == 0


def test_what_held_a_batch_back_is_forgotten_when_it_is_stopped(world: World) -> None:
    batch_id = in_status(world, "active")
    world.sql("UPDATE batch_progress SET held_by = 'rate'")
    world.sql(STOP)
    assert world.progress(batch_id).held_by is None


UPSERT = """
    INSERT INTO batches (id, workspace_id, name, agent_id) SELECT id, workspace_id, name, agent_id FROM batches
    ON CONFLICT (id) DO UPDATE SET status = 'paused'
    """
MERGE = """
    MERGE INTO batches b USING (SELECT id FROM batches) AS named ON named.id = b.id
    WHEN MATCHED THEN UPDATE SET status = 'paused'
    """
FROM_A_LIST = "UPDATE batches b SET status = 'paused' FROM agents a WHERE a.id = b.agent_id"
IN_A_CTE = """
    WITH stopped AS (UPDATE batches SET status = 'paused' RETURNING id)
    UPDATE batch_progress SET held_by = 'operator' WHERE batch_id IN (SELECT id FROM stopped)
    """


@pytest.mark.parametrize("statement", [UPSERT, MERGE, FROM_A_LIST, IN_A_CTE], ids=["upsert", "merge", "from", "cte"])
def test_every_kind_of_statement_that_updates_stops_what_is_live_and_leaves_the_rest(
    world: World, statement: str
) -> None:
    if statement is MERGE and world.value("SELECT current_setting('server_version_num')::int") < 150000:
        pytest.skip("MERGE came with Postgres 15")
    before = {in_status(world, status): status for status in ("completed", "active", "draft", "paused", "failed")}
    assert world.sql(statement) == 1
    assert statuses(world) == {of: "paused" if status == "active" else status for of, status in before.items()}


def test_the_settings_of_contacts_that_no_stop_may_change_still_raise(world: World) -> None:
    batch_id = in_status(world, "active")
    with pytest.raises(IntegrityError, match="has contacts"):
        world.sql("UPDATE batches SET status = 'paused', sticky_caller_id = true")
    assert statuses(world) == {batch_id: "active"}
