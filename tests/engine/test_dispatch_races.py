"""Dispatch: between gather and claim anything may happen, and the ledger has the last word."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from dialer.errors import Unavailable
from dialer.store.database import Connection, Database, run
from support.deadline import DEADLINE_SECONDS
from support.engine_steps import (
    DispatchSummary,
    advance_clock,
    assert_audit_is_clean,
    day_allowance,
    dispatch_and_place,
    end_call,
    held_leases,
    intercept_leases,
    live_attempts,
    next_dispatch,
    run_concurrently,
    set_limit,
)
from support.world import MONDAY, World, made_up_phones


def attempts(world: World) -> int:
    return int(world.value("SELECT count(*) FROM attempts"))


def test_a_number_that_was_suppressed_a_moment_ago_is_not_called(world: World) -> None:
    batch_id = world.batch(3)
    first, *others = made_up_phones(3)
    suppress = partial(
        world.sql,
        "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)",
        workspace=world.installed.workspace_id,
        phone=first,
    )
    dispatch_and_place(world, batch_id, context=intercept_leases(world, after=suppress))
    assert [call.to_number for call in world.network.log] == others
    assert attempts(world) == 2
    skipped = world.rows("SELECT phone_number, status_reason FROM contacts WHERE status = 'skipped'")
    assert [tuple(row) for row in skipped] == [(first, "suppressed")]
    assert len(held_leases(world)["{dialer}:holds"]) == 2


def test_a_number_that_another_workspace_suppresses_is_called(world: World) -> None:
    batch_id = world.batch(1)
    other = UUID(int=2)
    world.sql("INSERT INTO workspaces (id, name) VALUES (:id, 'other')", id=other)
    suppress = "INSERT INTO suppressions (workspace_id, phone_number) SELECT :other, phone_number FROM contacts"
    assert world.sql(suppress, other=other) == 1
    assert dispatch_and_place(world, batch_id).placed == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batches SET status = 'paused'",
        "UPDATE batches SET status = 'cancelled'",
        "UPDATE batches SET max_concurrent_calls = 50",
        "UPDATE batches SET start_time = '09:00'",
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_that_is_stopped_or_edited_before_the_claim_gets_no_attempt(
    world: World, change: str, when: str
) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 100")
    batch_id = world.batch(5)
    assert (
        dispatch_and_place(
            world, batch_id, context=intercept_leases(world, **{when: partial(world.sql, change)})
        ).claimed
        == 0
    )
    assert attempts(world) == len(world.network.log) == 0
    assert held_leases(world) == {}
    assert day_allowance(world) == 0
    is_active = world.progress(batch_id).status == "active"
    assert world.progress(batch_id).next_dispatch_at == (world.clock.now if is_active else None)


def test_an_edit_undoes_the_decisions_of_a_plan_that_did_not_know_it(world: World) -> None:
    expiring = world.batch(2, expires_at=world.clock.now.add(hours=1).isoformat())
    closed = world.batch(2, working_days=[1])
    world.sql("UPDATE batches SET excluded_dates = :days WHERE id = :id", id=closed, days=mondays())
    calling = world.batch(1)
    advance_clock(world, 3600)
    extend = partial(world.sql, "UPDATE batches SET expires_at = expires_at + interval '1 hour', excluded_dates = '{}'")
    report = dispatch_and_place(world, expiring, closed, calling, context=intercept_leases(world, after=extend))
    assert report.claimed == 0
    assert {world.progress(batch_id).status for batch_id in (expiring, closed)} == {"active"}
    assert dispatch_and_place(world, expiring, closed).claimed == 4


def mondays() -> list[Any]:
    return [MONDAY.add(weeks=n).date() for n in range(60)]


def test_a_window_that_closes_before_the_claim_gives_no_attempt(world: World) -> None:
    batch_id = world.batch(3, start_time="08:00", end_time="09:00")
    world.clock.now = MONDAY.at(8, 59, 45)
    begun = world.clock.now
    parts = intercept_leases(world, after=partial(setattr, world.clock, "now", begun.add(seconds=5)))
    assert dispatch_and_place(world, batch_id, context=parts).claimed == 0
    assert attempts(world) == 0
    assert held_leases(world) == {}
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.add(days=1), "window")


def test_a_worker_whose_clock_is_ahead_does_not_open_the_window(world: World) -> None:
    batch_id = world.batch(3, start_time="09:00", end_time="17:00")
    world.clock.now = MONDAY.at(9)
    parts = intercept_leases(world, after=partial(setattr, world.clock, "now", MONDAY.at(8, 59, 58)))
    assert dispatch_and_place(world, batch_id, context=parts).claimed == 0
    assert attempts(world) == 0


def test_grants_that_grew_old_before_the_claim_are_void(world: World) -> None:
    batch_id = world.batch(3)
    parts = intercept_leases(world, after=partial(advance_clock, world, 20))
    assert dispatch_and_place(world, batch_id, context=parts).claimed == 0
    assert held_leases(world) == {}
    assert dispatch_and_place(world, batch_id).claimed == 3


def test_grants_from_before_their_number_was_given_a_daily_cap_are_void(world: World) -> None:
    batch_id = world.batch(3)
    cap = partial(world.sql, "UPDATE phone_numbers SET max_calls_per_day = 2")
    assert dispatch_and_place(world, batch_id, context=intercept_leases(world, after=cap)).claimed == 0
    assert (held_leases(world), day_allowance(world)) == ({}, 0)
    world.rescue()
    assert dispatch_and_place(world, batch_id).claimed == 3


def test_grants_of_an_old_epoch_are_void(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 4")
    batch_id = world.batch(4)

    def lose_and_rebuild() -> None:
        world.flush_redis()
        world.rescue()

    assert dispatch_and_place(world, batch_id, context=intercept_leases(world, after=lose_and_rebuild)).claimed == 0
    assert attempts(world) == 0
    assert held_leases(world) == {}
    assert dispatch_and_place(world, batch_id).claimed == 4


def test_leases_of_a_claim_of_which_it_is_not_known_whether_it_was_committed_are_kept(world: World) -> None:
    """Rescue compares them with the ledger; to free them might start more calls than the limits allow (P2)."""
    batch_id = world.batch(3)
    armed: list[bool] = []

    class Cut(Database):
        """A connection that breaks after the claim was committed, before that is answered."""

        def __init__(self) -> None:
            """It has the connections of the world."""

        @contextmanager
        def begin(self) -> Iterator[Connection]:
            with world.db.begin() as connection:
                yield connection
            if armed:
                raise Unavailable("the connection was lost")

    parts = replace(intercept_leases(world, after=lambda: armed.append(True)), db=Cut())
    with pytest.raises(Unavailable):
        dispatch_and_place(world, batch_id, context=parts)
    assert len(live_attempts(world)) == 3
    assert set(held_leases(world)["{dialer}:holds"]) == {str(attempt_id) for attempt_id in live_attempts(world)}


def test_without_a_memory_redis_grants_nothing_and_says_so(world: World) -> None:
    batch_id = world.batch(4)
    world.flush_redis()
    assert dispatch_and_place(world, batch_id) == DispatchSummary(leases_lost=True)
    assert next_dispatch(world, batch_id) == (world.clock.now.add(seconds=1), "leases")


def test_a_refund_of_the_day_between_gather_and_claim_does_not_put_the_batch_to_sleep(world: World) -> None:
    batch_id = world.batch(5, max_calls_per_day=2, max_concurrent_calls=5)
    calling = world.batch(made_up_phones(1, first=50))
    dispatch_and_place(world, batch_id)
    give_back = partial(world.sql, "UPDATE batch_days SET attempts = 1 WHERE batch_id = :id", id=batch_id)
    dispatch_and_place(world, batch_id, calling, context=intercept_leases(world, after=give_back))
    assert next_dispatch(world, batch_id)[0] == world.clock.now
    assert dispatch_and_place(world, batch_id).claimed == 1


def test_a_contact_that_comes_between_gather_and_claim_does_not_sleep_with_the_others_of_its_batch(
    world: World,
) -> None:
    # Eight in the morning, UTC: too early in America, open in Berlin.
    hours: dict[str, Any] = {"start_time": "08:00", "end_time": "17:00", "timezone": "Europe/Berlin"}
    batch_id = world.batch(["+12025550100"], respect_contact_timezone=True, **hours)
    calling = world.batch(made_up_phones(1, first=50))
    add = partial(world.add, batch_id, ["+4930901820"])
    report = dispatch_and_place(world, batch_id, calling, context=intercept_leases(world, after=add))
    assert batch_id in report.again
    assert dispatch_and_place(world, batch_id).claimed == 1
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.at(13), "contact_timezone")  # eight in Washington


def forget(world: World, kind: str = "*") -> None:
    """Let Redis lose sets that it had acknowledged, without noticing."""
    client: Any = world.leases._redis
    for key in list(client.scan_iter(f"{{dialer}}:{kind}:*")):
        client.delete(key)


def test_the_ledger_keeps_the_concurrency_of_a_batch_when_redis_forgets(world: World) -> None:
    batch_id = world.batch(40, max_concurrent_calls=6)
    dispatch_and_place(world, batch_id)
    for ended in range(4):
        forget(world, "slots")
        dispatch_and_place(world, batch_id)
        assert len(live_attempts(world)) == 6
        forget(world, "slots")
        end_call(world, live_attempts(world)[0])
        dispatch_and_place(world, batch_id)
        assert (len(live_attempts(world)), attempts(world)) == (6, 7 + ended)
    assert_audit_is_clean(world)


def test_calls_that_were_started_since_the_batch_was_read_count_also_when_redis_has_forgotten_them(
    world: World,
) -> None:
    batch_id = world.batch(40, max_concurrent_calls=6)

    def others_call() -> None:
        assert dispatch_and_place(world, batch_id).claimed == 6
        forget(world, "slots")

    assert dispatch_and_place(world, batch_id, context=intercept_leases(world, before=others_call)).claimed == 0
    assert len(live_attempts(world)) == 6
    assert_audit_is_clean(world)


def test_an_edited_limit_counts_for_the_calls_that_are_up(world: World) -> None:
    batch_id = world.batch(40, max_concurrent_calls=6)
    dispatch_and_place(world, batch_id)
    world.sql("UPDATE batches SET max_concurrent_calls = 3")
    for left in (5, 4, 3):
        end_call(world, live_attempts(world)[0])
        dispatch_and_place(world, batch_id)
        assert len(live_attempts(world)) == left
    end_call(world, live_attempts(world)[0])
    assert dispatch_and_place(world, batch_id).claimed == 1


def test_the_ledger_keeps_the_daily_cap_of_a_batch(world: World) -> None:
    batch_id = world.batch(40, max_concurrent_calls=10, max_calls_per_day=12, timezone="Pacific/Auckland")
    while dispatch_and_place(world, batch_id).claimed:
        forget(world)
        for attempt_id in live_attempts(world):
            end_call(world, attempt_id)
    assert attempts(world) == 12
    assert next_dispatch(world, batch_id) == (MONDAY.at(11), "daily_cap")  # midnight in Auckland
    world.clock.now = MONDAY.at(11)
    world.rescue()
    assert dispatch_and_place(world, batch_id).claimed == 10


def test_several_dispatches_at_once_claim_each_contact_once_and_exceed_nothing(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 25")
    phones = made_up_phones(300)
    batch_ids = [
        world.batch(phones[n * 100 : (n + 1) * 100], max_concurrent_calls=12, max_calls_per_day=40) for n in range(3)
    ]
    for _ in range(6):
        run_concurrently(
            *[partial(dispatch_and_place, world, *batch_ids), partial(dispatch_and_place, world, *reversed(batch_ids))]
            * 2
        )
        of_batch = Counter(row.batch_id for row in world.rows("SELECT batch_id FROM attempts WHERE rescue_at NOTNULL"))
        assert max(of_batch.values()) <= 12
        assert sum(of_batch.values()) == 25
        assert_audit_is_clean(world)
        for attempt_id in live_attempts(world)[::2]:
            end_call(world, attempt_id)
    assert max(Counter(call.to_number for call in world.network.log).values()) == 1
    assert {str(attempt_id) for attempt_id in live_attempts(world)} == set(held_leases(world)["{dialer}:holds"])


def test_a_contact_that_someone_is_changing_is_not_waited_for(world: World) -> None:
    batch_id = world.batch(3)
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        run(operator, "UPDATE contacts SET name = 'Ada' WHERE position = 1")
        assert pool.submit(dispatch_and_place, world, batch_id).result(DEADLINE_SECONDS).claimed == 2
    assert next_dispatch(world, batch_id)[0] == world.clock.now
    assert dispatch_and_place(world, batch_id).claimed == 1
