"""Tick: what is due is handed over, once, and nothing else costs anything."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

from dialer.engine.events import receive
from dialer.engine.tick import AGAIN_SECONDS, DUE_LIMIT, TickReport, tick
from dialer.store import progress
from support.deadline import DEADLINE_SECONDS
from support.engine_steps import (
    advance_clock,
    call_event,
    dispatch_and_place,
    end_call,
    live_attempts,
    run_concurrently,
)
from support.recorded_statements import recorded_statements
from support.world import World

SLEEPING = """
WITH made AS (
    INSERT INTO batches (id, workspace_id, name, agent_id, status)
    SELECT gen_random_uuid(), :workspace, 'asleep', :agent, 'active' FROM generate_series(1, :n) RETURNING id)
SELECT count(*) FROM made
"""


def add_batches(world: World, count: int) -> None:
    world.sql(SLEEPING, workspace=world.installed.workspace_id, agent=world.installed.agent_id, n=count)


def ticked(world: World) -> TickReport:
    return tick(world.context, world.clock.now)


def test_a_batch_is_due_when_it_is_started(world: World) -> None:
    batch_id = world.batch(1)
    assert ticked(world) == TickReport(0, (batch_id,), has_reports=False)
    assert ticked(world).due == ()


def test_batches_that_are_not_due_cost_no_statement_and_contacts_are_never_looked_at(world: World) -> None:
    world.batch(3)
    alone = recorded_statements(world.db, partial(ticked, world))
    add_batches(world, 500)
    advance_clock(world, AGAIN_SECONDS)
    among_many = recorded_statements(world.db, partial(ticked, world))
    assert [statement.sql for statement in among_many] == [statement.sql for statement in alone]
    assert not any("contacts" in statement.sql or "attempts" in statement.sql for statement in alone)


def test_several_ticks_at_once_hand_a_batch_over_once(world: World) -> None:
    batch_ids = [world.batch(1) for _ in range(20)]
    reports = run_concurrently(*[partial(ticked, world)] * 4)
    assert Counter(due for report in reports for due in report.due) == Counter(batch_ids)


def test_what_another_tick_is_just_handing_over_is_passed_over_and_not_waited_for(world: World) -> None:
    both = {world.batch(1), world.batch(1)}
    now = world.clock.now
    with ThreadPoolExecutor(1) as pool, world.db.begin() as other:
        # They are due at the same moment, so that either may come first.
        handed_over = set(progress.hand_over_due(other, now, now.add(seconds=AGAIN_SECONDS), 1))
        assert len(handed_over) == 1
        assert set(pool.submit(ticked, world).result(DEADLINE_SECONDS).due) == both - handed_over


def test_a_hand_over_that_was_lost_is_made_again_after_five_seconds(world: World) -> None:
    batch_id = world.batch(1)
    assert ticked(world).due == (batch_id,)
    advance_clock(world, AGAIN_SECONDS - 0.001)
    assert ticked(world).due == ()
    advance_clock(world, 0.001)
    assert ticked(world).due == (batch_id,)


def test_the_longest_due_come_first_and_a_flood_comes_in_pages(world: World) -> None:
    add_batches(world, DUE_LIMIT + 1)
    latest = world.batch(1)
    # Due since some second of the last hour, each since another one; the last one made is due last.
    world.sql(
        """
        UPDATE batch_progress p SET next_dispatch_at = CAST(:now AS timestamptz) - n * interval '1 second'
        FROM (SELECT batch_id, row_number() OVER (ORDER BY batch_id) AS n FROM batch_progress) AS o
        WHERE o.batch_id = p.batch_id AND p.batch_id <> :latest
        """,
        now=world.clock.now,
        latest=latest,
    )
    by_due = [row.batch_id for row in world.rows("SELECT batch_id FROM batch_progress ORDER BY next_dispatch_at")]
    first, second = ticked(world).due, ticked(world).due
    assert len(first) == DUE_LIMIT
    assert [*first, *second] == by_due


def test_a_scheduled_batch_starts_at_its_time_and_not_before(world: World) -> None:
    starts_at = world.clock.now.add(hours=3)
    batch_id = world.batch(1, schedule_type="scheduled", scheduled_at=starts_at.isoformat())
    advance_clock(world, 3 * 3600 - 1)
    assert ticked(world) == TickReport(0, (), has_reports=False)
    assert world.progress(batch_id).status == "scheduled"
    advance_clock(world, 1)
    assert ticked(world) == TickReport(1, (batch_id,), has_reports=False)
    assert world.progress(batch_id).status == "active"


def test_ticks_at_once_start_a_scheduled_batch_once(world: World) -> None:
    starts_at = world.clock.now.add(hours=1)
    batch_ids = [world.batch(1, schedule_type="scheduled", scheduled_at=starts_at.isoformat()) for _ in range(5)]
    world.clock.now = starts_at
    reports = run_concurrently(*[partial(ticked, world)] * 4)
    assert sum(report.started for report in reports) == 5
    handed_over = [*(due for report in reports for due in report.due), *ticked(world).due]
    assert Counter(handed_over) == Counter(batch_ids)
    assert world.value("SELECT count(*) FROM batch_history WHERE to_status = 'active'") == 5


def pause(world: World, batch_id: UUID) -> None:
    world.sql("UPDATE batches SET status = 'paused' WHERE id = :id", id=batch_id)


def test_a_paused_batch_is_never_due_whatever_happens_to_it(world: World) -> None:
    batch_id = world.batch(20, max_concurrent_calls=5, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, batch_id)
    pause(world, batch_id)
    for attempt_id, outcome in zip(
        live_attempts(world), ("busy", "answered", "failed", "no_answer", "machine"), strict=True
    ):
        assert end_call(world, attempt_id, outcome).ended == 1
    world.sql("UPDATE batches SET max_concurrent_calls = 9")
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = 9")
    world.add(batch_id, ["+12085550000"])
    for _ in range(3):
        advance_clock(world, 7200)
        world.step()
    assert world.value("SELECT next_dispatch_at FROM batch_progress") is None
    assert world.value("SELECT count(*) FROM attempts") == 5


def test_resuming_makes_a_batch_due_at_once(world: World) -> None:
    batch_id = world.batch(1)
    pause(world, batch_id)
    assert ticked(world).due == ()
    world.sql("UPDATE batches SET status = 'active' WHERE id = :id", id=batch_id)
    assert ticked(world).due == (batch_id,)


def test_it_says_whether_reports_wait_to_be_settled(world: World) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    (attempt_id,) = live_attempts(world)
    assert not ticked(world).has_reports
    receive(world.db, world.installed.trunk_id, [call_event(attempt_id, "ringing", world.clock.now)])
    assert ticked(world).has_reports
    end_call(world, attempt_id)
    assert not ticked(world).has_reports
