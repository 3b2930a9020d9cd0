"""Changes of the settings of a batch: what they mean for its contacts, who made them, and how they are taken back."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialer.domain.change_origin import ChangeOrigin, ChangeSource
from dialer.domain.ids import BatchId, KeyId
from dialer.domain.settings_impact import SettingsImpact
from dialer.errors import InvalidInput, NotFound, SettingsChanged
from dialer.service import batch_settings, batches
from dialer.service.batch_settings import ChangedSettings, Undo
from dialer.store.database import run
from support.engine_steps import assert_audit_is_clean, dispatch_and_place, end_call, intercept_leases
from support.operator_requests import conflict
from support.world import MONDAY, World

SETTINGS = "SELECT settings FROM batch_settings WHERE batch_id = :id ORDER BY version DESC LIMIT 1"
VERSIONS = "SELECT count(*) FROM batch_settings WHERE batch_id = :id"


def change(world: World, batch_id: BatchId, **fields: Any) -> None:
    changed = ChangedSettings.read(fields, world.clock.now)
    batch_settings.change(world.db, world.installed.workspace_id, batch_id, changed, world.clock.now)


def impact(world: World, batch_id: BatchId, **fields: Any) -> SettingsImpact:
    changed = ChangedSettings.read(fields, world.clock.now)
    return batch_settings.plan(world.db, world.installed.workspace_id, batch_id, changed, world.clock.now).impact


def undo(world: World, batch_id: BatchId) -> None:
    batch_settings.undo(world.db, world.installed.workspace_id, batch_id, Undo(), world.clock.now)


NEW_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "max_concurrent_calls": st.integers(1, 100),
    "max_calls_per_day": st.none() | st.integers(1, 2_147_483_647),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    "start_time": st.sampled_from([None, "08:00", "09:30"]),
    "end_time": st.sampled_from([None, "00:00", "17:00"]),
    "working_days": st.lists(st.integers(1, 7), min_size=1, unique=True),
    "excluded_dates": st.lists(st.sampled_from(["2026-03-03", "2026-12-25"]), unique=True),
    "phone_rotation_strategy": st.sampled_from(["random", "sequential", "round_robin"]),
    "retry_failed": st.booleans(),
    "max_retry_attempts": st.integers(0, 3),
    "retry_delays": st.dictionaries(st.sampled_from(["busy", "no_answer", "machine"]), st.floats(0, 10_080)),
    "retry_machine": st.booleans(),
    "expires_at": st.none() | st.sampled_from(["2026-04-01T00:00", "2026-05-31T18:00+02:00"]),
    "priority": st.integers(1, 10),
    "ring_timeout_seconds": st.none() | st.integers(5, 120),
    "max_call_seconds": st.none() | st.integers(10, 14_400),
}
CHANGES = st.fixed_dictionaries({}, optional=NEW_VALUES)


@given(data=st.data(), changes=st.lists(CHANGES, min_size=1, max_size=4), status=st.sampled_from(["active", "paused"]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_change_that_is_taken_back_leaves_exactly_the_settings_that_there_were(
    world: World, data: st.DataObject, changes: list[dict[str, Any]], status: str
) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=batch_id)
    numbers = [str(number) for number in world.installed.number_ids]
    for fields in changes:
        listed = data.draw(st.lists(st.sampled_from(numbers), unique=True))
        before, versions = world.value(SETTINGS, id=batch_id), world.value(VERSIONS, id=batch_id)
        change(world, batch_id, **fields, phone_number_ids=listed)
        after = world.value(SETTINGS, id=batch_id)
        if after == before:
            assert world.value(VERSIONS, id=batch_id) == versions
            continue
        undo(world, batch_id)
        assert world.value(SETTINGS, id=batch_id) == before
        undo(world, batch_id)
        assert world.value(SETTINGS, id=batch_id) == after
        assert world.value(VERSIONS, id=batch_id) == versions + 3


def test_a_change_in_sql_is_noted_as_one_version_of_its_transaction(world: World) -> None:
    batch_id = world.batch(1)
    with world.db.begin() as connection:
        run(connection, "SET LOCAL application_name = 'psql'")
        run(connection, "UPDATE batches SET priority = 1 WHERE id = :id", id=batch_id)
        run(connection, "INSERT INTO batch_numbers SELECT :id, 1, id FROM phone_numbers LIMIT 1", id=batch_id)
        run(connection, "UPDATE batches SET max_concurrent_calls = 3 WHERE id = :id", id=batch_id)
    first, second = world.rows("SELECT settings, source FROM batch_settings WHERE batch_id = :id ORDER BY version",
                               id=batch_id)  # fmt: skip
    differing = {name for name in second.settings if second.settings[name] != first.settings[name]}
    assert differing == {"priority", "max_concurrent_calls", "phone_number_ids"}
    assert second.source == "sql"
    undo(world, batch_id)
    assert world.value(SETTINGS, id=batch_id) == first.settings


def test_a_statement_that_changes_the_status_too_makes_a_version(world: World) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batches SET status = 'paused', priority = 9 WHERE id = :id", id=batch_id)
    assert world.value(SETTINGS, id=batch_id)["priority"] == 9


def test_settings_that_are_changed_and_changed_back_at_once_make_no_version(world: World) -> None:
    batch_id = world.batch(1)
    with world.db.begin() as connection:
        for priority in (9, 5):
            run(connection, "UPDATE batches SET priority = :n WHERE id = :id", n=priority, id=batch_id)
    assert world.value(VERSIONS, id=batch_id) == 1


def test_a_setting_that_is_newer_than_the_last_version_is_noted_when_it_changes(world: World) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batch_settings SET settings = settings - 'ring_timeout_seconds'")
    batches.pause(world.db, world.installed.workspace_id, batch_id)
    world.sql("UPDATE batches SET version = version + 1")
    assert world.value(VERSIONS, id=batch_id) == 1
    world.sql("UPDATE batches SET ring_timeout_seconds = 20")
    assert world.value(SETTINGS, id=batch_id)["ring_timeout_seconds"] == 20
    undo(world, batch_id)
    assert world.value(SETTINGS, id=batch_id)["ring_timeout_seconds"] is None


def test_undo_passes_over_what_is_no_setting_of_a_live_batch(world: World) -> None:
    batch_id = world.batch(1, start=False)
    change(world, batch_id, priority=9)
    world.sql("UPDATE batches SET name = 'renamed'")
    undo(world, batch_id)
    assert [*world.rows("SELECT name, priority FROM batches")] == [("renamed", 5)]


def test_a_change_of_the_status_alone_makes_no_version(world: World) -> None:
    batch_id = world.batch(1)
    batches.pause(world.db, world.installed.workspace_id, batch_id)
    batches.resume(world.db, world.installed.workspace_id, batch_id)
    assert world.value(VERSIONS, id=batch_id) == 1


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_a_version_does_not_depend_on_the_time_zone_of_the_session(world: World, zone: str) -> None:
    batch_id = world.batch(1, expires_at="2026-05-31T22:00Z")
    with world.db.begin() as connection:
        run(connection, f"SET LOCAL timezone = '{zone}'")
        run(connection, "UPDATE batches SET priority = 5 WHERE id = :id", id=batch_id)
    assert world.value(VERSIONS, id=batch_id) == 1


def test_the_history_says_who_made_a_change(world: World) -> None:
    batch_id, key_id = world.batch(1), KeyId(world.installed.agent_id)
    db = world.db.attributed_to(ChangeOrigin(ChangeSource.CLI, key_id))
    changed = ChangedSettings(priority=2, reason="urgent")
    batch_settings.change(db, world.installed.workspace_id, batch_id, changed, world.clock.now)
    batches.pause(db, world.installed.workspace_id, batch_id, "lunch")
    batches.resume(world.db, world.installed.workspace_id, batch_id)
    (noted,) = world.rows("SELECT source, key_id, reason FROM batch_settings WHERE batch_id = :id AND version > 2",
                          id=batch_id)  # fmt: skip
    assert tuple(noted) == ("cli", key_id, "urgent")
    entries = world.rows("SELECT source, key_id, reason FROM batch_history ORDER BY id")
    assert [tuple(entry) for entry in entries[-2:]] == [("cli", key_id, "lunch"), ("engine", None, None)]


def test_a_token_is_stale_after_any_change_of_the_batch(world: World) -> None:
    batch_id = world.batch(1)
    workspace_id, changed = world.installed.workspace_id, ChangedSettings(priority=1)

    def fresh() -> str:
        return batch_settings.plan(world.db, workspace_id, batch_id, changed, world.clock.now).if_match

    changes: list[Callable[[], object]] = [
        lambda: world.sql("UPDATE batches SET name = 'x'"),
        lambda: world.sql("INSERT INTO batch_numbers SELECT :id, 1, id FROM phone_numbers LIMIT 1", id=batch_id),
        lambda: world.sql("UPDATE batch_numbers SET position = 2"),
        lambda: world.sql("DELETE FROM batch_numbers"),
        lambda: batches.pause(world.db, workspace_id, batch_id),
        lambda: change(world, batch_id, max_concurrent_calls=9),
    ]
    for make in changes:
        token = fresh()
        make()
        with pytest.raises(SettingsChanged):
            batch_settings.change(world.db, workspace_id, batch_id, changed, world.clock.now, token)
    batch_settings.change(world.db, workspace_id, batch_id, changed, world.clock.now, fresh())


def test_a_change_that_takes_the_last_usable_number_is_refused(world: World) -> None:
    batch_id, number = world.batch(1), world.installed.number_ids[0]
    world.sql("UPDATE phone_numbers SET status = 'inactive' WHERE id = :id", id=number)
    before = world.value(SETTINGS, id=batch_id)
    for act in (change, impact):
        refused = partial(act, world, batch_id, phone_number_ids=[str(number)])
        assert conflict(refused)[0] == "no_outbound_number"
    assert world.value(SETTINGS, id=batch_id) == before
    # What does not concern the numbers can be changed although one of them is inactive.
    change(world, batch_id, priority=1)


def test_a_window_that_never_opens_is_refused(world: World) -> None:
    batch_id = world.batch(1, working_days=[1])
    mondays = [MONDAY.add(weeks=n).date().isoformat() for n in range(120)]
    assert conflict(lambda: change(world, batch_id, excluded_dates=mondays))[0] == "window_never_opens"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"end_time": "09:00", "start_time": "09:00"}, "end_time"),
        ({"expires_at": "2026-03-02T07:00Z"}, "expires_at"),
        ({"max_concurrent_calls": 0}, "max_concurrent_calls"),
        ({"name": "x"}, "name"),
        ({"phone_number_ids": [str(KeyId)]}, "phone_number_ids.0"),
    ],
)
def test_a_change_is_checked_as_a_new_batch_is(world: World, fields: dict[str, Any], field: str) -> None:
    batch_id = world.batch(1)
    with pytest.raises(InvalidInput) as caught:
        change(world, batch_id, **fields)
    assert [error.field for error in caught.value.errors] == [field]
    assert world.value(VERSIONS, id=batch_id) == 1


def test_settings_of_a_batch_that_is_over_or_does_not_exist_stay(world: World) -> None:
    batch_id = world.batch(1)
    assert conflict(lambda: undo(world, batch_id))[0] == "nothing_to_undo"
    batches.cancel(world.db, world.installed.workspace_id, batch_id)
    assert conflict(lambda: change(world, batch_id, priority=1))[0] == "batch_is_final"
    assert conflict(lambda: undo(world, batch_id))[0] == "batch_is_final"
    with pytest.raises(NotFound):
        change(world, BatchId(world.installed.agent_id), priority=1)


def test_an_expiry_that_has_passed_does_not_come_back(world: World) -> None:
    batch_id = world.batch(1, start=False, expires_at="2026-03-02T10:00Z")
    change(world, batch_id, expires_at=None)
    world.clock.now = MONDAY.add(hours=3)
    with pytest.raises(InvalidInput, match="expires_at: must lie ahead"):
        undo(world, batch_id)
    change(world, batch_id, priority=1)
    undo(world, batch_id)


def test_a_claim_that_was_planned_with_other_numbers_is_dropped(world: World) -> None:
    batch_id = world.batch(3, phone_number_ids=[str(world.installed.number_ids[0])])

    def use_another() -> None:
        change(world, batch_id, phone_number_ids=[str(world.installed.number_ids[1])])

    assert dispatch_and_place(world, batch_id, context=intercept_leases(world, after=use_another)).claimed == 0
    assert dispatch_and_place(world, batch_id).placed == 3
    assert {row.n for row in world.rows("SELECT DISTINCT phone_number_id AS n FROM attempts")} == {
        world.installed.number_ids[1]
    }
    assert_audit_is_clean(world)


def test_every_attempt_names_the_version_that_allowed_it(world: World) -> None:
    batch_id = world.batch(4, max_concurrent_calls=1)
    dispatch_and_place(world, batch_id)
    change(world, batch_id, max_concurrent_calls=3)
    dispatch_and_place(world, batch_id)
    limits = world.rows(
        """
        SELECT (SELECT CAST(s.settings ->> 'max_concurrent_calls' AS integer) FROM batch_settings s
                WHERE s.batch_id = a.batch_id AND s.version <= CAST(a.allowed_by ->> 'version' AS integer)
                ORDER BY s.version DESC LIMIT 1) AS of_version
        FROM attempts a
        """
    )
    assert sorted(row.of_version for row in limits) == [1, 3, 3]


def test_the_impact_counts_who_can_be_called_because_of_a_change(world: World) -> None:
    batch_id = world.batch(5, end_time="07:00")
    world.sql("INSERT INTO suppressions SELECT id, (SELECT min(phone_number) FROM contacts) FROM workspaces")
    assert impact(world, batch_id, end_time="17:00") == SettingsImpact(gain=4, lose=0, moved=0)
    assert impact(world, batch_id, end_time="06:00") == SettingsImpact(gain=0, lose=0, moved=0)
    change(world, batch_id, end_time="17:00")
    assert impact(world, batch_id, end_time="07:00") == SettingsImpact(gain=0, lose=4, moved=0)
    assert impact(world, batch_id, priority=1) == SettingsImpact(gain=0, lose=0, moved=0)


def test_the_impact_of_a_daily_cap_that_is_used_up(world: World) -> None:
    batch_id = world.batch(5)
    dispatch_and_place(world, batch_id)
    world.add(batch_id, ["+12135550001", "+12135550002"])
    assert impact(world, batch_id, max_calls_per_day=5) == SettingsImpact(gain=0, lose=2, moved=0)
    change(world, batch_id, max_calls_per_day=5)
    assert impact(world, batch_id, max_calls_per_day=None) == SettingsImpact(gain=2, lose=0, moved=0)


def test_the_impact_on_retries_is_what_the_change_does(world: World) -> None:
    batch_id = world.batch(4, retry_failed=True, max_retry_attempts=1, retry_delays={"busy": 30})
    dispatch_and_place(world, batch_id)
    for row in world.rows("SELECT id FROM attempts ORDER BY id LIMIT 3"):
        end_call(world, row.id, "busy")
    world.clock.now = world.clock.now.add(minutes=10)
    assert impact(world, batch_id, retry_failed=False) == SettingsImpact(gain=0, lose=3, moved=0)
    assert impact(world, batch_id, retry_delays={"busy": 60}) == SettingsImpact(gain=0, lose=0, moved=3)
    assert impact(world, batch_id, retry_delays={"busy": 5}) == SettingsImpact(gain=3, lose=0, moved=3)
    before = world.rows("SELECT id, due_at FROM contacts WHERE status = 'waiting' ORDER BY id")
    change(world, batch_id, retry_delays={"busy": 5})
    after = world.rows("SELECT id, due_at FROM contacts WHERE status = 'waiting' ORDER BY id")
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 3
    assert all(row.due_at <= world.clock.now for row in after)
