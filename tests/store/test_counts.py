"""Counts of a batch, kept by triggers: true whoever changes its contacts, and however many at once."""

import pytest
from sqlalchemy.exc import IntegrityError

from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.ledger_rows import audit_violations
from support.world import World, made_up_phones


def test_contacts_of_several_batches_that_an_operator_removes_are_not_counted_any_more(world: World) -> None:
    first, second = world.batch(3), world.batch(made_up_phones(5, first=10))
    assert world.sql("DELETE FROM contacts WHERE right(phone_number, 1) IN ('0', '1')") == 4
    assert [world.progress(batch_id).pending for batch_id in (first, second)] == [1, 3]
    assert audit_violations(world) == {}


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_batch_that_is_over_takes_no_contacts_from_an_operator_either(world: World, status: str) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batches SET status = :status", status=status)
    with pytest.raises(IntegrityError, match=f"Batch {batch_id} is {status}; no contacts can be added"):
        world.sql(
            "INSERT INTO contacts (id, batch_id, phone_number) VALUES (gen_random_uuid(), :id, '+12025550109')",
            id=batch_id,
        )
    assert world.progress(batch_id).total == 1


def test_a_batch_that_was_not_stopped_is_not_drained_by_its_last_call(world: World) -> None:
    batch_id = world.batch(2, max_concurrent_calls=1)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0])
    assert (world.progress(batch_id).dialing, world.progress(batch_id).drained_at) == (0, None)
