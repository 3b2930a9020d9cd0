"""What operators do in SQL while the engine works: it stops at once, and keeps the new limits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from dialer.domain.call import CallEvent
from dialer.engine.audit import audit
from dialer.engine.dispatch import SKIP_LIMIT, dispatch
from dialer.engine.events import receive
from dialer.engine.place import place
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.store.database import rows, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import (
    advance_clock,
    call_event,
    dispatch_and_place,
    held_leases,
    intercept_leases,
    lock_waiters,
    next_dispatch,
    receive_and_settle,
    run_concurrently,
)
from support.world import MONDAY, World, made_up_phones


def test_an_operators_statement_over_several_batches_is_never_the_one_to_give_way(world: World) -> None:
    first, second = sorted(world.batch(made_up_phones(10, first=n * 10)) for n in range(2))
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        run(operator, "UPDATE batches SET status = 'paused' WHERE id = :id", id=second)
        dispatching = pool.submit(dispatch_and_place, world, first, second)
        wait_until(lambda: lock_waiters(world) == 1)
        # The dispatch holds the first and waits for the second; now each would wait for the other.
        run(operator, "UPDATE batches SET status = 'paused' WHERE id = :id", id=first)
        assert dispatching.result().claimed == 0
    assert {world.progress(batch_id).status for batch_id in (first, second)} == {"paused"}
    assert held_leases(world) == {}


PLACED = "rescue_at IS NOT NULL AND state <> 'reserved'"


def test_no_attempt_is_written_after_a_pause_of_all_batches_has_committed(world: World) -> None:
    # So many calls that a slow machine has some left for the last round.
    options: dict[str, Any] = {"retry_failed": True, "max_retry_attempts": 3, "retry_delays": {"busy": 0}}
    batch_ids = [
        world.batch(made_up_phones(1000, first=n * 1000), max_concurrent_calls=100, **options) for n in range(3)
    ]
    stop = Event()
    ended: list[CallEvent] = []

    def keep_calling() -> None:
        while not stop.is_set():
            retry(world.context, world.clock.now)
            leaving = list(dispatch(world.context, batch_ids, world.clock.now, world.rng).departures)
            while leaving:
                leaving += place(world.context, leaving.pop(), world.clock.now).later

    def keep_ending() -> None:
        while not stop.is_set():
            live = world.rows(f"SELECT id FROM attempts WHERE {PLACED} ORDER BY random() LIMIT 5")
            events = [call_event(row.id, "ended", world.clock.now, "busy") for row in live]
            receive_and_settle(world, *events)
            ended.extend(events)

    def in_progress() -> int:
        return int(world.value(f"SELECT count(*) FROM attempts WHERE {PLACED}"))

    def written() -> int:
        return int(world.value("SELECT count(*) FROM attempts"))

    def pause_and_resume() -> int:
        too_late = 0
        try:
            wait_until(partial(has_more_than, 200, written))
            for _ in range(20):
                world.sql("UPDATE batches SET status = 'paused' WHERE status = 'active'")
                before, over = written(), len(ended)
                # Calls end and slots are free, yet nothing is written.
                wait_until(lambda over=over: len(ended) > over + 5 or in_progress() == 0)  # type: ignore[misc]
                too_late += written() - before
                world.sql("UPDATE batches SET status = 'active' WHERE status = 'paused'")
                wait_until(partial(has_more_than, before, written))
        finally:
            stop.set()
        return too_late

    *_, too_late = run_concurrently(keep_calling, keep_calling, keep_calling, keep_ending, pause_and_resume)
    assert too_late == 0
    assert written() > 300
    assert audit(world.db, world.clock.now).is_clean


def has_more_than(number: int, count: Callable[[], int]) -> bool:
    return count() > number


def test_contacts_whose_zones_are_never_open_together_are_skipped_with_the_reason(world: World) -> None:
    # A number that is at home in all of North America, and a window of half an hour.
    batch_id = world.batch(
        ["+18005550100", "+12015550100"],
        timezone="America/New_York",
        respect_contact_timezone=True,
        start_time="09:00",
        end_time="09:30",
    )
    world.run(lambda: world.is_over(batch_id), grain=5)
    reasons = dict(tuple(row) for row in world.rows("SELECT phone_number, status_reason FROM contacts"))
    assert reasons["+18005550100"] == "window_never_opens"
    assert world.progress(batch_id).skipped == 1


def test_very_many_contacts_whose_zones_are_never_open_together_are_skipped_a_part_with_each_dispatch(
    world: World,
) -> None:
    batch_id = world.batch(
        ["+18005550100", *made_up_phones(SKIP_LIMIT)],
        timezone="America/New_York",
        respect_contact_timezone=True,
        start_time="09:00",
        end_time="09:30",
    )
    dead = "(SELECT lane FROM contacts WHERE phone_number = '+18005550100')"
    world.sql(f"UPDATE contacts SET lane = {dead}")
    report = world.dispatch([batch_id])
    assert (world.progress(batch_id).skipped, report.again) == (SKIP_LIMIT, (batch_id,))
    world.dispatch(report.again)
    assert (world.progress(batch_id).skipped, world.progress(batch_id).status) == (SKIP_LIMIT + 1, "completed")


def test_contacts_that_stick_to_a_full_number_do_not_hold_up_the_others(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"no_answer": 1})
    batch_id = world.batch(
        40, max_concurrent_calls=5, retry_failed=True, max_retry_attempts=1, sticky_caller_id=True,
        phone_rotation_strategy="round_robin",
    )  # fmt: skip
    world.run(lambda: world.progress(batch_id).waiting == 40, grain=5)
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = 1 WHERE id = :id", id=world.installed.number_ids[0])
    world.clock.now = world.clock.now.add(hours=2)
    world.step()
    assert world.progress(batch_id).dialing == 5
    used = world.rows("SELECT count(*) AS n FROM attempts WHERE rescue_at IS NOT NULL AND phone_number_id = :id",
                      id=world.installed.number_ids[0])  # fmt: skip
    assert used[0].n <= 1


def test_a_trunk_cannot_report_on_the_calls_of_another(world: World) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    (attempt,) = world.rows("SELECT id FROM attempts")
    world.sql(
        """
        INSERT INTO trunks (id, workspace_id, name, provider)
        SELECT gen_random_uuid(), workspace_id, 'other', 'simulator' FROM trunks
        """
    )
    other = world.value("SELECT id FROM trunks WHERE name = 'other'")
    receive(world.db, other, [call_event(attempt.id, "ended", world.clock.now, "answered")])
    settle(world.context, world.clock.now)
    assert world.value("SELECT verdict FROM inbox") == "unknown_attempt"
    assert world.progress(batch_id).dialing == 1
    assert audit(world.db, world.clock.now).is_clean
    receive_and_settle(world, call_event(attempt.id, "ended", world.clock.now, "answered"))
    assert world.progress(batch_id).completed == 1


@pytest.mark.parametrize("change", ["retry_failed = false", "max_retry_attempts = 0"])
def test_retries_that_were_taken_back_are_not_made(make_world: Callable[..., World], change: str) -> None:
    world = make_world(outcomes={"busy": 1})
    batch_id = world.batch(10, retry_failed=True, max_retry_attempts=3)
    world.run(lambda: world.progress(batch_id).waiting == 10)
    world.sql(f"UPDATE batches SET {change}")
    world.run(lambda: world.is_over(batch_id))
    assert len(world.network.log) == 10
    assert world.rows("SELECT DISTINCT status, status_reason, outcome FROM contacts") == [
        ("skipped", "retries_taken_back", "busy")
    ]
    assert audit(world.db, world.clock.now).is_clean


@pytest.mark.parametrize("table", ["phone_numbers", "trunks"])
def test_a_number_or_trunk_that_is_deactivated_while_slots_are_granted_is_not_used(world: World, table: str) -> None:
    batch_id = world.batch(2)
    deactivating = intercept_leases(world, after=lambda: world.sql(f"UPDATE {table} SET status = 'inactive'"))
    assert dispatch(deactivating, [batch_id], world.clock.now, world.rng).claimed == 0
    deactivating.leases.close()
    assert held_leases(world) == {}


def test_a_batch_or_contact_cannot_be_deleted_while_it_is_being_called(world: World) -> None:
    batch_id = world.batch(2, max_concurrent_calls=1)
    dispatch_and_place(world, batch_id)
    with pytest.raises(IntegrityError, match="is being called"):
        world.sql("DELETE FROM contacts")
    with pytest.raises(IntegrityError, match="has calls in progress"):
        world.sql("DELETE FROM batches")
    assert world.sql("DELETE FROM contacts WHERE status = 'pending'") == 1
    world.run(lambda: world.is_over(batch_id))
    assert (world.sql("DELETE FROM contacts"), world.sql("DELETE FROM batches")) == (1, 1)


def test_a_contact_s_hours_follow_its_time_zone_also_in_sql(world: World) -> None:
    batch_id = world.batch(
        ["+4930123456", "+4930123457"],
        timezone="Europe/Berlin",
        start_time="09:00",
        end_time="17:00",
        respect_contact_timezone=True,
    )
    world.sql("UPDATE contacts SET timezone = 'Asia/Tokyo' WHERE phone_number = '+4930123456'")
    # 09:00 in Berlin and 17:00 in Tokyo: its window has just closed.
    world.run(lambda: world.progress(batch_id).held_by == "contact_timezone")
    assert world.rows("SELECT phone_number FROM contacts WHERE status <> 'pending'") == [("+4930123457",)]
    world.sql("UPDATE contacts SET timezone = 'Europe/Paris' WHERE phone_number = '+4930123456'")
    world.step()
    assert world.progress(batch_id).pending == 0


@pytest.mark.parametrize(
    ("change", "calls"),
    [
        ("UPDATE contacts SET status = 'pending'", 4),
        ("UPDATE contacts SET status = 'failed', finished_at = dialer_now()", 2),
        ("DELETE FROM contacts", 2),
    ],
)
def test_a_batch_goes_on_when_its_waiting_contacts_are_changed_in_sql(
    make_world: Callable[..., World], change: str, calls: int
) -> None:
    world = make_world(outcomes={"busy": 1})
    batch_id = world.batch(2, retry_failed=True, max_retry_attempts=1, retry_delays={"busy": 600})
    world.run(lambda: world.progress(batch_id).waiting == 2)
    world.step()
    world.sql(f"{change} WHERE status = 'waiting'")
    world.run(MONDAY.add(minutes=5))
    assert (world.is_over(batch_id), len(world.network.log)) == (True, calls)


def test_a_daily_cap_that_a_number_is_given_during_the_day_counts_the_calls_before_it(world: World) -> None:
    batch_id = world.batch(60, max_concurrent_calls=5, phone_rotation_strategy="sequential")
    world.run(lambda: world.progress(batch_id).completed + world.progress(batch_id).failed >= 10)
    made = world.value("SELECT count(*) FROM attempts")
    world.sql("UPDATE phone_numbers SET max_calls_per_day = :n", n=made + 1)
    world.run(lambda: world.is_over(batch_id) or world.progress(batch_id).held_by == "number_day")
    by_number = world.rows("SELECT count(*) AS n FROM attempts GROUP BY phone_number_id")
    assert max(row.n for row in by_number) <= made + 1
    assert audit(world.db, world.clock.now).is_clean


def test_a_statement_over_several_batches_locks_their_counts_in_the_order_in_which_every_step_does(
    world: World,
) -> None:
    first, second = sorted(world.batch(made_up_phones(1, first=n)) for n in range(2))
    # The other way round in the tables, which is how Postgres finds them by itself.
    world.sql("UPDATE batch_progress SET held_by = 'slots' WHERE batch_id = :id", id=first)
    world.sql("UPDATE batches SET name = 'last' WHERE id = :id", id=first)
    with ThreadPoolExecutor(1) as pool, world.db.begin() as step:
        rows(step, "SELECT 1 FROM batch_progress WHERE batch_id = :id FOR NO KEY UPDATE", id=first)
        pausing = pool.submit(world.sql, "UPDATE batches SET status = 'paused'")
        wait_until(lambda: lock_waiters(world) == 1)
        assert rows(step, "SELECT 1 FROM batch_progress WHERE batch_id = :id FOR NO KEY UPDATE SKIP LOCKED", id=second)
        step.commit()
        assert pausing.result(DEADLINE_SECONDS) == 2


def test_a_batch_that_waits_for_room_on_its_numbers_goes_on_when_an_operator_gives_them_more(world: World) -> None:
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = 1")
    batch_id = world.batch(5)
    assert dispatch_and_place(world, batch_id).claimed == 3
    advance_clock(world, 1)
    at, held_by = next_dispatch(world, batch_id)
    assert (at > world.clock.now, held_by) == (True, "number")
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = 2")
    assert next_dispatch(world, batch_id)[0] == world.clock.now


@pytest.mark.parametrize("column", ["respect_contact_timezone", "sticky_caller_id"])
def test_what_the_lanes_of_contacts_are_made_of_is_set_before_there_are_contacts(world: World, column: str) -> None:
    empty = world.batch([], start=False)
    full = world.batch(1, start=False)
    assert world.sql(f"UPDATE batches SET {column} = true WHERE id = :id", id=empty) == 1
    with pytest.raises(IntegrityError, match="has contacts"):
        world.sql(f"UPDATE batches SET {column} = true WHERE id = :id", id=full)
