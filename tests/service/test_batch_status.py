"""What the status of a batch allows, and what a change brings about: through the service and in SQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from dialer.domain.ids import BatchId
from dialer.errors import DialerError, NotFound
from dialer.service import batches
from dialer.store.database import run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import lock_waiters
from support.operator_requests import change, conflict, schedule
from support.world import MONDAY, World

TOMORROW = MONDAY.add(days=1)


def status(world: World, batch_id: BatchId) -> str:
    return world.progress(batch_id).status


def to_status(world: World, wanted: str) -> BatchId:
    """Make a batch of this status by the ways that there are for operators and for the engine."""
    batch_id = world.batch(
        2,
        start=False,
        **({"schedule_type": "scheduled", "scheduled_at": str(TOMORROW)} if wanted == "scheduled" else {}),
    )
    if wanted != "draft":
        schedule(world, batch_id)
    if wanted not in ("draft", "scheduled", "active"):
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=wanted, id=batch_id)
    assert status(world, batch_id) == wanted
    return batch_id


ALLOWED = {
    "schedule": {"draft"},
    "pause": {"scheduled", "active"},
    "resume": {"paused"},
    "cancel": {"draft", "scheduled", "active", "paused"},
}
CODES = {
    "schedule": "batch_not_draft",
    "pause": "batch_not_active",
    "resume": "batch_not_paused",
    "cancel": "batch_is_final",
}


@pytest.mark.parametrize("action", ALLOWED)
@pytest.mark.parametrize("before", ["draft", "scheduled", "active", "paused", "completed", "cancelled", "failed"])
def test_what_the_status_does_not_allow_is_refused_by_its_name_and_changes_nothing(
    world: World, before: str, action: str
) -> None:
    batch_id = to_status(world, before)
    history = "SELECT count(*) FROM batch_history WHERE batch_id = :id"
    written = world.value(history, id=batch_id)
    if before in ALLOWED[action]:
        assert change(world, action, batch_id) == status(world, batch_id) != before
        assert world.value(history, id=batch_id) == written + 1
    else:
        code, message = conflict(lambda: change(world, action, batch_id))
        assert code == CODES[action]
        assert message.startswith(f"Batch is {before}; only a")
        assert (status(world, batch_id), world.value(history, id=batch_id)) == (before, written)


@pytest.mark.parametrize("action", ALLOWED)
def test_the_batch_of_another_workspace_does_not_exist(world: World, action: str) -> None:
    batch_id = world.batch(1, start=False)
    world.sql("INSERT INTO workspaces (id, name) VALUES (:id, 'other')", id=UUID(int=2))
    world.sql("UPDATE batches SET workspace_id = :other WHERE id = :id", other=UUID(int=2), id=batch_id)
    for unknown in (batch_id, BatchId(UUID(int=1))):
        with pytest.raises(NotFound, match="No such batch in this workspace"):
            change(world, action, unknown)
    assert status(world, batch_id) == "draft"


def test_of_two_who_pause_at_once_one_wins_and_the_other_is_told_so(world: World) -> None:
    batch_id, start = world.batch(2), Barrier(2)

    def pause(_: int) -> str:
        start.wait(DEADLINE_SECONDS)
        try:
            return batches.pause(world.db, world.installed.workspace_id, batch_id)
        except DialerError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            lost = "Batch is paused; only an active or scheduled batch can be paused"
            assert sorted(pool.map(pause, range(2))) == [lost, "paused"]
            batches.resume(world.db, world.installed.workspace_id, batch_id)
    assert world.value("SELECT count(*) FROM batch_history WHERE batch_id = :id", id=batch_id) == 2 + 2 * 20


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_an_action_that_gives_way_to_someone_who_locks_in_the_wrong_order_is_done_again(
    world: World, action: str
) -> None:
    batch_id = world.batch(2)
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        # The action looks for a deadlock before this session does, so it is the one to be broken off.
        run(operator, "SET LOCAL deadlock_timeout = '30s'")
        run(operator, "UPDATE batch_progress SET held_by = NULL WHERE batch_id = :id", id=batch_id)
        acting = pool.submit(change, world, action, batch_id)
        wait_until(lambda: lock_waiters(world) == 1)
        run(operator, "UPDATE batches SET name = 'renamed' WHERE id = :id", id=batch_id)
        operator.commit()
        assert (
            acting.result(DEADLINE_SECONDS)
            == status(world, batch_id)
            == {"pause": "paused", "cancel": "cancelled"}[action]
        )
    assert world.value("SELECT name FROM batches WHERE id = :id", id=batch_id) == "renamed"


def test_an_operator_may_pause_in_sql_and_the_batch_says_when_it_was_drained(world: World) -> None:
    batch_id = world.batch(30, max_concurrent_calls=5)
    world.step()
    assert world.sql("UPDATE batches SET status = 'paused' WHERE id = :id", id=batch_id) == 1
    assert (world.progress(batch_id).dialing, world.progress(batch_id).drained_at) == (5, None)
    world.run(lambda: world.progress(batch_id).dialing == 0)
    assert len(world.network.log) == 5
    assert world.progress(batch_id).drained_at == world.clock.now
    batches.resume(world.db, world.installed.workspace_id, batch_id)
    assert world.progress(batch_id).drained_at is None
    world.run(lambda: world.is_over(batch_id))


@pytest.mark.parametrize("wanted", ["paused", "cancelled", "failed", "completed"])
def test_a_batch_with_nothing_in_progress_is_drained_at_once_when_it_stops(world: World, wanted: str) -> None:
    batch_id = world.batch(2)
    world.sql("UPDATE batches SET status = :status WHERE id = :id", status=wanted, id=batch_id)
    progress = world.progress(batch_id)
    assert (progress.status, progress.drained_at, progress.next_dispatch_at) == (wanted, MONDAY, None)


@pytest.mark.parametrize(
    ("before", "after"), [("draft", "failed"), ("draft", "completed"), ("cancelled", "active"), ("active", "draft")]
)
def test_the_database_refuses_an_operator_s_illegal_change_in_words(world: World, before: str, after: str) -> None:
    batch_id = to_status(world, before)
    with pytest.raises(IntegrityError, match=f"Batch {batch_id} is {before}; it cannot become {after}"):
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=after, id=batch_id)
    with pytest.raises(IntegrityError, match="check constraint"):
        world.sql("UPDATE batches SET max_concurrent_calls = 101 WHERE id = :id", id=batch_id)
    assert status(world, batch_id) == before


def test_every_change_of_status_is_written_down_with_its_time_and_who_made_it(world: World) -> None:
    batch_id = world.batch(1, start=False)
    reason = "UPDATE batches SET status = 'cancelled', status_reason = 'wrong list' WHERE id = :id"
    for step in (
        lambda: schedule(world, batch_id),
        lambda: change(world, "pause", batch_id),
        lambda: world.sql(reason, id=batch_id),
    ):
        world.clock.now = world.clock.now.add(seconds=10)
        step()
    written = world.rows(
        "SELECT from_status, to_status, reason, at, by = session_user AS named FROM batch_history "
        "WHERE batch_id = :id ORDER BY id",
        id=batch_id,
    )
    assert [tuple(row) for row in written] == [
        (None, "draft", None, MONDAY, True),
        ("draft", "active", None, MONDAY.add(seconds=10), True),
        ("active", "paused", None, MONDAY.add(seconds=20), True),
        ("paused", "cancelled", "wrong list", MONDAY.add(seconds=30), True),
    ]
    assert world.progress(batch_id).status_reason == "wrong list"


@pytest.mark.parametrize("by_sql", [True, False])
def test_cancelling_lets_go_of_all_contacts_that_nobody_is_calling_and_the_counts_add_up(
    make_world: Callable[..., World], by_sql: bool
) -> None:
    world = make_world(outcomes={"busy": 1})
    batch_id = world.batch(12, max_concurrent_calls=4, retry_failed=True, max_retry_attempts=1)
    world.run(lambda: world.progress(batch_id).waiting >= 3)
    before = world.progress(batch_id)
    assert before.dialing
    assert before.pending
    if by_sql:
        world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=batch_id)
    else:
        change(world, "cancel", batch_id)
    assert world.progress(batch_id).is_finishing
    world.change_pages()
    after = world.progress(batch_id)
    assert (after.pending, after.waiting, after.dialing) == (0, 0, before.dialing)
    assert after.cancelled == before.pending + before.waiting
    assert after.cancelled + after.dialing + after.failed == after.total == 12
    world.run(lambda: world.progress(batch_id).dialing == 0)
    counted = world.rows("SELECT status, count(*) FROM contacts WHERE batch_id = :id GROUP BY 1", id=batch_id)
    done = world.progress(batch_id)
    assert dict(tuple(row) for row in counted) == {"cancelled": done.cancelled, "failed": done.failed}
    assert done.drained_at == world.clock.now
