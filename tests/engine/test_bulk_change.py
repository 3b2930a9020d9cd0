"""Bulk changes: a stop takes as long with many contacts as with few, and workers end the contacts in pages."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from dialer.domain.ids import BatchId
from dialer.engine.bulk_change import AGAIN_SECONDS, BulkChangeReport, bulk_change
from dialer.engine.dispatch import dispatch
from dialer.engine.retention import retention
from dialer.engine.retry import RetryReport, retry
from dialer.engine.tick import tick
from dialer.errors import Contended, NotFound
from dialer.service import batches
from dialer.service.results import results_csv
from dialer.store import bulk_changes
from dialer.store.database import rows, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    dispatch_and_place,
    end_call,
    intercept_leases,
    live_attempts,
    lock_waiters,
    run_concurrently,
)
from support.recorded_statements import recorded_statements
from support.world import World, made_up_phones

WRITTEN = """
SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_xact_user_tables
"""
MANY = 1_000


def cancel(world: World, batch_id: BatchId | None = None) -> int:
    return world.sql("UPDATE batches SET status = 'cancelled' WHERE id = coalesce(:id, id)", id=batch_id)


def changed(world: World, page: int) -> BulkChangeReport:
    return bulk_change(world.context, world.clock.now, page)


def counts(world: World, batch_id: BatchId) -> tuple[int, int, int]:
    """Contacts that are neither final nor being called, those that are cancelled, and those that are skipped."""
    progress = world.progress(batch_id)
    parts = (progress.pending, progress.waiting, progress.dialing, progress.completed, progress.failed)
    assert progress.total == sum(parts) + progress.skipped + progress.cancelled
    return progress.pending + progress.waiting, progress.cancelled, progress.skipped


def written_rows(world: World, statement: str) -> dict[str, int]:
    """Count the rows of each table that this statement and its triggers write."""
    with world.db.begin() as connection:
        # Postgres has not sent off all that this session wrote in earlier transactions.
        before = {row.relname: row.n for row in rows(connection, WRITTEN)}
        assert run(connection, statement) == 1
        after = {row.relname: row.n - before[row.relname] for row in rows(connection, WRITTEN)}
    return {table: n for table, n in after.items() if n}


@pytest.mark.parametrize("status", ["cancelled", "failed", "completed"])
def test_what_an_operator_s_statement_writes_does_not_grow_with_the_contacts(world: World, status: str) -> None:
    stop = f"UPDATE batches SET status = '{status}' WHERE status = 'active'"
    world.batch(3)
    few = written_rows(world, stop)
    world.batch(made_up_phones(MANY, first=3))
    assert written_rows(world, stop) == few == {
        "batches": 1, "batch_progress": 1, "batch_history": 1, "bulk_changes": 1
    }  # fmt: skip


def test_a_batch_without_open_contacts_needs_no_bulk_change(world: World) -> None:
    batch_id = world.batch(1)
    world.run(lambda: world.is_over(batch_id))
    cancel(world, world.batch(0, start=False))
    assert world.value("SELECT count(*) FROM bulk_changes") == 0
    assert not tick(world.context, world.clock.now).has_bulk_changes


def test_the_pages_end_all_contacts_and_the_progress_adds_up_after_each(world: World) -> None:
    batch_id = world.batch(10)
    cancel(world)
    for ended in (0, 4, 8, 10):
        assert counts(world, batch_id) == (10 - ended, ended, 0)
        assert world.progress(batch_id).is_finishing == (ended < 10)
        assert tick(world.context, world.clock.now).has_bulk_changes == (ended < 10)
        assert_audit_is_clean(world)
        changed(world, page=4)
    assert changed(world, page=4) == BulkChangeReport(0, goes_on=False)


def test_contacts_end_when_their_batch_did_and_with_its_status_as_the_reason(world: World) -> None:
    world.batch(3)
    world.sql("UPDATE batches SET status = 'failed'")
    ended_at = world.clock.now
    advance_clock(world, 30)
    world.change_pages()
    ends = world.rows("SELECT DISTINCT status, status_reason, finished_at FROM contacts")
    assert ends == [("cancelled", "batch_failed", ended_at)]


def test_a_page_sends_the_same_statements_however_many_contacts_there_are(world: World) -> None:
    world.batch(3)
    cancel(world)
    few = recorded_statements(world.db, partial(changed, world, page=1))
    world.change_pages()
    world.batch(made_up_phones(MANY, first=3))
    cancel(world)
    many = recorded_statements(world.db, partial(changed, world, page=MANY // 2))
    assert [one.sql for one in many] == [one.sql for one in few]


def test_nobody_is_called_or_requeued_while_the_contacts_are_being_ended(world: World) -> None:
    batch_id = world.batch(6, max_concurrent_calls=2, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0], "busy")
    cancel(world)
    end_call(world, live_attempts(world)[0], "busy")
    assert counts(world, batch_id) == (5, 0, 0)
    advance_clock(world, 3600)
    assert retry(world.context, world.clock.now) == RetryReport(0, ())
    assert dispatch_and_place(world, batch_id).claimed == 0
    world.change_pages()
    assert counts(world, batch_id) == (0, 5, 0)
    assert len(world.network.log) == 2


@pytest.mark.parametrize("before_the_grant", [True, False])
def test_a_claim_that_races_a_cancellation_of_many_contacts_starts_no_call(
    world: World, before_the_grant: bool
) -> None:
    batch_id = world.batch(MANY)
    stop = partial(cancel, world)
    context = intercept_leases(world, **{"before" if before_the_grant else "after": stop})
    assert dispatch_and_place(world, batch_id, context=context).claimed == 0
    assert counts(world, batch_id) == (MANY, 0, 0)
    assert len(world.network.log) == world.value("SELECT count(*) FROM attempts") == 0


def test_a_reserved_call_of_a_batch_whose_contacts_are_still_open_does_not_leave(world: World) -> None:
    batch_id = world.batch(MANY, max_concurrent_calls=3)
    report = dispatch(world.context, [batch_id], world.clock.now, world.rng)
    cancel(world)
    world.schedule(report.departures)
    world.depart()
    assert len(world.network.log) == 0
    assert world.value("SELECT DISTINCT cause FROM attempts") == "batch_cancelled"
    world.change_pages()
    assert counts(world, batch_id) == (0, MANY, 0)


def test_a_statement_over_several_batches_has_their_pages_take_turns(world: World) -> None:
    first, second = world.batch(5), world.batch(made_up_phones(5, first=5))
    assert cancel(world) == 2
    for _ in range(2):
        advance_clock(world, 1)
        changed(world, page=2)
    assert [counts(world, batch_id)[1] for batch_id in (first, second)] == [2, 2]


def test_workers_at_once_end_each_contact_once(world: World) -> None:
    batch_ids = [world.batch(made_up_phones(40, first=40 * n)) for n in range(3)]
    cancel(world)
    done = run_concurrently(*[partial(world.change_pages, 7)] * 4)
    advance_clock(world, AGAIN_SECONDS)
    assert sum(done) + world.change_pages() == 120
    assert [counts(world, batch_id) for batch_id in batch_ids] == [(0, 40, 0)] * 3
    assert_audit_is_clean(world)


def test_the_page_of_a_worker_that_died_is_taken_again_after_five_seconds(world: World) -> None:
    batch_id = world.batch(10)
    cancel(world)
    changed(world, page=3)
    now = world.clock.now
    with world.db.begin() as connection:
        assert bulk_changes.take_due(connection, now, now.add(seconds=AGAIN_SECONDS)) == batch_id
    with world.db.begin() as connection:
        run(connection, "UPDATE contacts SET status = 'cancelled', finished_at = dialer_now()")
        connection.rollback()
    advance_clock(world, AGAIN_SECONDS - 0.001)
    assert changed(world, page=3) == BulkChangeReport(0, goes_on=False)
    assert_audit_is_clean(world)
    advance_clock(world, 0.001)
    assert world.change_pages(3) == 7
    assert counts(world, batch_id) == (0, 10, 0)


def test_a_bulk_change_that_no_worker_goes_on_with_is_found_by_the_audit(world: World) -> None:
    world.batch(3)
    cancel(world)
    advance_clock(world, 600)
    assert_audit_is_clean(world)
    advance_clock(world, 1)
    with pytest.raises(AssertionError, match="bulk_change_overdue"):
        assert_audit_is_clean(world)


LOCK_CONTACT = "SELECT 1 FROM contacts WHERE phone_number = '+12015550000' FOR UPDATE"
LOCK_COUNTS = "SELECT 1 FROM batch_progress WHERE batch_id = :stuck FOR UPDATE"


@pytest.mark.parametrize(("locked", "left"), [(LOCK_CONTACT, 1), (LOCK_COUNTS, 5)])
def test_rows_that_someone_has_locked_stop_only_themselves(world: World, locked: str, left: int) -> None:
    stuck, free = world.batch(5), world.batch(made_up_phones(5, first=5))
    cancel(world)
    with world.db.begin() as operator:
        rows(operator, locked, **({"stuck": stuck} if ":stuck" in locked else {}))
        world.change_pages()
        assert [counts(world, batch_id)[0] for batch_id in (stuck, free)] == [left, 0]
    advance_clock(world, AGAIN_SECONDS)
    world.change_pages()
    assert counts(world, stuck) == (0, 5, 0)


BROKEN = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW WHEN (OLD.phone_number = '+12015550000')
    EXECUTE FUNCTION refuse();
"""


def test_a_batch_whose_page_fails_is_noted_and_keeps_no_other_from_being_ended(world: World) -> None:
    broken, free = world.batch(5), world.batch(made_up_phones(5, first=5))
    cancel(world)
    world.sql(BROKEN)
    try:
        world.change_pages()
        assert [counts(world, batch_id)[0] for batch_id in (broken, free)] == [5, 0]
        assert world.rows("SELECT kind, subject FROM quarantine") == [("batch", str(broken))]
        advance_clock(world, 59)
        assert world.change_pages() == 0
    finally:
        world.sql("DROP FUNCTION refuse() CASCADE")
    advance_clock(world, 2)
    assert world.change_pages() == 5
    assert world.rows("SELECT kind, subject FROM quarantine") == []


def expired(world: World, count: int) -> BatchId:
    """A batch that expired just now, as dispatch has found."""
    batch_id = world.batch(count, expires_at=world.clock.now.add(minutes=1).isoformat())
    advance_clock(world, 60)
    assert dispatch_and_place(world, batch_id).claimed == 0
    return batch_id


def test_the_contacts_of_an_expired_batch_are_skipped_in_pages_and_then_it_completes(world: World) -> None:
    batch_id = expired(world, 5)
    for skipped in (0, 2, 4):
        assert counts(world, batch_id) == (5 - skipped, 0, skipped)
        assert_audit_is_clean(world)
        assert (dispatch_and_place(world, batch_id).claimed, world.progress(batch_id).status) == (0, "active")
        changed(world, page=2)
    assert counts(world, batch_id) == (0, 0, 5)
    assert tick(world.context, world.clock.now).due == (batch_id,)
    dispatch_and_place(world, batch_id)
    assert world.progress(batch_id).status == "completed"


def test_those_whom_no_page_has_skipped_yet_are_called_if_the_expiry_is_put_off(world: World) -> None:
    batch_id = expired(world, 5)
    changed(world, page=2)
    world.sql("UPDATE batches SET expires_at = expires_at + interval '1 day'")
    assert (changed(world, page=2).changed, world.progress(batch_id).is_finishing) == (0, False)
    world.run(lambda: world.is_over(batch_id))
    assert (world.progress(batch_id).skipped, len(world.network.log)) == (2, 3)


def test_an_expired_batch_that_is_cancelled_meanwhile_ends_the_rest_as_cancelled(world: World) -> None:
    batch_id = expired(world, 5)
    changed(world, page=2)
    cancel(world)
    world.change_pages()
    assert counts(world, batch_id) == (0, 3, 2)


def test_a_batch_is_archived_only_when_its_contacts_have_ended(world: World) -> None:
    world.batch(3)
    cancel(world)
    later = world.clock.now.add(days=10)
    assert retention(world.context, later, days=9).batches == 0
    world.change_pages()
    assert retention(world.context, later, days=9).batches == 1


def delete(world: World, batch_id: BatchId) -> None:
    batches.delete(world.db, world.installed.workspace_id, batch_id)


def left(world: World) -> list[int]:
    """How many contacts and attempts there are, and how many deleted attempts count toward daily caps."""
    return [world.value(f"SELECT count(*) FROM {table}") for table in ("contacts", "attempts", "deleted_attempts")]


def test_what_a_delete_in_sql_writes_does_not_grow_with_the_contacts(world: World) -> None:
    few_id = world.batch(3, start=False)
    few = written_rows(world, f"DELETE FROM batches WHERE id = '{few_id}'")
    many_id = world.batch(made_up_phones(MANY, first=3), start=False)
    assert written_rows(world, f"DELETE FROM batches WHERE id = '{many_id}'") == few
    assert not few.keys() & {"contacts", "attempts"}


def test_a_deleted_batch_is_gone_at_once_and_its_rows_are_removed_in_pages(world: World) -> None:
    kept, deleted = world.batch(3), world.batch(made_up_phones(5, first=3))
    world.run(lambda: world.is_over(kept, deleted))
    delete(world, deleted)
    with pytest.raises(NotFound):
        world.progress(deleted)
    for expected in ([8, 6, 2], [8, 4, 4], [8, 3, 5], [6, 3, 5], [4, 3, 5], [3, 3, 5]):
        changed(world, page=2)
        assert_audit_is_clean(world)
        assert left(world) == expected
    world.change_pages()
    assert (left(world), world.value("SELECT count(*) FROM bulk_changes")) == ([3, 3, 5], 0)


def test_a_cancelled_batch_can_be_deleted_while_its_contacts_are_being_ended(world: World) -> None:
    batch_id = world.batch(10)
    cancel(world)
    changed(world, page=3)
    delete(world, batch_id)
    assert_audit_is_clean(world)
    world.change_pages(3)
    assert (left(world), world.value("SELECT count(*) FROM bulk_changes")) == ([0, 0, 0], 0)


def test_nothing_of_a_live_batch_that_an_operator_deletes_in_sql_is_called(world: World) -> None:
    batch_id = world.batch(MANY, max_concurrent_calls=3)
    report = dispatch(world.context, [batch_id], world.clock.now, world.rng)
    world.sql("DELETE FROM batches")
    world.schedule(report.departures)
    world.depart()
    assert dispatch_and_place(world, batch_id).claimed == len(world.network.log) == 0
    advance_clock(world, 3600)
    world.step()
    assert left(world)[:2] == [0, 0]
    assert_audit_is_clean(world)


def test_contacts_cannot_be_added_to_a_batch_that_does_not_exist_or_is_being_deleted(world: World) -> None:
    batch_id = world.batch(1, start=False)
    add = "INSERT INTO contacts (id, batch_id, phone_number) VALUES (gen_random_uuid(), :id, '+12025550109')"
    with ThreadPoolExecutor(1) as pool:
        with world.db.begin() as deleting:
            run(deleting, "DELETE FROM batches")
            adding = pool.submit(world.sql, add, id=batch_id)
            wait_until(lambda: lock_waiters(world) == 1)
        with pytest.raises(Contended, match="There is no batch"):
            adding.result(DEADLINE_SECONDS)
    world.change_pages()
    with pytest.raises(Contended, match=f"There is no batch {batch_id}"):
        world.sql(add, id=batch_id)
    assert left(world) == [0, 0, 0]


def test_a_contact_cannot_be_moved_to_another_batch(world: World) -> None:
    world.batch(1, start=False)
    with pytest.raises(IntegrityError, match="cannot be moved to another batch"):
        world.sql("UPDATE contacts SET batch_id = gen_random_uuid()")


def test_rows_of_a_batch_that_nobody_removes_are_found_by_the_audit(world: World) -> None:
    world.batch(1, start=False)
    world.sql("DELETE FROM batches")
    assert_audit_is_clean(world)
    world.sql("DELETE FROM bulk_changes")
    with pytest.raises(AssertionError, match="row_of_missing_batch"):
        assert_audit_is_clean(world)


def test_the_results_show_every_contact_as_it_will_end(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"answered": 1})
    batch_id = world.batch(4, max_concurrent_calls=1)
    world.run(lambda: world.progress(batch_id).completed == 1)
    cancel(world)

    def table() -> list[Any]:
        text = b"".join(results_csv(world.db, world.installed.workspace_id, batch_id)).decode()
        return sorted(line.split(",")[0:7] for line in text.splitlines())

    world.run(lambda: world.progress(batch_id).dialing == 0, each=world.deliver)
    done = table()
    world.sql(
        "UPDATE contacts SET status = 'pending', status_reason = NULL, finished_at = NULL WHERE status = 'cancelled'"
    )
    assert world.progress(batch_id).pending
    assert table() == done
