"""A batch with several intervals a day is called in these alone, and the ledger says so."""

from collections.abc import Callable

from pendulum import datetime

from support.engine_steps import assert_audit_is_clean, next_dispatch
from support.ledger_rows import audit_violations
from support.world import MONDAY, World

OTHER = '{"3": [["09:00", "10:00"]]}'
HOURS = {"1": [["08:00", "08:05"], ["08:10", "08:15"]], "2": [["23:59", "00:10"]]}


def test_calls_start_in_each_interval_of_the_day_and_in_none_between(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"busy": 1})
    delays = {"busy": 6}
    batch_id = world.batch(1, calling_hours=HOURS, retry_failed=True, max_retry_attempts=3, retry_delays=delays)
    world.run(lambda: world.is_over(batch_id), grain=60)
    minutes = [round((call.placed_at - MONDAY).total_minutes()) for call in world.network.log]
    assert minutes == [0, 10, 39 * 60 + 59, 40 * 60 + 5]
    assert_audit_is_clean(world)
    world.sql(f"UPDATE attempts SET allowed_by = jsonb_set(allowed_by, '{{calling_hours}}', '{OTHER}')")
    assert set(audit_violations(world)) == {"P3 outside_window"}


def test_hours_that_were_written_in_sql_and_cannot_be_read_close_the_window(world: World) -> None:
    batch_id = world.batch(1)
    for hours in ('{"8": []}', '{"1": 5}', '{"1": [[5, 6]]}', '{"1": [["a", "b"]]}', "{}"):
        world.sql("UPDATE batches SET calling_hours = CAST(:hours AS jsonb)", hours=hours)
        world.dispatch([batch_id])
        assert next_dispatch(world, batch_id)[1] == "window_unreadable"
    assert list(world.network.log) == []


def test_nobody_is_called_on_a_public_holiday_of_the_region_and_the_ledger_names_it(world: World) -> None:
    # Epiphany is a holiday in Bavaria, and not in all of Germany.
    world.clock.now = datetime(2026, 1, 6, 8)
    bavarian, german = (
        world.batch(1, timezone="Europe/Berlin", holidays={"country": "DE", "region": region})
        for region in ("BY", None)
    )
    world.run(lambda: world.is_over(bavarian, german), grain=60)
    began = world.rows("SELECT batch_id, created_at, allowed_by -> 'excluded_dates' AS days FROM attempts ORDER BY 2")
    assert [(row.batch_id, row.created_at, row.days) for row in began] == [
        (german, datetime(2026, 1, 6, 8), []),
        (bavarian, datetime(2026, 1, 6, 23), ["2026-01-06"]),
    ]
    assert_audit_is_clean(world)


def test_holidays_that_are_not_known_close_the_window(world: World) -> None:
    batch_id = world.batch(1)
    for holidays in ('{"country": "XX"}', '{"country": 5}', "{}", '{"country": "DE", "x": 1}'):
        world.sql("UPDATE batches SET holidays = CAST(:holidays AS jsonb)", holidays=holidays)
        world.dispatch([batch_id])
        assert next_dispatch(world, batch_id)[1] == "window_unreadable"
