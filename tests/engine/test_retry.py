"""Retry: who waits becomes pending when the time has come, once, and nobody else does."""

from functools import partial
from typing import Any

import pytest

from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import DEFAULT_DELAY_MINUTES
from dialer.engine.audit import audit
from dialer.engine.retry import RetryReport, retry
from dialer.engine.tick import tick
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    dispatch_and_place,
    end_call,
    live_attempts,
    run_concurrently,
)
from support.world import MONDAY, World, made_up_phones

HOURS: dict[str, Any] = {"start_time": "08:00", "end_time": "09:00", "working_days": [1]}


def waiting(world: World, count: int, first: int = 0) -> BatchId:
    """A batch whose contacts were all busy just now: they wait for ten minutes."""
    batch_id = world.batch(
        made_up_phones(count, first=first), max_concurrent_calls=count, retry_failed=True, max_retry_attempts=1
    )
    dispatch_and_place(world, batch_id)
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id, "busy")
    dispatch_and_place(world, batch_id)
    assert (world.progress(batch_id).waiting, world.progress(batch_id).held_by) == (count, "retry")
    return batch_id


def retried(world: World) -> RetryReport:
    return retry(world.context, world.clock.now)


def test_only_those_whose_time_has_come_are_requeued_and_their_batch_wakes(world: World) -> None:
    early = waiting(world, 3)
    advance_clock(world, 60)
    late = waiting(world, 2, first=3)
    advance_clock(world, 539.999)
    assert retried(world) == RetryReport(0, ())
    advance_clock(world, 0.001)
    assert retried(world) == RetryReport(3, (early,))
    assert (world.progress(early).pending, world.progress(late).waiting) == (3, 2)
    assert tick(world.context, world.clock.now).due == (early,)
    assert retried(world) == RetryReport(0, ())


def test_several_at_once_requeue_each_contact_once(world: World) -> None:
    batch_ids = {waiting(world, 40, first=n * 40) for n in range(3)}
    advance_clock(world, 600)
    reports = run_concurrently(*[partial(retried, world)] * 4)
    assert sum(report.requeued for report in reports) == 120
    assert {batch_id for report in reports for batch_id in report.batches} == batch_ids
    assert audit(world.db, world.clock.now).is_clean


def test_contacts_of_a_paused_batch_are_not_called_before_it_is_resumed(world: World) -> None:
    batch_id = waiting(world, 2)
    world.sql("UPDATE batches SET status = 'paused'")
    advance_clock(world, 600)
    world.step()
    advance_clock(world, 600)
    world.step()
    assert len(world.network.log) == 2
    assert world.progress(batch_id).next_dispatch_at is None
    world.sql("UPDATE batches SET status = 'active'")
    world.step()
    assert len(world.network.log) == 4


def test_contacts_of_a_cancelled_batch_are_never_requeued(world: World) -> None:
    batch_id = waiting(world, 2)
    world.sql("UPDATE batches SET status = 'cancelled'")
    advance_clock(world, 600)
    assert retried(world) == RetryReport(0, ())
    world.change_pages()
    assert world.progress(batch_id).cancelled == 2


def test_a_retry_and_a_dispatch_at_once_never_put_the_batch_to_sleep(world: World) -> None:
    for n in range(10):
        batch_id = waiting(world, 5, first=n * 5)
        advance_clock(world, 600)
        run_concurrently(partial(retried, world), partial(dispatch_and_place, world, batch_id))
        progress = world.progress(batch_id)
        assert progress.pending == 0 or progress.next_dispatch_at == world.clock.now
        assert audit(world.db, world.clock.now).is_clean
        world.sql("UPDATE batches SET status = 'cancelled' WHERE status = 'active'")
        world.change_pages()


def after_hours(world: World, outcome: str = "busy", **options: Any) -> BatchId:
    """A batch whose only contact was called at the end of its window, and waits for the next opening in a week."""
    rules = {"retry_failed": True, "max_retry_attempts": 1}
    batch_id = world.batch(1, **HOURS | rules | options)
    dispatch_and_place(world, batch_id)
    world.clock.now = MONDAY.at(8, 55)
    end_call(world, live_attempts(world)[0], outcome)
    assert due_at(world) == MONDAY.add(weeks=1)
    return batch_id


def due_at(world: World) -> Any:
    return world.value("SELECT due_at FROM contacts WHERE status = 'waiting'")


@pytest.mark.parametrize(
    "edit", ["end_time = '17:00'", "end_time = NULL", "timezone = 'America/Noronha', start_time = '07:00'"]
)
def test_a_retry_that_was_put_off_to_the_next_opening_is_made_today_when_the_operator_opens_the_window(
    world: World, edit: str
) -> None:
    batch_id = after_hours(world)
    world.sql(f"UPDATE batches SET {edit}")
    assert due_at(world) == MONDAY.at(9, 5)
    world.clock.now = MONDAY.at(9, 5)
    assert retried(world) == RetryReport(1, (batch_id,))
    assert dispatch_and_place(world, batch_id).placed == 1
    assert_audit_is_clean(world)


@pytest.mark.parametrize(
    "edit", ["working_days = '{1,2}'", "working_days = '{1,2,3}', excluded_dates = '{2026-03-03}'"]
)
def test_a_retry_is_made_on_a_day_that_was_added(world: World, edit: str) -> None:
    batch_id = after_hours(world)
    world.sql(f"UPDATE batches SET {edit}")
    world.run(lambda: world.is_over(batch_id), grain=60)
    _, second = world.network.log
    assert second.placed_at == MONDAY.add(days=2 if "excluded" in edit else 1)
    assert_audit_is_clean(world)


def test_a_retry_in_a_window_that_was_closed_waits_for_it_and_is_made_then(world: World) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=1, working_days=[1, 2])
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0], "busy")
    assert due_at(world) == MONDAY.add(minutes=10)
    world.sql("UPDATE batches SET start_time = '07:00', end_time = '08:05'")
    advance_clock(world, 600)
    world.step()
    assert len(live_attempts(world)) == 0
    assert world.progress(batch_id).held_by == "window"
    world.clock.now = MONDAY.add(days=1).at(7)
    world.step()
    assert len(live_attempts(world)) == 1


@pytest.mark.parametrize(
    ("minutes", "due"), [(1, MONDAY.at(8, 56)), (30, MONDAY.at(9, 25)), (0.5, MONDAY.at(8, 55, 30))]
)
def test_a_changed_delay_counts_for_those_that_wait_from_the_end_of_their_call(
    world: World, minutes: float, due: Any
) -> None:
    after_hours(world)
    delays = f'{{"busy": {minutes}, "no_answer": 1}}'
    world.sql("UPDATE batches SET retry_delays = CAST(:delays AS jsonb)", delays=delays)
    assert due_at(world) == due


def test_a_changed_delay_counts_from_the_end_of_the_latest_call(world: World) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=2)
    for _ in range(2):
        advance_clock(world, 600)
        retry(world.context, world.clock.now)
        assert dispatch_and_place(world, batch_id).placed == 1
        end_call(world, live_attempts(world)[0], "busy")
    world.sql("UPDATE batches SET retry_delays = '{\"busy\": 7}'")
    assert due_at(world) == world.clock.now.add(minutes=7)


def test_an_edit_of_something_else_or_of_another_batch_leaves_due_times_alone(world: World) -> None:
    batch_id = after_hours(world)
    other = world.batch(made_up_phones(1, first=1), **HOURS)
    world.sql("UPDATE batches SET max_concurrent_calls = 3, name = 'x' WHERE id = :id", id=batch_id)
    world.sql("UPDATE batches SET end_time = '17:00' WHERE id = :id", id=other)
    assert due_at(world) == MONDAY.add(weeks=1)


def test_a_contact_that_waits_because_its_placement_was_refused_keeps_its_backoff(world: World) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=1, retry_delays={"busy": 1}, end_time="17:00")
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0], "busy")
    advance_clock(world, 60)
    retried(world)
    dispatch_and_place(world, batch_id)
    world.sql("UPDATE attempts SET state = 'reserved', rescue_at = dialer_now() WHERE rescue_at IS NOT NULL")
    world.network._state.calls.clear()
    advance_clock(world, 30)
    world.rescue()
    backoff = due_at(world)
    assert backoff == world.clock.now.add(seconds=15)
    world.sql("UPDATE batches SET retry_delays = '{}', end_time = '18:00'")
    assert due_at(world) == backoff


def test_retries_of_machines_that_were_taken_back_are_not_made(world: World) -> None:
    batch_id = after_hours(world, "machine", retry_machine=True)
    world.sql("UPDATE batches SET retry_machine = false, end_time = NULL")
    world.run(lambda: world.is_over(batch_id), grain=60)
    assert world.rows("SELECT status, status_reason FROM contacts") == [("skipped", "retries_taken_back")]
    assert len(world.network.log) == 1


def test_the_database_knows_the_same_delays_as_the_engine(world: World) -> None:
    for outcome in Outcome:
        minutes = world.value("SELECT extract(epoch FROM retry_delay('{}', :outcome)) / 60", outcome=outcome)
        assert minutes == DEFAULT_DELAY_MINUTES.get(outcome)
    assert world.value("""SELECT retry_delay('{"busy": 1.5}', 'busy')""").total_seconds() == 90
