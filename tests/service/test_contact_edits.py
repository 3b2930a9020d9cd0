"""Changes of single contacts, and contacts that are taken out of a batch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.errors import InvalidInput, NotFound, StateConflict
from dialer.service import batches, contact_edits
from dialer.service.contact_edits import ChangedContact
from support.engine_steps import assert_audit_is_clean, dispatch_and_place, end_call, intercept_leases, run_concurrently
from support.operator_requests import conflict
from support.world import World, made_up_phones


def contact_of(world: World, phone: str) -> ContactId:
    return ContactId(world.value("SELECT id FROM contacts WHERE phone_number = :phone", phone=phone))


def change(world: World, batch_id: BatchId, contact_id: ContactId, **fields: Any) -> None:
    changed = ChangedContact.read(fields, world.clock.now)
    contact_edits.change(world.db, world.installed.workspace_id, batch_id, contact_id, changed, world.clock.now)


def remove(world: World, batch_id: BatchId, contact_id: ContactId) -> None:
    contact_edits.remove(world.db, world.installed.workspace_id, batch_id, contact_id, world.clock.now)


def test_a_contact_is_called_first_once_its_priority_is_raised(world: World) -> None:
    batch_id = world.batch(3, max_concurrent_calls=1)
    last = made_up_phones(3)[-1]
    fields = {"priority": 1, "variables": {"plan": "gold"}, "name": "Ada", "external_id": " 7 "}
    change(world, batch_id, contact_of(world, last), **fields)
    dispatch_and_place(world, batch_id)
    assert [call.to_number for call in world.network.log] == [last]
    (row,) = world.rows("SELECT name, external_id, variables, timezone FROM contacts WHERE phone_number = :p", p=last)
    assert tuple(row) == ("Ada", "7", {"plan": "gold"}, None)


def test_a_new_time_zone_moves_a_contact_to_another_lane(world: World) -> None:
    batch_id = world.batch(
        1, timezone="Europe/Berlin", start_time="09:00", end_time="17:00", respect_contact_timezone=True
    )
    assert dispatch_and_place(world, batch_id).placed == 0
    contact_id = contact_of(world, made_up_phones(1)[0])
    change(world, batch_id, contact_id, timezone="Europe/Berlin")
    assert dispatch_and_place(world, batch_id).placed == 1
    assert_audit_is_clean(world)


def test_without_its_own_zone_a_contact_is_called_by_those_of_its_number(world: World) -> None:
    batch_id = world.batch(1, respect_contact_timezone=True)
    contact_id = contact_of(world, made_up_phones(1)[0])
    lane = "SELECT lane FROM contacts"
    before = world.value(lane)
    change(world, batch_id, contact_id, timezone="Asia/Kolkata")
    assert world.value(lane) == "Asia/Kolkata"
    change(world, batch_id, contact_id, timezone=None)
    assert world.value(lane) == before


def test_the_number_that_a_contact_keeps_stays_when_its_zone_changes(world: World) -> None:
    batch_id = world.batch(
        1, max_retry_attempts=1, respect_contact_timezone=True, sticky_caller_id=True, retry_failed=True
    )
    dispatch_and_place(world, batch_id)
    ((attempt_id, number_id),) = world.rows("SELECT id, phone_number_id FROM attempts")
    end_call(world, attempt_id, "busy")
    change(world, batch_id, contact_of(world, made_up_phones(1)[0]), timezone="Asia/Kolkata")
    assert world.value("SELECT lane FROM contacts") == f"Asia/Kolkata|{number_id}"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"priority": 11}, "priority"),
        ({"timezone": "Moon/Sea"}, "timezone"),
        ({"name": "x" * 256}, "name"),
        ({"variables": {"": 1}}, "variables"),
        ({"phone_number": "+12025550100"}, "phone_number"),
    ],
)
def test_a_field_is_checked_as_at_the_import(world: World, fields: dict[str, Any], field: str) -> None:
    batch_id = world.batch(1)
    before = world.rows("SELECT * FROM contacts")
    with pytest.raises(InvalidInput) as caught:
        change(world, batch_id, contact_of(world, made_up_phones(1)[0]), **fields)
    assert [error.field for error in caught.value.errors] == [field]
    assert world.rows("SELECT * FROM contacts") == before


def test_a_contact_that_was_taken_out_is_not_called_and_stays_in_the_counts(world: World) -> None:
    batch_id = world.batch(3)
    first, *others = made_up_phones(3)
    take_out = partial(remove, world, batch_id, contact_of(world, first))
    dispatch_and_place(world, batch_id, context=intercept_leases(world, after=take_out))
    assert sorted(call.to_number for call in world.network.log) == others
    progress = world.progress(batch_id)
    assert (progress.total, progress.cancelled, progress.dialing) == (3, 1, 2)
    assert world.value("SELECT status_reason FROM contacts WHERE status = 'cancelled'") == "removed"
    assert_audit_is_clean(world)


def test_a_batch_is_completed_when_its_last_contact_is_taken_out(world: World) -> None:
    batch_id = world.batch(1, start_time="09:00")
    world.step()
    remove(world, batch_id, contact_of(world, made_up_phones(1)[0]))
    world.step()
    assert world.progress(batch_id).status == "completed"


def test_a_contact_of_a_draft_is_deleted_and_can_be_added_again(world: World) -> None:
    batch_id = world.batch(2, start=False)
    phone = made_up_phones(1)[0]
    remove(world, batch_id, contact_of(world, phone))
    assert world.progress(batch_id).total == 1
    assert world.add(batch_id, [phone]).imported == 1


def test_a_contact_that_is_called_or_final_stays_as_it_is(world: World) -> None:
    batch_id = world.batch(2, max_concurrent_calls=1)
    first, second = made_up_phones(2)
    dispatch_and_place(world, batch_id)
    called = contact_of(world, first)
    for act in (partial(remove, world, batch_id, called), partial(change, world, batch_id, called, priority=1)):
        assert conflict(act)[0] == "contact_in_call"
    end_call(world, world.value("SELECT id FROM attempts"), "answered")
    for act in (partial(remove, world, batch_id, called), partial(change, world, batch_id, called, priority=1)):
        assert conflict(act)[0] == "contact_is_final"
    batches.cancel(world.db, world.installed.workspace_id, batch_id)
    assert conflict(partial(remove, world, batch_id, contact_of(world, second)))[0] == "batch_is_final"


def test_a_contact_of_another_batch_or_workspace_does_not_exist(world: World) -> None:
    batch_id, other_id = world.batch(1), world.batch(["+12135550001"])
    contact_id = contact_of(world, made_up_phones(1)[0])
    with pytest.raises(NotFound):
        remove(world, other_id, contact_id)
    new_workspace = "INSERT INTO workspaces (id, name) VALUES (gen_random_uuid(), 'other') RETURNING id"
    stranger = WorkspaceId(world.value(new_workspace))
    with pytest.raises(NotFound):
        contact_edits.remove(world.db, stranger, batch_id, contact_id, world.clock.now)
    assert world.value("SELECT count(*) FROM contacts WHERE status = 'pending'") == 2


def test_a_contact_is_either_called_or_taken_out_whoever_is_first(world: World) -> None:
    for phone in made_up_phones(12):
        batch_id = world.batch([phone])
        take_out = partial(code_of, partial(remove, world, batch_id, contact_of(world, phone)))
        code, _ = run_concurrently(take_out, partial(dispatch_and_place, world, batch_id))
        world.step()
        calls = sum(call.to_number == phone for call in world.network.log)
        assert (code, calls) in ((None, 0), ("contact_in_call", 1))
    assert_audit_is_clean(world)


def code_of(act: Callable[[], object]) -> str | None:
    """Return the code with which an action is refused; None: it is done."""
    try:
        act()
    except StateConflict as error:
        return error.code
    return None


def open_contact(world: World) -> Any:
    return world.rows("SELECT status, waits_for, due_at, not_before FROM contacts")[0]


def test_a_contact_is_not_called_before_a_time_that_is_set_later_moved_and_cleared(world: World) -> None:
    batch_id = world.batch(1)
    contact_id = contact_of(world, made_up_phones(1)[0])
    now = world.clock.now
    for at in (now.add(hours=5), now.add(hours=3)):
        change(world, batch_id, contact_id, not_before=at.isoformat())
        assert tuple(open_contact(world)) == ("waiting", "not_before", at, at)
    assert dispatch_and_place(world, batch_id).placed == 0
    with pytest.raises(InvalidInput, match="not_before"):
        change(world, batch_id, contact_id, not_before="soon")
    change(world, batch_id, contact_id, not_before=None)
    assert tuple(open_contact(world)) == ("pending", None, now, None)
    assert dispatch_and_place(world, batch_id).placed == 1
    assert_audit_is_clean(world)


@pytest.mark.parametrize(("hours", "waits_for"), [(2, "callback"), (4, "not_before")])
def test_a_callback_is_put_off_by_a_later_time_only(world: World, hours: int, waits_for: str) -> None:
    batch_id = world.batch(1)
    contact_id = contact_of(world, made_up_phones(1)[0])
    due_at = world.clock.now.add(hours=3)
    world.sql("UPDATE contacts SET status = 'waiting', waits_for = 'callback', due_at = :at", at=due_at)
    not_before = world.clock.now.add(hours=hours)
    change(world, batch_id, contact_id, not_before=not_before.isoformat())
    assert tuple(open_contact(world)) == ("waiting", waits_for, max(due_at, not_before), not_before)
