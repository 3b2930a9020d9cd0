"""Contacts with times of their own: not before a time, and called back at a time."""

import io
from datetime import date
from typing import Any

import pytest

from dialer.domain.ids import BatchId
from dialer.engine.retry import retry
from dialer.service import batches, callbacks, contacts
from dialer.service.callbacks import Callback
from dialer.service.contact_json import NewContacts
from support.engine_steps import advance_clock, assert_audit_is_clean, dispatch_and_place, end_call, live_attempts
from support.world import MONDAY, World

STATUS = "SELECT phone_number, status, waits_for, due_at, priority FROM contacts ORDER BY position"


def add(world: World, batch_id: BatchId, *given: dict[str, Any]) -> None:
    new = NewContacts.model_validate({"contacts": given})
    added = contacts.add(world.db, world.installed.workspace_id, batch_id, new, world.clock.now, world.rng)
    assert added.imported == len(given)


def batch_of(world: World, *given: dict[str, Any], **options: Any) -> BatchId:
    """Start a batch of these contacts."""
    batch_id = world.batch(0, start=False, **options)
    add(world, batch_id, *given)
    batches.schedule(world.context, world.installed.workspace_id, batch_id, world.clock.now)
    return batch_id


def call_back(world: World, batch_id: BatchId, at: object, phone: str | None = None) -> None:
    contact_id = world.value(
        "SELECT id FROM contacts WHERE batch_id = :batch AND phone_number = coalesce(:phone, phone_number)",
        batch=batch_id,
        phone=phone,
    )
    callback = Callback.read({"at": str(at)}, world.clock.now)
    callbacks.ask(world.db, world.installed.workspace_id, batch_id, contact_id, callback, world.clock.now)


def called(world: World) -> list[tuple[str, float]]:
    """Return the last digit of each number that was called, and when, in minutes."""
    return [(call.to_number[-1], (call.placed_at - MONDAY).total_seconds() / 60) for call in world.network.log]


def test_a_contact_is_not_called_before_its_time(world: World) -> None:
    times = {"+12015550001": 5, "+12015550002": 0, "+12015550003": -1, "+12015550004": 2}
    contacts_given = [
        {"phone_number": phone, "not_before": MONDAY.add(minutes=minutes).isoformat()}
        for phone, minutes in times.items()
    ]
    batch_id = batch_of(world, *contacts_given)
    assert (world.progress(batch_id).pending, world.progress(batch_id).waiting) == (2, 2)
    world.run(lambda: world.is_over(batch_id), grain=60)
    assert called(world) == [("2", 0), ("3", 0), ("4", 2), ("1", 5)]
    assert_audit_is_clean(world)


def test_a_file_may_name_the_time_of_each_contact(world: World) -> None:
    batch_id = world.batch(0, start=False, timezone="Europe/Berlin")
    rows = "phone,Not Before\n+12015550001,2026-03-02T09:05\n+12015550002,tomorrow\n+12015550003,\n"
    file = io.BytesIO(rows.encode())
    result = contacts.import_csv(world.db, world.installed.workspace_id, batch_id, file, MONDAY, world.rng)
    assert [(error.row, error.reason.partition(":")[0]) for error in result.errors] == [(3, "not_before")]
    assert [(row.waits_for, row.due_at) for row in world.rows(STATUS)] == [
        ("not_before", MONDAY.add(minutes=5)), (None, MONDAY),
    ]  # fmt: skip


def test_a_callback_goes_before_all_others_when_its_time_has_come(world: World) -> None:
    others = [{"phone_number": f"+1201555000{n}", "priority": 1} for n in range(4)]
    batch_id = batch_of(world, *others, max_concurrent_calls=1)
    call_back(world, batch_id, MONDAY.add(minutes=1), "+12015550003")
    dispatch_and_place(world, batch_id)
    advance_clock(world, 60)
    assert retry(world.context, world.clock.now).batches == (batch_id,)
    end_call(world, live_attempts(world)[0])
    dispatch_and_place(world, batch_id)
    assert called(world) == [("0", 0), ("3", 1)]


def test_a_later_callback_replaces_the_earlier_one_and_a_retry(world: World) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0], "busy")
    for minutes in (30, 20):
        call_back(world, batch_id, MONDAY.add(minutes=minutes))
    world.run(lambda: world.is_over(batch_id), grain=60)
    assert [minutes for _, minutes in called(world)] == [0, 20]
    assert_audit_is_clean(world)


@pytest.mark.parametrize(
    "edit",
    [
        "timezone = 'Asia/Tokyo'",
        "end_time = '23:00'",
        "working_days = '{1,2,3}'",
        "retry_delays = '{\"busy\": 1}'",
        "max_retry_attempts = 2",
    ],
)
def test_edits_of_window_and_retries_do_not_move_the_time_of_a_contact(world: World, edit: str) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0], "busy")
    add(world, batch_id, {"phone_number": "+12025550009", "not_before": MONDAY.add(hours=2).isoformat()})
    call_back(world, batch_id, MONDAY.add(hours=3), "+12015550000")
    before = world.rows(STATUS)
    world.sql(f"UPDATE batches SET {edit}")
    assert world.rows(STATUS) == before
    assert [row.due_at for row in before] == [MONDAY.add(hours=3), MONDAY.add(hours=2)]


def test_a_contact_with_a_time_expires_and_ends_with_its_batch_as_any_other(world: World) -> None:
    contact = {"phone_number": "+12025550009", "not_before": MONDAY.add(hours=2).isoformat()}
    late, over = batch_of(world, contact), batch_of(world, contact)
    world.sql("UPDATE batches SET expires_at = :at WHERE id = :id", at=MONDAY.add(hours=1), id=late)
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=over)
    world.run(lambda: world.is_over(late, over))
    assert {(row.status, row.due_at) for row in world.rows(STATUS)} == {
        ("skipped", MONDAY.add(hours=2)), ("cancelled", MONDAY.add(hours=2)),
    }  # fmt: skip
    assert called(world) == []


def test_a_callback_keeps_to_the_hours_that_hold_when_it_is_due(world: World) -> None:
    batch_id = world.batch(1, end_time="18:00")
    call_back(world, batch_id, MONDAY.add(hours=2))
    world.sql("UPDATE batches SET excluded_dates = :days", days=[date(2026, 3, 2)])
    world.run(lambda: world.is_over(batch_id), grain=60)
    assert [minutes for _, minutes in called(world)] == [16 * 60]
    assert_audit_is_clean(world)
