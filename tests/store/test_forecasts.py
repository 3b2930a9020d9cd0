"""What a forecast reads: contacts in cohorts, earlier calls, and earlier forecasts beside true ends."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dialer.domain.forecast.situation import Cohort
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.window import HORIZON
from dialer.service import forecasts as service
from dialer.service.forecasts import ForecastRequest
from dialer.store import forecasts
from support.operator_requests import schedule
from support.recorded_statements import recorded_statements, sequentially_scanned_tables
from support.stored_past import store_past
from support.world import MONDAY, World, made_up_phones

ALL_ANSWER = ForecastRequest(answer_rate=1.0, mean_talk_seconds=20.0, mean_ring_seconds=5.0)


def cohorts(world: World, batch_id: BatchId) -> tuple[list[Cohort], int]:
    with world.db.begin() as connection:
        return forecasts.cohorts(connection, world.installed.workspace_id, batch_id, world.clock.now, MONDAY + HORIZON)


def make(world: World, batch_id: BatchId, request: ForecastRequest = ALL_ANSWER) -> service.ForecastResult:
    return service.make(world.db, world.installed.workspace_id, batch_id, request, world.clock.now, world.rng)


def set_contacts(world: World, first: int, last: int, **values: Any) -> None:
    """Change contacts by their place in the file, from 0."""
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    world.sql(
        f"""
        UPDATE contacts SET {assignments} WHERE id IN (
            SELECT id FROM contacts ORDER BY position OFFSET :first LIMIT :count)
        """,
        first=first,
        count=last - first,
        **values,
    )


def test_contacts_that_are_alike_are_one_cohort_and_suppressed_ones_are_in_none(world: World) -> None:
    batch_id = world.batch(10, start=False, retry_failed=True, max_retry_attempts=2)
    set_contacts(world, 0, 2, status="waiting", attempts=1, due_at=MONDAY.add(minutes=30))
    set_contacts(world, 2, 3, priority=1)
    set_contacts(world, 3, 4, status="failed", outcome="busy", finished_at=MONDAY)
    world.sql(
        """
        INSERT INTO suppressions (id, workspace_id, phone_number)
        SELECT gen_random_uuid(), workspace_id, phone_number
        FROM contacts JOIN batches b ON b.id = batch_id ORDER BY position DESC LIMIT 1
        """
    )
    found, suppressed = cohorts(world, batch_id)
    assert suppressed == 1
    assert [(cohort.count, cohort.priority, cohort.attempts, cohort.due_at is None) for cohort in found] == [
        (1, 1, 0, True),
        (5, 5, 0, True),
        (2, 5, 1, False),
    ]
    due_at = found[2].due_at
    assert due_at is not None
    assert MONDAY.add(minutes=30) <= due_at <= MONDAY.add(minutes=31)


def test_a_contact_that_is_due_at_the_end_of_time_leaves_the_times_of_the_others_as_they_are(world: World) -> None:
    batch_id = world.batch(2, start=False)
    set_contacts(world, 0, 1, status="waiting", due_at=MONDAY.add(hours=1))
    set_contacts(world, 1, 2, status="waiting", due_at="9999-12-31T23:59:59Z", expires_at="9999-12-31T23:59:59Z")
    found, _ = cohorts(world, batch_id)
    first, last = (cohort.due_at for cohort in found)
    assert first is not None
    assert last is not None
    assert MONDAY.add(hours=1) < first <= MONDAY.add(days=3)
    assert last > MONDAY + HORIZON
    assert make(world, batch_id).forecast.ends.p50 is None


def test_however_many_times_contacts_have_there_are_few_cohorts(world: World) -> None:
    batch_id = world.batch(600, start=False)
    world.sql("UPDATE contacts SET expires_at = :now + position * interval '7 minutes'", now=MONDAY)
    found, _ = cohorts(world, batch_id)
    assert sum(cohort.count for cohort in found) == 600
    assert len(found) <= forecasts.MOST_TIMES + 1
    assert all(cohort.expires_at is not None and cohort.expires_at > MONDAY for cohort in found)


def test_earlier_calls_are_summed_up_by_batch_hour_and_outcome(world: World) -> None:
    batch_id = world.batch(30, max_concurrent_calls=30)
    world.run(lambda: world.is_over(batch_id))
    newest = world.batch(1, start=False)
    with world.db.begin() as connection:
        found = forecasts.call_sums(
            connection, world.installed.workspace_id, newest, "Europe/Berlin", MONDAY.subtract(days=30)
        )
        later = forecasts.call_sums(
            connection, world.installed.workspace_id, newest, "Europe/Berlin", world.clock.now.add(days=30)
        )
    assert later == []
    assert sum(sums.calls for sums in found) == world.value("SELECT count(*) FROM attempts WHERE outcome IS NOT NULL")
    assert {sums.hour for sums in found} == {9}
    answered = next(sums for sums in found if sums.outcome is Outcome.ANSWERED)
    mean = answered.slot_seconds / answered.calls
    assert mean == pytest.approx(
        float(
            world.value(
                "SELECT avg(extract(epoch FROM ended_at - created_at)) FROM attempts WHERE outcome = 'answered'"
            )
        )
    )
    assert 0 < answered.talk_seconds / answered.calls < mean


def test_a_forecast_uses_the_calls_of_earlier_batches(world: World) -> None:
    first = world.batch(40, max_concurrent_calls=40)
    world.run(lambda: world.is_over(first))
    rate = make(world, world.batch(5, start=False), ForecastRequest()).assumptions.answer_rate
    assert rate.source == "history"
    assert rate.calls >= 40


def test_newer_batches_without_calls_do_not_hide_the_calls_of_earlier_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "MOST_BATCHES", 2)
    first = world.batch(10, max_concurrent_calls=10)
    world.run(lambda: world.is_over(first))
    for _ in range(3):
        world.batch(1)
    assert make(world, world.batch(5, start=False), ForecastRequest()).assumptions.answer_rate.calls >= 10


def test_predicted_and_true_ends_are_compared_once_a_batch(world: World) -> None:
    batch_id = world.batch(8, max_concurrent_calls=2)
    make(world, batch_id)
    assert make(world, batch_id).calibration is None
    world.run(lambda: world.is_over(batch_id))
    measured = make(world, world.batch(1, start=False)).calibration
    assert measured is not None
    assert measured.batches == 1
    assert measured.median_error_minutes > 0


def paused(world: World, batch_id: BatchId) -> None:
    for status in ("paused", "active"):
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=batch_id)


def edited(world: World, batch_id: BatchId) -> None:
    world.sql("UPDATE batches SET max_concurrent_calls = 9 WHERE id = :id", id=batch_id)


def cancelled(world: World, batch_id: BatchId) -> None:
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=batch_id)


def given_a_contact(world: World, batch_id: BatchId) -> None:
    world.add(batch_id, made_up_phones(1, first=50))


@pytest.mark.parametrize("change", [paused, edited, cancelled, given_a_contact])
def test_a_batch_that_was_changed_after_its_forecast_is_not_compared(
    world: World, change: Callable[[World, BatchId], None]
) -> None:
    batch_id = world.batch(3)
    make(world, batch_id)
    change(world, batch_id)
    world.run(lambda: world.is_over(batch_id))
    assert make(world, world.batch(1, start=False)).calibration is None


@pytest.mark.parametrize(("minutes", "batches"), [(0, 1), (5, 0)])
def test_a_draft_is_compared_if_it_was_started_when_it_was_forecast(world: World, minutes: int, batches: int) -> None:
    batch_id = world.batch(3, start=False)
    make(world, batch_id)
    world.clock.now = world.clock.now.add(minutes=minutes)
    schedule(world, batch_id)
    world.run(lambda: world.is_over(batch_id))
    measured = make(world, world.batch(1, start=False)).calibration
    assert (measured.batches if measured else 0) == batches


def test_a_batch_whose_contacts_are_all_suppressed_ends_at_once(world: World) -> None:
    batch_id = world.batch(2, start=False)
    world.sql(
        """
        INSERT INTO suppressions (id, workspace_id, phone_number)
        SELECT gen_random_uuid(), workspace_id, phone_number FROM contacts JOIN batches b ON b.id = batch_id
        """
    )
    found = make(world, batch_id).forecast
    assert found.ends.p90 == MONDAY
    assert found.not_reached == {"suppressed": 2}


def test_the_number_of_forecasts_that_are_kept_is_bounded(world: World) -> None:
    batch_id = world.batch(1, start=False)
    for _ in range(forecasts.MOST_KEPT + 1):
        make(world, batch_id)
    assert world.value("SELECT count(*) FROM forecasts") == forecasts.MOST_KEPT


def limits_of(world: World, **changes: Mapping[str, Any]) -> Any:
    """The limits of a new batch after these changes of tables."""
    for table, values in changes.items():
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        world.sql(f"UPDATE {table} SET {assignments}", **values)
    return make(world, world.batch(3, start=False, max_concurrent_calls=20)).situation.limits


def test_the_limits_of_numbers_and_trunks_are_read(world: World) -> None:
    unlimited = limits_of(world)
    assert (unlimited.trunk_slots, unlimited.calls_per_second, unlimited.number_day) == (None, None, None)
    of_trunk = limits_of(world, trunks={"max_concurrent_calls": 7, "calls_per_second": 2})
    assert (of_trunk.trunk_slots, of_trunk.calls_per_second) == (7, 2.0)
    of_numbers = limits_of(world, phone_numbers={"max_concurrent_calls": 2, "max_calls_per_day": 10})
    assert (of_numbers.trunk_slots, of_numbers.number_day, of_numbers.number_day_used) == (6, 30, 0)


def test_active_batches_that_share_the_trunk_get_their_share_of_it(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 10, calls_per_second = 4")
    world.batch(50, max_concurrent_calls=20)
    result = make(world, world.batch(50, start=False, max_concurrent_calls=20, name="other"))
    assert (result.situation.other_batches, result.situation.limits.trunk_slots) == (1, 5)
    assert result.situation.limits.calls_per_second == 2.0


def test_nothing_but_the_forecast_is_written_and_no_big_table_is_read_from_end_to_end(world: World) -> None:
    store_past(world)
    batch_id = world.batch(40, start=False)
    world.sql("ANALYZE")
    statements = recorded_statements(world.db, lambda: make(world, batch_id))
    begin = [one.sql.split()[:3] for one in statements]
    assert [words for words in begin if words[0] not in ("SELECT", "WITH")] == [["INSERT", "INTO", "forecasts"]]
    with world.db.begin() as connection:
        scanned = {one.sql: sequentially_scanned_tables(connection, one) for one in statements}
    big = {"contacts", "attempts", "batches", "suppressions"}
    assert {sql: tables & big for sql, tables in scanned.items() if tables & big} == {}
