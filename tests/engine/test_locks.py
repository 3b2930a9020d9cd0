"""A transaction that someone leaves open stops what it has locked and nothing else."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from dialer.domain.attempt import PlacedCall, UnclearCall
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import Outcome
from dialer.embedded import Servers
from dialer.engine.dispatch import dispatch
from dialer.engine.rescue import rescue, tell_of_locks
from dialer.engine.retry import retry
from dialer.engine.settle import AttemptEnd, close, settle
from dialer.engine.tick import tick
from dialer.errors import Contended, Unavailable
from dialer.store import archive, attempts, contacts, inbox, lease_epoch, locks, permits
from dialer.store.database import Database, Timeouts, rows, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    call_event,
    dispatch_and_place,
    end_call,
    live_attempts,
    lock_waiters,
    next_dispatch,
    receive_and_settle,
    run_concurrently,
)
from support.world import MONDAY, World, made_up_phones

IN_PSQL = {
    "its batch": "UPDATE batches SET name = 'edited' WHERE id = :batch",
    "the counts of its batch": "SELECT 1 FROM batch_progress WHERE batch_id = :batch FOR UPDATE",
    "its attempt": "SELECT 1 FROM attempts WHERE batch_id = :batch FOR UPDATE",
    "its contact": "UPDATE contacts SET name = 'edited' WHERE batch_id = :batch",
}
locked = pytest.mark.parametrize("what", IN_PSQL)
GONE = AttemptEnd("gone_from_network", Outcome.UNKNOWN)


@contextmanager
def held(world: World, what: str, batch_id: BatchId) -> Iterator[None]:
    """An operator's transaction that was left open."""
    with world.db.begin() as operator:
        operator.exec_driver_sql(IN_PSQL[what].replace(":batch", f"'{batch_id}'"))
        yield


JOURNAL = {"attempt changed", "report settled"}


def two(world: World, **options: Any) -> tuple[BatchId, BatchId]:
    """Two batches of three contacts each."""
    first, second = (world.batch(made_up_phones(3, first=n * 3), **options) for n in range(2))
    return first, second


def attempts_of(world: World, batch_id: BatchId) -> list[AttemptId]:
    return [row.id for row in world.rows("SELECT id FROM attempts WHERE batch_id = :id ORDER BY id", id=batch_id)]


@locked
def test_reports_about_what_is_locked_are_put_off_and_all_others_are_settled(world: World, what: str) -> None:
    stuck, free = two(world)
    dispatch_and_place(world, stuck, free)
    with held(world, what, stuck):
        ends = [call_event(of, "ended", world.clock.now, "busy") for of in live_attempts(world)]
        settled = receive_and_settle(world, *ends)
        assert (settled.ended, settled.freed) == (3, (free,))
        assert world.progress(free).failed == 3
        assert settle(world.context, world.clock.now).reports == 0, "they are not tried again at once"
    assert len(live_attempts(world)) == 3
    assert {row.tries for row in world.rows("SELECT tries FROM inbox")} == {0}
    advance_clock(world, 2)
    assert settle(world.context, world.clock.now).ended == 3
    assert world.progress(stuck).failed == 3
    assert_audit_is_clean(world)


@locked
def test_what_is_locked_is_waited_for_once_and_not_once_for_each_half_of_the_page(world: World, what: str) -> None:
    stuck, free = two(world)
    dispatch_and_place(world, stuck, free)
    with held(world, what, stuck), capture_logs() as logged:
        assert (
            receive_and_settle(
                world, *(call_event(of, "ended", world.clock.now, "busy") for of in live_attempts(world))
            ).ended
            == 3
        )
        assert close(world.context, dict.fromkeys(live_attempts(world), GONE), world.clock.now).ended == 0
    passed_over = [entry["event"] for entry in logged if entry["event"] not in JOURNAL]
    assert passed_over == ["locked rows are passed over"] * 2


@pytest.mark.parametrize("write", [
    attempts.lock,
    lambda connection, ids: attempts.mark_placed(connection, [PlacedCall(attempt_id, "one") for attempt_id in ids]),
    lambda connection, ids: attempts.mark_unclear(
        connection, [UnclearCall(attempt_id, "x") for attempt_id in ids], rescue_at=MONDAY
    ),
    lambda connection, ids: permits.permit(connection, ids),
], ids=["lock", "mark_placed", "mark_unclear", "permit"])  # fmt: skip
def test_attempts_are_locked_in_the_order_of_their_ids(world: World, write: Callable[..., object]) -> None:
    """Two who lock the same attempts wait for each other, and never in a circle."""
    dispatch(world.context, [world.batch(3)], world.clock.now, world.rng)
    first, *others = live_attempts(world)

    def go_on() -> None:
        with world.db.begin() as connection:
            write(connection, [*reversed(others), first])

    with ThreadPoolExecutor(1) as pool, world.db.begin() as other:
        rows(other, "SELECT 1 FROM attempts WHERE id = :id FOR UPDATE", id=first)
        writing = pool.submit(go_on)
        wait_until(lambda: lock_waiters(world) == 1 or writing.done())
        free = rows(other, "SELECT id FROM attempts WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED", ids=others)
        assert len(free) == 2
        other.commit()
        with suppress(Contended):
            writing.result(DEADLINE_SECONDS)


@pytest.mark.parametrize("what", ["its batch", "the counts of its batch", "its contact"])
def test_reports_that_end_no_call_are_settled_also_where_the_batch_is_locked(world: World, what: str) -> None:
    stuck, _ = two(world)
    dispatch_and_place(world, stuck)
    with held(world, what, stuck):
        receive_and_settle(world, *(call_event(of, "ringing", world.clock.now) for of in live_attempts(world)))
        assert world.value("SELECT count(*) FROM attempts WHERE state = 'ringing'") == 3


@pytest.mark.parametrize("what", ["its batch", "the counts of its batch"])
def test_a_batch_that_is_locked_keeps_no_other_from_being_called_and_goes_on_when_it_is_released(
    world: World, what: str
) -> None:
    stuck, free = two(world)
    with held(world, what, stuck):
        assert dispatch_and_place(world, stuck, free).placed == 3
        assert attempts_of(world, stuck) == []
    assert dispatch_and_place(world, stuck).placed == 3
    assert_audit_is_clean(world)


def test_a_contact_that_cannot_be_skipped_keeps_only_its_own_batch_from_being_called(world: World) -> None:
    expiring = world.batch(3, expires_at=world.clock.now.add(minutes=1).isoformat())
    free = world.batch(made_up_phones(3, first=3))
    advance_clock(world, 60)
    with held(world, "its contact", expiring):
        assert dispatch_and_place(world, expiring, free).placed == 3
        world.change_pages()
    advance_clock(world, 5)
    world.change_pages()
    assert world.progress(expiring).skipped == 3


@pytest.mark.parametrize("table", ["phone_numbers", "trunks"])
def test_someone_who_deletes_a_number_or_a_trunk_keeps_only_those_from_calling_who_use_it(
    world: World, table: str
) -> None:
    number, other, _ = world.installed.number_ids
    stuck, free = (
        world.batch(made_up_phones(3, first=3 * n), phone_number_ids=[str(of)]) for n, of in enumerate((number, other))
    )
    world.sql(
        """
        WITH added AS (INSERT INTO trunks (id, workspace_id, name, provider)
                       SELECT gen_random_uuid(), workspace_id, 'second', 'simulator' FROM trunks RETURNING id)
        UPDATE phone_numbers SET trunk_id = added.id FROM added WHERE phone_numbers.id = :number
        """,
        number=number,
    )
    with world.db.begin() as operator:
        where = "id = :number" if table == "phone_numbers" else "name = 'second'"
        rows(operator, f"SELECT 1 FROM {table} WHERE {where} FOR UPDATE", **{"number": number} if ":" in where else {})
        with capture_logs() as logged:
            assert dispatch_and_place(world, stuck, free).placed == 3
        assert {entry["event"] for entry in logged} <= JOURNAL, "nobody was waited for"
        assert attempts_of(world, stuck) == []
    assert dispatch_and_place(world, stuck).placed == 3


@pytest.mark.parametrize("what", ["its batch", "the counts of its batch"])
def test_retries_of_a_batch_that_is_locked_do_not_keep_those_of_others(world: World, what: str) -> None:
    stuck, free = two(world, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, stuck, free)
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id, "busy")
    advance_clock(world, 600)
    with held(world, what, stuck):
        requeued = retry(world.context, world.clock.now)
        assert (requeued.requeued, requeued.batches) == (3, (free,))
        assert retry(world.context, world.clock.now).batches == ()
        with world.db.begin() as connection:
            assert contacts.batches_to_requeue(connection, world.clock.now, 1, [free]) == [stuck]
    assert retry(world.context, world.clock.now).batches == (stuck,)


def test_a_retry_of_many_contacts_of_a_locked_batch_leaves_room_for_others_in_its_page(world: World) -> None:
    stuck, free = two(world, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, stuck)
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id, "busy")
    advance_clock(world, 60)
    dispatch_and_place(world, free)
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id, "busy")
    advance_clock(world, 600)
    with held(world, "its batch", stuck):
        assert retry(world.context, world.clock.now, page=3).batches == (free,)


def test_a_scheduled_batch_that_is_locked_does_not_keep_the_tick_from_anything(world: World) -> None:
    at = world.clock.now.add(minutes=5).isoformat()
    stuck, free = two(world, schedule_type="scheduled", scheduled_at=at)
    due = world.batch(made_up_phones(1, first=9))
    advance_clock(world, 300)
    with held(world, "the counts of its batch", stuck):
        ticked = tick(world.context, world.clock.now)
        assert ticked.started == 1
        assert {due, free} <= set(ticked.due)
    assert tick(world.context, world.clock.now).started == 1


@locked
def test_rescue_passes_over_what_is_locked_and_ends_the_other_calls(world: World, what: str) -> None:
    world.profile["faults"] = {"lost": 1}
    stuck, free = two(world)
    dispatch_and_place(world, stuck, free)
    advance_clock(world, 1000)
    with held(world, what, stuck):
        assert rescue(world.context, world.clock.now, world.rng).closed == 3
        assert live_attempts(world) == attempts_of(world, stuck)
    advance_clock(world, 30)
    assert rescue(world.context, world.clock.now, world.rng).closed == 3
    assert_audit_is_clean(world)


@locked
def test_placements_that_were_refused_are_closed_except_where_something_is_locked(world: World, what: str) -> None:
    stuck, free = two(world)
    dispatch_and_place(world, stuck, free)
    world.sql("UPDATE attempts SET state = 'reserved'")
    with held(world, what, stuck):
        ends = dict.fromkeys(live_attempts(world), AttemptEnd("switch_congestion"))
        assert close(world.context, ends, world.clock.now).ended == 3
        assert live_attempts(world) == attempts_of(world, stuck)
    assert close(world.context, ends, world.clock.now).ended == 3
    assert_audit_is_clean(world)


def test_the_archive_passes_over_what_is_locked(world: World) -> None:
    stuck, free = two(world)
    world.run(lambda: world.is_over(stuck, free), grain=60)
    for what in ("the counts of its batch", "its attempt"):
        with held(world, what, stuck), world.db.begin() as connection:
            archive.mark_batches(connection, world.clock.now.add(days=1), world.clock.now)
            archive.move_attempts(connection, 100)
        with world.db.begin() as connection:
            archive.mark_batches(connection, world.clock.now.add(days=1), world.clock.now)
    assert attempts_of(world, stuck) != []
    assert attempts_of(world, free) == []
    with world.db.begin() as connection:
        archive.move_attempts(connection, 100)
    assert attempts_of(world, stuck) == []


def test_reports_are_put_off_only_where_nobody_else_has_them(world: World) -> None:
    dispatch_and_place(world, world.batch(1))
    receive_and_settle(world, call_event(live_attempts(world)[0], "ringing", world.clock.now))
    with world.db.begin() as other, world.db.begin() as connection:
        rows(other, "SELECT 1 FROM inbox FOR UPDATE")
        assert inbox.put_off(connection, [1]) == 0


def test_an_edit_of_a_trunk_that_is_left_open_locks_no_batch_of_another_workspace(world: World) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batch_progress SET held_by = 'trunk'")
    world.sql("INSERT INTO workspaces (id, name) VALUES (gen_random_uuid(), 'other')")
    world.sql(
        """
        INSERT INTO trunks (id, workspace_id, name, provider)
        SELECT gen_random_uuid(), id, 'theirs', 'simulator' FROM workspaces WHERE name = 'other'
        """
    )
    free = "SELECT count(*) FROM (SELECT 1 FROM batch_progress FOR UPDATE SKIP LOCKED) AS s"
    for trunk, count in (("theirs", 1), ("simulator", 0)):
        with world.db.begin() as operator:
            run(operator, "UPDATE trunks SET max_concurrent_calls = 5 WHERE name = :name", name=trunk)
            assert world.value(free) == count
    assert next_dispatch(world, batch_id)[0] == world.clock.now


def test_rescue_does_the_rest_while_a_claim_keeps_it_from_rebuilding_redis(world: World, servers: Servers) -> None:
    dispatch_and_place(world, world.batch(3))
    advance_clock(world, 1000)
    db = Database(servers.database_url, timeouts=Timeouts(0.3, 10), virtual_now=world.clock)
    world.flush_redis()
    with world.db.begin() as stopped:
        lease_epoch.share(stopped)
        report_of_rescue = rescue(replace(world.context, db=db), world.clock.now, world.rng)
        assert (report_of_rescue.rebuilt, report_of_rescue.closed) == (False, 3)
    assert rescue(replace(world.context, db=db), world.clock.now, world.rng).rebuilt
    db.close()


def test_a_session_has_the_timeouts_of_its_process_and_notices_a_lost_network(servers: Servers, db: Database) -> None:
    database = Database(servers.database_url, timeouts=Timeouts(5, 10))
    with database.begin() as connection:
        setting_rows = rows(connection, "SELECT name, setting FROM pg_settings WHERE name ~ 'timeout$|keepalives'")
        settings = {row.name: row.setting for row in setting_rows}
    database.close()
    expected = {"lock_timeout": "5000", "idle_in_transaction_session_timeout": "10000", "tcp_user_timeout": "30000"}
    expected |= {f"tcp_keepalives_{name}": value for name, value in (("idle", "10"), ("interval", "5"), ("count", "4"))}
    assert settings.items() >= expected.items()
    assert settings["statement_timeout"] == "0"


def test_the_server_ends_the_transaction_of_a_process_that_stands_still_and_the_next_one_works(
    world: World, servers: Servers
) -> None:
    batch_id = world.batch(1)
    stopped = Database(servers.database_url, timeouts=Timeouts(5, 0.2))

    def is_free() -> bool:
        lockable = world.rows("SELECT 1 FROM batches WHERE id = :id FOR UPDATE SKIP LOCKED", id=batch_id)
        return bool(lockable)

    def stand_still() -> None:
        with stopped.begin() as connection:
            run(connection, "UPDATE batches SET name = 'x' WHERE id = :id", id=batch_id)
            assert not is_free()
            wait_until(is_free)
            rows(connection, "SELECT 1")

    with pytest.raises(Unavailable, match="idle-in-transaction timeout"):
        stand_still()
    with stopped.begin() as connection:
        assert rows(connection, "SELECT 1")
    stopped.close()


def test_a_statement_that_waits_for_a_lock_is_broken_off_and_says_so(world: World, servers: Servers) -> None:
    batch_id = world.batch(1)
    impatient = Database(servers.database_url, timeouts=Timeouts(0.1, 10))
    with held(world, "its batch", batch_id), pytest.raises(Contended), impatient.begin() as connection:
        run(connection, "UPDATE batches SET name = 'x' WHERE id = :id", id=batch_id)
    impatient.close()


def test_a_read_that_takes_long_is_broken_off_and_writes_are_not(db: Database) -> None:
    def read(statements: int) -> None:
        with db.hurried(0.3, time.monotonic).begin() as connection:
            for _ in range(statements):
                rows(connection, "SELECT pg_sleep(5.0 / :n)", n=statements)

    for statements in (1, 100):
        with pytest.raises(Unavailable, match="statement timeout"):
            read(statements)
    with db.begin() as connection:
        rows(connection, "SELECT pg_sleep(0.2)")


def test_a_batch_that_is_locked_is_explained_with_who_has_locked_it(world: World) -> None:
    stuck, _ = two(world, name="spring sale")
    with held(world, "its batch", stuck):
        with world.db.begin() as connection:
            assert locks.sentences(connection) == [], "it may be over in a moment"
            (holder,) = locks.holders(connection, held_seconds=0)
        assert holder.sentence.startswith("Batch spring sale is locked by a transaction of session ")
        assert "(dialer, user dialer), open since 20" in holder.sentence
        assert f"UPDATE batches SET name = 'edited' WHERE id = '{stuck}'" in holder.sentence
        assert "pg_terminate_backend(" in holder.sentence
    with held(world, "its contact", stuck), world.db.begin() as connection:
        (holder,) = locks.holders(connection, held_seconds=0)
        assert holder.sentence.startswith("Rows of contacts are locked by a transaction")
    with world.db.begin() as connection:
        assert locks.holders(connection, held_seconds=0) == []


def test_a_session_that_only_reads_is_not_told_of(world: World) -> None:
    world.batch(1)
    with world.db.begin() as reader, world.db.begin() as connection:
        rows(reader, "SELECT 1 FROM batches JOIN batch_progress ON batch_id = id")
        assert locks.holders(connection, held_seconds=0) == []


def test_a_step_that_waits_for_someone_is_not_told_of_as_the_one_who_keeps_rows_locked(world: World) -> None:
    stuck, _ = two(world, name="spring sale")
    with ThreadPoolExecutor(1) as pool, held(world, "its batch", stuck), world.db.begin() as connection:
        pool.submit(world.sql, "UPDATE batches SET name = 'mine'")
        wait_until(lambda: lock_waiters(world) == 1)
        (holder,) = locks.holders(connection, held_seconds=0)
    assert holder.sentence.startswith("Batch spring sale is locked")


def test_a_session_that_keeps_rows_locked_is_logged_once(world: World) -> None:
    stuck, _ = two(world)
    with held(world, "its batch", stuck), capture_logs() as logged:
        for _ in range(2):
            tell_of_locks(world.context, held_seconds=0)
    assert [entry["event"] for entry in logged] == ["rows are locked by a session that does not end its transaction"]


def test_several_dispatches_and_settles_at_once_with_a_batch_that_is_locked_lose_nothing(world: World) -> None:
    stuck, free = two(world)
    with held(world, "its batch", stuck):
        for _ in range(3):
            run_concurrently(
                *[partial(dispatch_and_place, world, stuck, free)] * 2,
                *[partial(settle, world.context, world.clock.now)] * 2,
            )
        assert len(live_attempts(world)) == 3
    world.run(lambda: world.is_over(stuck, free), grain=5)
    assert_audit_is_clean(world)
