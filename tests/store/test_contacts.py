"""Statements that move contacts on: each changes those that it names, in the state that it expects, and nobody else."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dialer.domain.ids import BatchId, ContactId
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.states import ContactStatus
from dialer.store import contacts
from dialer.store.contacts import ContactResult
from dialer.store.database import run
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import MONDAY, World, made_up_phones

IN_AN_HOUR = MONDAY.add(hours=1)


def retry_later(contact_id: ContactId, outcome: str | None, *, counts: bool) -> ContactResult:
    return ContactResult(
        contact_id, ContactStatus.WAITING, None, outcome, IN_AN_HOUR, None, counts, refusals=int(not counts)
    )


def people(world: World, columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in world.rows(f"SELECT {columns} FROM contacts ORDER BY position")]


def waiting(world: World, phones: list[str]) -> BatchId:
    """A batch whose contacts wait for a retry that is due in ten minutes."""
    batch_id = world.batch(phones, max_concurrent_calls=len(phones), retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, batch_id)
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id, "busy")
    assert world.progress(batch_id).waiting == len(phones)
    return batch_id


@pytest.mark.parametrize("status", ["pending", "cancelled"])
def test_a_result_does_not_move_a_contact_that_is_not_being_called(world: World, status: str) -> None:
    batch_id = world.batch(1)
    if status == "cancelled":
        world.sql("UPDATE batches SET status = 'cancelled'")
        world.change_pages()
    contact_id = world.value("SELECT id FROM contacts")
    with world.db.begin() as connection:
        assert contacts.write_results(connection, [retry_later(contact_id, "busy", counts=True)]) == 0
    assert people(world, "status, outcome, due_at") == [(status, None, MONDAY)]
    assert world.progress(batch_id).waiting == 0


def test_a_refused_retry_keeps_the_outcome_of_the_call_before_it(world: World) -> None:
    batch_id = waiting(world, made_up_phones(1))
    world.sql("UPDATE contacts SET status = 'pending'")
    dispatch_and_place(world, batch_id)
    contact_id = world.value("SELECT id FROM contacts")
    with world.db.begin() as connection:
        assert contacts.write_results(connection, [retry_later(contact_id, None, counts=False)]) == 1
    assert people(world, "status, outcome, attempts, refusals") == [("waiting", "busy", 1, 1)]


def test_only_contacts_that_are_due_and_of_the_named_batches_are_requeued(world: World) -> None:
    batch_id = waiting(world, made_up_phones(3))
    waiting(world, made_up_phones(1, first=10))
    world.sql("UPDATE contacts SET due_at = due_at + interval '1 second' WHERE position = 2")
    due = MONDAY.add(minutes=10)
    with world.db.begin() as connection:
        assert contacts.requeue_waiting(connection, [batch_id], due, 100) == 2
    assert people(world, "status") == [("pending",), ("waiting",), ("pending",), ("waiting",)]


def test_lanes_come_in_the_calling_order_of_their_contacts(world: World) -> None:
    batch_id, utc = world.batch(4), Lane(("UTC",))
    world.sql("UPDATE contacts SET lane = 'UTC' WHERE position IN (2, 4)")
    world.sql("UPDATE contacts SET priority = 1 WHERE position = 4")
    with world.db.begin() as connection:
        assert contacts.lanes(connection, [batch_id], 10) == {batch_id: [utc, NO_LANE, utc, NO_LANE]}
        assert contacts.lanes(connection, [batch_id], 1) == {batch_id: [utc, NO_LANE]}


def test_a_contact_that_someone_is_changing_does_not_hold_up_the_retries_of_others(world: World) -> None:
    batch_id = waiting(world, made_up_phones(3))

    def requeue() -> int:
        with world.db.begin() as connection:
            return contacts.requeue_waiting(connection, [batch_id], IN_AN_HOUR, 100)

    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        run(operator, "UPDATE contacts SET name = 'Ada' WHERE position = 1")
        assert pool.submit(requeue).result(10) == 2
