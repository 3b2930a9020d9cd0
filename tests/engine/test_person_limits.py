"""Limits of a person: how many attempts within how many hours, over all batches of a workspace."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialer.domain.ids import BatchId
from dialer.engine.dispatch import dispatch
from dialer.engine.place import place
from dialer.engine.retry import retry
from dialer.service import workspaces
from dialer.service.demo_setup import WORKSPACE
from support.engine_steps import advance_clock, assert_audit_is_clean, dispatch_and_place, end_call, live_attempts
from support.recorded_statements import recorded_statements
from support.world import MONDAY, World

PHONE = "+12015550000"
STATUS = "SELECT status, waits_for, due_at FROM contacts WHERE batch_id = :id"
Limit = tuple[int, int]


def as_limits(*limits: Limit) -> list[dict[str, int]]:
    return [{"attempts": attempts, "hours": hours} for attempts, hours in limits]


def limit_workspace(world: World, *limits: Limit) -> None:
    workspaces.limit(world.db, WORKSPACE, None, None, [f"{n}/{hours}" for n, hours in limits] or ["none"])


def call_and_end(world: World, batch_id: BatchId) -> None:
    assert dispatch_and_place(world, batch_id).placed == 1
    end_call(world, live_attempts(world)[0])


def minutes_called(world: World) -> list[float]:
    return [(call.placed_at - MONDAY).total_seconds() / 60 for call in world.network.log]


@pytest.mark.parametrize("by", ["batch", "workspace"])
def test_who_has_had_enough_calls_waits_until_the_moment_at_which_the_limit_allows_one(world: World, by: str) -> None:
    first = world.batch([PHONE])
    second = world.batch([PHONE], person_limits=as_limits((1, 2)) if by == "batch" else [])
    if by == "workspace":
        limit_workspace(world, (1, 2))
    call_and_end(world, first)
    advance_clock(world, 60)
    assert dispatch_and_place(world, second).claimed == 0
    assert world.rows(STATUS, id=second) == [("waiting", "person_limit", MONDAY.add(hours=2))]
    world.run(lambda: world.is_over(second), grain=1)
    assert minutes_called(world) == [0, 120]
    assert_audit_is_clean(world)


def test_calls_from_before_a_limit_was_set_count_and_the_latest_free_moment_of_all_limits_counts(world: World) -> None:
    for minutes in (0, 10, 20):
        world.clock.now = MONDAY.add(minutes=minutes)
        call_and_end(world, world.batch([PHONE]))
    # Of 3 in 2 h the first call must be over, of 2 in 3 h the second one, which is later.
    limit_workspace(world, (3, 2))
    last = world.batch([PHONE], person_limits=as_limits((2, 3), (9, 720)))
    dispatch_and_place(world, last)
    assert world.rows(STATUS, id=last) == [("waiting", "person_limit", MONDAY.add(hours=3, minutes=10))]


@pytest.mark.parametrize("by", ["batch", "workspace"])
def test_a_limit_that_is_removed_lets_those_who_wait_be_called(world: World, by: str) -> None:
    if by == "workspace":
        limit_workspace(world, (1, 720))
    call_and_end(world, world.batch([PHONE]))
    second = world.batch([PHONE], person_limits=as_limits((1, 720)) if by == "batch" else [])
    dispatch_and_place(world, second)
    if by == "workspace":
        limit_workspace(world)
    else:
        world.sql("UPDATE batches SET person_limits = '[]'")
    assert retry(world.context, world.clock.now).batches == (second,)
    assert dispatch_and_place(world, second).placed == 1


def test_calls_of_another_workspace_and_refused_ones_do_not_count(world: World) -> None:
    stranger, refused = world.batch([PHONE]), world.batch([PHONE])
    call_and_end(world, stranger)
    world.sql("INSERT INTO workspaces (id, name) VALUES (:id, 'other')", id=UUID(int=2))
    world.sql("UPDATE attempts SET workspace_id = :other", other=UUID(int=2))
    dispatch_and_place(world, refused)
    world.sql("UPDATE attempts SET state = 'refused', ended_at = created_at, rescue_at = NULL WHERE state = 'placed'")
    assert dispatch_and_place(world, world.batch([PHONE], person_limits=as_limits((1, 1)))).placed == 1


def test_a_call_that_began_and_ended_while_a_contact_was_claimed_counts_when_it_would_leave(world: World) -> None:
    """The claim has not seen it, because its snapshot is older; the permit does."""
    first = world.batch([PHONE])
    second = world.batch([PHONE], person_limits=as_limits((1, 1)))
    call_and_end(world, first)
    unseen = "UPDATE attempts SET workspace_id = :id"
    world.sql(unseen, id=None)
    (departure,) = dispatch(world.context, [second], world.clock.now, world.rng).departures
    world.sql(f"{unseen} WHERE workspace_id IS NULL", id=world.installed.workspace_id)
    assert place(world.context, departure, world.clock.now).refused == 1
    assert world.rows("SELECT cause FROM attempts WHERE state = 'refused'") == [("person_limit",)]
    retry(world.context, world.clock.now)
    assert dispatch_and_place(world, second).claimed == 0
    assert world.rows(STATUS, id=second) == [("waiting", "person_limit", MONDAY.add(hours=1))]
    assert len(world.network.log) == 1
    assert_audit_is_clean(world)


def test_without_limits_a_claim_reads_no_earlier_call(world: World) -> None:
    batch_id = world.batch(20, max_concurrent_calls=20)
    (claim,) = [
        one for one in recorded_statements(world.db, lambda: world.dispatch([batch_id])) if "free_at" in one.sql
    ]
    with world.db.begin() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF) {claim.sql}", dict(claim.values)).all()
    reads = [line for (line,) in plan if "attempts_of_person" in line]
    assert reads
    assert all("never executed" in line for line in reads)


LIMITS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), max_size=2, unique=True)


@pytest.fixture
def busy(make_world: Callable[..., World]) -> World:
    return make_world(outcomes={"busy": 1})


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(of_workspace=LIMITS, of_batches=st.lists(LIMITS, min_size=1, max_size=3))
def test_no_person_ever_gets_more_calls_than_the_limits_and_everyone_gets_all_of_them(
    busy: World, of_workspace: list[Limit], of_batches: list[list[Limit]]
) -> None:
    limit_workspace(busy, *of_workspace)
    phones = busy._new_phones(2)
    options: dict[str, Any] = {"retry_failed": True, "max_retry_attempts": 2, "retry_delays": {"busy": 20}}
    by_batch = {busy.batch(phones, person_limits=as_limits(*limits), **options): limits for limits in of_batches}
    busy.run(lambda: busy.is_over(*by_batch), grain=5)
    history: dict[str, list[datetime]] = {phone: [] for phone in phones}
    calls = busy.rows(
        "SELECT batch_id, to_number, created_at FROM attempts WHERE to_number = ANY(:phones) ORDER BY created_at",
        phones=phones,
    )
    for call in calls:
        for attempts, hours in [*of_workspace, *by_batch[call.batch_id]]:
            since = call.created_at - timedelta(hours=hours)
            assert sum(at > since for at in history[call.to_number]) < attempts
        history[call.to_number].append(call.created_at)
    assert [len(moments) for moments in history.values()] == [3 * len(by_batch)] * 2
    assert_audit_is_clean(busy)
