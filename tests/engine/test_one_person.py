"""One person is in one call at a time, in all batches of a workspace."""

from collections.abc import Callable
from uuid import UUID

import pytest

from dialer.domain.ids import AttemptId, BatchId
from dialer.engine.retry import retry
from dialer.store.database import run
from support.engine_steps import (
    RESERVE,
    advance_clock,
    assert_audit_is_clean,
    dispatch_and_place,
    end_call,
    live_attempts,
    run_concurrently,
)
from support.world import World, made_up_phones

CLAIMS = 6
STATUS = "SELECT status, waits_for, attempts FROM contacts WHERE batch_id = :id ORDER BY position"
TALKS = {"outcomes": {"answered": 1}, "talk_seconds": {"mean": 60, "min": 60, "max": 60}}


def statuses(world: World, batch_id: BatchId) -> list[tuple[str, str | None, int]]:
    return [tuple(row) for row in world.rows(STATUS, id=batch_id)]


def live_attempt_of(world: World, batch_id: BatchId) -> AttemptId:
    return AttemptId(world.value("SELECT id FROM attempts WHERE batch_id = :id AND rescue_at IS NOT NULL", id=batch_id))


def test_a_person_who_is_in_a_call_of_another_batch_is_called_after_it(make_world: Callable[..., World]) -> None:
    world = make_world(**TALKS)
    phone, other = made_up_phones(2)
    first, second = world.batch([phone]), world.batch([phone, other])
    assert dispatch_and_place(world, first).placed == 1
    assert dispatch_and_place(world, second).placed == 1
    assert statuses(world, second) == [("waiting", "person_in_call", 0), ("dialing", None, 1)]
    assert retry(world.context, world.clock.now).requeued == 0
    # Settle says who waits for retry: those whose person was in a call that has ended.
    assert not end_call(world, live_attempt_of(world, second)).persons_wait
    assert end_call(world, live_attempt_of(world, first)).persons_wait
    assert retry(world.context, world.clock.now).batches == (second,)
    assert dispatch_and_place(world, second).placed == 1
    assert [call.to_number for call in world.network.log] == [phone, other, phone]
    world.run(lambda: world.is_over(first, second))
    assert_audit_is_clean(world)


def test_one_dispatch_calls_a_person_of_several_batches_once(world: World) -> None:
    batch_ids = [world.batch(made_up_phones(5)) for _ in range(3)]
    assert dispatch_and_place(world, *batch_ids).placed == 5
    assert len({call.to_number for call in world.network.log}) == 5
    assert world.value("SELECT sum(attempts) FROM batch_days") == 5


def test_claims_at_the_same_time_call_a_person_once(world: World) -> None:
    """Each claim has the people in another order; none fails, and none waits for ever for another."""
    phones = made_up_phones(40)
    batch_ids = [world.batch(phones[n:] + phones[:n], max_concurrent_calls=40) for n in range(0, 36, CLAIMS)]
    run_concurrently(*(lambda batch_id=batch_id: dispatch_and_place(world, batch_id) for batch_id in batch_ids))
    assert sorted(call.to_number for call in world.network.log) == phones
    assert world.value("SELECT count(*) FROM contacts WHERE waits_for = 'person_in_call'") == 5 * len(phones)
    assert world.value("SELECT bool_and(held_by IS DISTINCT FROM 'error') FROM batch_progress")


def test_a_claim_that_hangs_delays_no_batch_without_its_people(world: World) -> None:
    taken, other = made_up_phones(2)
    hanging, same, free = world.batch([taken]), world.batch([taken]), world.batch([other])
    with world.db.begin() as connection:
        run(connection, RESERVE, batch=hanging, number=world.installed.number_ids[0])
        assert dispatch_and_place(world, same, free).placed == 1
    assert [call.to_number for call in world.network.log] == [other]
    assert statuses(world, same) == [("pending", None, 0)]
    assert dispatch_and_place(world, same).claimed == 0
    assert statuses(world, same) == [("waiting", "person_in_call", 0)]


def test_a_person_is_called_by_two_workspaces_at_once(world: World) -> None:
    first, second = world.batch(["+12015550000"]), world.batch(["+12015550000"])
    dispatch_and_place(world, first)
    world.sql("INSERT INTO workspaces (id, name) VALUES (:id, 'other')", id=UUID(int=2))
    world.sql("UPDATE batches SET workspace_id = :other WHERE id = :id", other=UUID(int=2), id=second)
    assert dispatch_and_place(world, second).placed == 1


@pytest.mark.parametrize("end", ["suppressed", "expired"])
def test_a_person_in_a_call_who_must_not_be_called_at_all_is_skipped_at_once(world: World, end: str) -> None:
    first, second = world.batch(["+12015550000"]), world.batch(["+12015550000"])
    dispatch_and_place(world, first)
    if end == "suppressed":
        world.sql("INSERT INTO suppressions (workspace_id, phone_number) SELECT workspace_id, to_number FROM attempts")
    else:
        world.sql("UPDATE contacts SET expires_at = dialer_now() WHERE batch_id = :id", id=second)
    dispatch_and_place(world, second)
    assert world.value("SELECT status_reason FROM contacts WHERE batch_id = :id", id=second) == end


def test_a_contact_keeps_its_place_in_the_list_while_its_person_is_in_a_call(world: World) -> None:
    first = world.batch(["+12015550000"])
    dispatch_and_place(world, first)
    second = world.batch(["+12015550000", "+12015550001", "+12015550002"], max_concurrent_calls=1)
    assert dispatch_and_place(world, second).placed == 1
    advance_clock(world, 5)
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id)
    retry(world.context, world.clock.now)
    dispatch_and_place(world, second)
    assert [call.to_number[-1] for call in world.network.log] == ["0", "1", "0"]


def test_a_list_that_is_called_by_several_batches_reaches_everyone_in_each(make_world: Callable[..., World]) -> None:
    world = make_world(**TALKS)
    batch_ids = [world.batch(made_up_phones(8), max_concurrent_calls=3) for _ in range(3)]
    world.run(lambda: world.is_over(*batch_ids), grain=5)
    assert [world.progress(batch_id).completed for batch_id in batch_ids] == [8, 8, 8]
    assert_audit_is_clean(world)
