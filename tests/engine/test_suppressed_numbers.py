"""Suppressions: acknowledged at once, nobody is called from then on, and workers skip the contacts in pages."""

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialer.domain.ids import BatchId
from dialer.engine.bulk_change import AGAIN_SECONDS, BulkChangeReport, bulk_change
from dialer.engine.tick import tick
from dialer.store import health, suppressed_numbers
from dialer.store.database import rows, run
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    dispatch_and_place,
    end_call,
    live_attempts,
    run_concurrently,
)
from support.recorded_statements import recorded_statements
from support.world import World, made_up_phones

SUPPRESS = """
INSERT INTO suppressions (workspace_id, phone_number) SELECT :workspace, unnest(CAST(:phones AS text[]))
ON CONFLICT DO NOTHING
"""
MANY = 1_000


def suppress(world: World, phones: Sequence[str]) -> int:
    return world.sql(SUPPRESS, workspace=world.installed.workspace_id, phones=list(phones))


def changed(world: World, page: int = 2_000) -> BulkChangeReport:
    return bulk_change(world.context, world.clock.now, page)


def skipped(world: World, batch_id: BatchId) -> int:
    return world.progress(batch_id).skipped


def rows_left(world: World) -> int:
    return int(world.value("SELECT count(*) FROM suppressed_numbers"))


def test_a_suppression_writes_no_contact_and_pages_skip_them_with_the_reason(world: World) -> None:
    batch_id = world.batch(10)
    assert suppress(world, made_up_phones(7)) == 7
    for done in (0, 3, 6, 7):
        assert skipped(world, batch_id) == done
        assert_audit_is_clean(world)
        assert tick(world.context, world.clock.now).has_bulk_changes == (done < 7)
        changed(world, page=3)
    assert changed(world) == BulkChangeReport(0, goes_on=False)
    ends = world.rows(
        "SELECT status, status_reason, finished_at = dialer_now() FROM contacts WHERE status <> 'pending'"
    )
    assert ends == [("skipped", "suppressed", True)] * 7
    assert rows_left(world) == 0


def test_nobody_is_called_before_a_page_was_done(world: World) -> None:
    batch_id = world.batch(5, max_concurrent_calls=5)
    suppress(world, made_up_phones(5))
    assert dispatch_and_place(world, batch_id).claimed == len(world.network.log) == 0


def test_contacts_that_wait_for_a_retry_are_skipped_and_calls_in_progress_go_on(world: World) -> None:
    batch_id = world.batch(2, max_concurrent_calls=2, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0], "busy")
    suppress(world, made_up_phones(2))
    world.change_pages()
    assert (skipped(world, batch_id), world.progress(batch_id).dialing) == (1, 1)
    end_call(world, live_attempts(world)[0], "busy")
    advance_clock(world, 3600)
    world.step()
    assert (skipped(world, batch_id), world.progress(batch_id).status) == (2, "completed")
    assert len(world.network.log) == 2


def test_a_batch_of_which_no_contact_is_left_is_completed(world: World) -> None:
    batch_id = world.batch(3, max_concurrent_calls=1, working_days=[7])
    dispatch_and_place(world, batch_id)
    assert world.progress(batch_id).status == "active"
    suppress(world, made_up_phones(3))
    world.step()
    assert (world.progress(batch_id).status, skipped(world, batch_id)) == ("completed", 3)


def test_all_batches_of_the_workspace_that_are_not_over_are_looked_through_and_no_others(world: World) -> None:
    many = suppressed_numbers.BATCHES * 2
    (phone,) = made_up_phones(1)
    batch_ids = [world.batch([phone], start=number % 2 == 0, max_concurrent_calls=1) for number in range(many)]
    over = world.batch([phone])
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=over)
    world.change_pages()
    other = world.value("INSERT INTO workspaces (id, name) VALUES (gen_random_uuid(), 'other') RETURNING id")
    world.sql(SUPPRESS, workspace=other, phones=made_up_phones(1))
    assert world.change_pages() == 0
    suppress(world, made_up_phones(1))
    assert [changed(world).changed for _ in range(3)] == [many // 2, many // 2, 0]
    assert [skipped(world, batch_id) for batch_id in batch_ids] == [1] * many
    assert (world.progress(over).cancelled, rows_left(world)) == (1, 0)


def test_the_doctor_names_numbers_whose_contacts_nobody_skips(world: World) -> None:
    world.batch(3)
    suppress(world, made_up_phones(3))
    advance_clock(world, 61)
    with world.db.begin() as connection:
        (trouble,) = [line for line in health.troubles(connection, world.clock.now) if "suppressed" in line]
    assert trouble.startswith("3 suppressed numbers have had contacts to skip for over a minute")


def test_a_number_that_is_not_suppressed_any_more_keeps_its_contacts(world: World) -> None:
    batch_id = world.batch(2)
    suppress(world, made_up_phones(2))
    world.sql("DELETE FROM suppressions WHERE phone_number = :phone", phone=made_up_phones(1)[0])
    assert world.change_pages() == 1
    world.run(lambda: world.is_over(batch_id))
    assert len(world.network.log) == 1


def test_numbers_that_were_suppressed_before_leave_nothing_to_do(world: World) -> None:
    suppress(world, made_up_phones(3))
    world.change_pages()
    assert suppress(world, made_up_phones(3)) == rows_left(world) == 0


def test_what_a_suppression_writes_does_not_grow_with_the_contacts_and_batches(world: World) -> None:
    def written() -> list[str]:
        return [one.sql for one in recorded_statements(world.db, partial(suppress, world, made_up_phones(1)))]

    few = written()
    world.sql("DELETE FROM suppressions")
    for _ in range(5):
        world.batch(10)
    assert written() == few
    assert world.value("SELECT count(*) FROM contacts WHERE status <> 'pending'") == 0


def test_a_large_suppression_becomes_rows_of_a_thousand_numbers(world: World) -> None:
    world.batch(made_up_phones(2 * MANY + 1))
    suppress(world, made_up_phones(2 * MANY + 1))
    sizes = world.rows("SELECT cardinality(phone_numbers) FROM suppressed_numbers ORDER BY id")
    assert [size for (size,) in sizes] == [MANY, MANY, 1]
    assert world.change_pages(MANY // 2) == 2 * MANY + 1


def test_a_page_sends_the_same_statements_however_many_numbers_there_are(world: World) -> None:
    world.batch(made_up_phones(MANY))
    suppress(world, made_up_phones(1))
    few = recorded_statements(world.db, partial(changed, world))
    suppress(world, made_up_phones(MANY))
    many = recorded_statements(world.db, partial(changed, world))
    assert [one.sql for one in many] == [one.sql for one in few]


def test_the_page_of_a_worker_that_died_is_taken_again_after_five_seconds(world: World) -> None:
    batch_id = world.batch(10)
    suppress(world, made_up_phones(10))
    changed(world, page=3)
    now = world.clock.now
    with world.db.begin() as connection:
        row_id = suppressed_numbers.take_due(connection, now, now.add(seconds=AGAIN_SECONDS))
        assert row_id is not None
    with world.db.begin() as connection:
        batch_ids = suppressed_numbers.next_batches(connection, row_id)
        found = suppressed_numbers.open_contacts(connection, row_id, batch_ids, 5)
        assert suppressed_numbers.skip(connection, found) == 5
        connection.rollback()
    advance_clock(world, AGAIN_SECONDS - 0.001)
    assert changed(world) == BulkChangeReport(0, goes_on=False)
    assert_audit_is_clean(world)
    advance_clock(world, 0.001)
    assert world.change_pages(3) == 7
    assert (skipped(world, batch_id), rows_left(world)) == (10, 0)


LOCK_CONTACT = "SELECT 1 FROM contacts WHERE phone_number = '+12015550000' FOR UPDATE"
LOCK_COUNTS = "SELECT 1 FROM batch_progress FOR UPDATE"


@pytest.mark.parametrize(("locked", "left"), [(LOCK_CONTACT, 1), (LOCK_COUNTS, 5)])
def test_rows_that_someone_has_locked_are_skipped_when_they_are_free(world: World, locked: str, left: int) -> None:
    batch_id = world.batch(5)
    suppress(world, made_up_phones(5))
    with world.db.begin() as operator:
        rows(operator, locked)
        world.change_pages()
        assert (world.progress(batch_id).pending, rows_left(world)) == (left, 1)
    advance_clock(world, AGAIN_SECONDS)
    world.change_pages()
    assert (skipped(world, batch_id), rows_left(world)) == (5, 0)


def test_workers_at_once_skip_each_contact_once(world: World) -> None:
    batch_ids = [world.batch(made_up_phones(40)) for _ in range(3)]
    suppress(world, made_up_phones(40))
    done = run_concurrently(*[partial(world.change_pages, 7)] * 4)
    advance_clock(world, AGAIN_SECONDS)
    assert sum(done) + world.change_pages() == 120
    assert [skipped(world, batch_id) for batch_id in batch_ids] == [40] * 3
    assert_audit_is_clean(world)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=1, max_size=4),
    uploads=st.lists(st.sets(st.integers(0, 9), min_size=1), min_size=1, max_size=3),
    page=st.integers(1, 4),
)
def test_exactly_the_contacts_of_suppressed_numbers_are_skipped(
    world: World, batches: list[set[int]], uploads: list[set[int]], page: int
) -> None:
    phones = made_up_phones(10)
    world.sql("DELETE FROM suppressions")
    world.sql("UPDATE batches SET status = 'cancelled' WHERE status IN ('active', 'draft')")
    world.change_pages()
    batch_ids = [world.batch([phones[number] for number in sorted(numbers)]) for numbers in batches]
    for upload in uploads:
        suppress(world, [phones[number] for number in upload])
        changed(world, page)
    world.change_pages(page)
    gone = set.union(*uploads)
    assert [skipped(world, batch_id) for batch_id in batch_ids] == [len(numbers & gone) for numbers in batches]
    assert rows_left(world) == 0


def test_a_contact_that_is_claimed_after_it_was_found_keeps_its_call(world: World) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    (contact_id,) = (row.id for row in world.rows("SELECT id FROM contacts"))
    with world.db.begin() as connection:
        assert suppressed_numbers.skip(connection, [contact_id]) == 0
    assert world.progress(batch_id).dialing == 1


def test_an_upload_that_fails_leaves_nothing_to_do(world: World) -> None:
    with world.db.begin() as connection:
        run(connection, SUPPRESS, workspace=world.installed.workspace_id, phones=made_up_phones(2))
        connection.rollback()
    assert rows_left(world) == 0
