"""Statements that change batches: guarded by the status that they expect, whatever was read before."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dialer.domain.ids import BatchId
from dialer.domain.states import BatchStatus
from dialer.errors import NotFound
from dialer.store import batch_edits, batches
from dialer.store.database import run
from support.deadline import wait_until
from support.engine_steps import lock_waiters
from support.operator_requests import schedule
from support.world import MONDAY, World

NINE = MONDAY.add(hours=1)


def scheduled(world: World) -> BatchId:
    """A batch that starts at nine."""
    return world.batch(1, schedule_type="scheduled", scheduled_at=NINE.isoformat())


def started(world: World, *batch_ids: BatchId) -> int:
    with world.db.begin() as connection:
        return len(batches.start_scheduled(connection, batch_ids, NINE))


def test_a_batch_that_was_put_off_or_paused_since_it_was_due_is_not_started(world: World) -> None:
    due, put_off, paused = scheduled(world), scheduled(world), scheduled(world)
    world.sql("UPDATE batches SET scheduled_at = scheduled_at + interval '1 hour' WHERE id = :id", id=put_off)
    world.sql("UPDATE batches SET status = 'paused' WHERE id = :id", id=paused)
    assert started(world, due, put_off, paused) == 1
    statuses = [world.progress(batch_id).status for batch_id in (due, put_off, paused)]
    assert statuses == ["active", "scheduled", "paused"]


def test_a_batch_that_somebody_holds_does_not_keep_the_others_from_starting(world: World) -> None:
    held, free = scheduled(world), scheduled(world)
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        run(operator, "UPDATE batches SET name = 'held' WHERE id = :id", id=held)
        assert pool.submit(started, world, held, free).result(10) == 1
    assert world.progress(free).status == "active"


@pytest.mark.parametrize("status", ["paused", "cancelled"])
def test_a_batch_that_was_stopped_meanwhile_is_not_finished(world: World, status: str) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batches SET status = :status", status=status)
    with world.db.begin() as connection:
        assert not batches.finish(connection, batch_id, BatchStatus.FAILED, "no_outbound_number")
    assert world.progress(batch_id).status == status


def test_only_a_draft_is_discarded(world: World) -> None:
    workspace_id, draft, active = world.installed.workspace_id, world.batch(1, start=False), world.batch(1)
    with world.db.begin() as connection:
        assert batch_edits.delete_draft(connection, workspace_id, draft)
        assert not batch_edits.delete_draft(connection, workspace_id, active)
    assert world.rows("SELECT id FROM batches") == [(active,)]


def test_a_draft_that_is_being_deleted_is_not_started_meanwhile(world: World) -> None:
    batch_id = world.batch(1, start=False)
    with ThreadPoolExecutor(1) as pool:
        with world.db.begin() as deleting:
            assert batch_edits.lock(deleting, world.installed.workspace_id, batch_id) is BatchStatus.DRAFT
            starting = pool.submit(schedule, world, batch_id)
            wait_until(lambda: lock_waiters(world) == 1)
            batch_edits.delete(deleting, batch_id)
        with pytest.raises(NotFound):
            starting.result(10)
