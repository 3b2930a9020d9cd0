"""Simulates weeks on the virtual clock, with real Postgres and Redis, and runs the audit after each step.

The simulated network keeps a record of its own, which the engine cannot see: the tests check it, too.
"""

from collections import Counter
from collections.abc import Callable
from datetime import date, time
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest

from dialer.engine.audit import audit
from support.world import World, made_up_phones

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

NINE_TO_FIVE: dict[str, Any] = {"start_time": "09:00", "end_time": "17:00", "working_days": [1, 2, 3, 4, 5]}


def audited(world: World) -> Callable[[], None]:
    def ask() -> None:
        report = audit(world.db, world.clock.now)
        assert report.is_clean, report.violations

    return ask


def rung_twice_at_once(world: World) -> list[str]:
    """Return numbers with two calls at the same time, and attempts with two calls, from the network's records."""
    twice = [attempt for attempt, n in Counter(call.attempt_id for call in world.network.log).items() if n > 1]
    last: dict[str, pendulum.DateTime] = {}
    overlapping = []
    for call in sorted(world.network.log, key=lambda call: call.placed_at):
        if call.to_number in last and call.placed_at < last[call.to_number]:
            overlapping.append(call.to_number)
        last[call.to_number] = call.ended_at
    return [*map(str, twice), *overlapping]


def most_at_once(world: World) -> int:
    """Return the maximum of concurrent calls in the network's records."""
    changes = [(call.placed_at, 1) for call in world.network.log] + [(call.ended_at, -1) for call in world.network.log]
    up = most = 0
    for _, change in sorted(changes):
        up += change
        most = max(most, up)
    return most


def test_a_capped_batch_is_called_over_days_a_weekend_and_a_clock_change(make_world: Callable[..., World]) -> None:
    world = make_world()
    # The Thursday before Berlin's change to summer time.
    world.clock.now = pendulum.datetime(2026, 3, 26, 6, 0)
    batch_id = world.batch(
        1_000, timezone="Europe/Berlin", max_concurrent_calls=20, max_calls_per_day=300, **NINE_TO_FIVE
    )
    world.run(lambda: world.is_over(batch_id), grain=20, each=audited(world))
    berlin = ZoneInfo("Europe/Berlin")
    local = [call.placed_at.astimezone(berlin) for call in world.network.log]
    assert all(time(9) <= at.time() < time(17) for at in local)
    days = Counter(at.date() for at in local)
    assert days == {date(2026, 3, 26): 300, date(2026, 3, 27): 300, date(2026, 3, 30): 300, date(2026, 3, 31): 100}
    # The first call of each day begins at 09:00 local time, before and after the change.
    assert {at.hour for at in (min(a for a in local if a.date() == day) for day in days)} == {9}
    assert most_at_once(world) <= 20
    assert rung_twice_at_once(world) == []


def test_pausing_in_sql_stops_new_calls_and_resuming_goes_on(world: World) -> None:
    batch_id = world.batch(300, max_concurrent_calls=30)
    world.run(world.clock.now.add(seconds=60), grain=5, each=audited(world))
    world.sql("UPDATE batches SET status = 'paused' WHERE id = :id", id=batch_id)
    paused_at, placed = world.clock.now, len(world.network.log)
    left = world.progress(batch_id).dialing
    assert left > 0
    world.run(paused_at.add(hours=2), grain=30, each=audited(world))
    drained = world.progress(batch_id)
    assert len(world.network.log) == placed
    assert drained.dialing == 0
    assert drained.drained_at is not None
    assert paused_at < drained.drained_at < paused_at.add(minutes=12)
    world.sql("UPDATE batches SET status = 'active' WHERE id = :id", id=batch_id)
    world.run(lambda: world.is_over(batch_id), grain=5, each=audited(world))
    assert world.progress(batch_id).status == "completed"
    assert rung_twice_at_once(world) == []


def test_cancelling_in_sql_lets_calls_finish_and_contacts_go(world: World) -> None:
    batch_id = world.batch(200, max_concurrent_calls=20)
    world.run(world.clock.now.add(seconds=30), grain=5)
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=batch_id)
    placed = len(world.network.log)
    world.run(lambda: world.progress(batch_id).dialing == 0, grain=5, each=audited(world))
    progress = world.progress(batch_id)
    assert len(world.network.log) == placed
    assert progress.pending == progress.waiting == 0
    assert progress.cancelled == 200 - placed
    assert progress.completed + progress.failed == placed


def test_nobody_is_called_more_often_than_the_retries_allow(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"busy": 3, "no_answer": 3, "rejected": 1, "failed": 1, "answered": 1})
    batch_id = world.batch(400, max_concurrent_calls=50, retry_failed=True, max_retry_attempts=3)
    world.run(lambda: world.is_over(batch_id), grain=10, each=audited(world))
    calls = Counter(call.to_number for call in world.network.log)
    outcome = {call.to_number: call.outcome for call in world.network.log}
    assert max(calls.values()) == 4
    assert all(calls[number] == 4 for number, last in outcome.items() if last != "answered")
    assert world.progress(batch_id).completed == sum(last == "answered" for last in outcome.values())
    assert rung_twice_at_once(world) == []


def test_three_batches_share_one_trunk_fairly_and_never_exceed_it(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 30")
    phones = made_up_phones(1_500)
    wanted = {"first": 100, "second": 100, "small": 4}
    batch_ids = {
        name: world.batch(phones[n * 500 : (n + 1) * 500], max_concurrent_calls=limit)
        for n, (name, limit) in enumerate(wanted.items())
    }
    shares: list[dict[str, int]] = []

    def note() -> None:
        audited(world)()
        shares.append({name: world.progress(batch_id).dialing for name, batch_id in batch_ids.items()})

    world.run(world.clock.now.add(minutes=8), grain=3, each=note)
    assert most_at_once(world) == 30
    settled = shares[len(shares) // 2 :]
    mean = {name: sum(share[name] for share in settled) / len(settled) for name in wanted}
    # Max-min fairness: the small batch gets all that it wants, the other two share the rest equally.
    assert mean["small"] > 3.5
    assert abs(mean["first"] - mean["second"]) < 2
    assert sum(mean.values()) > 29
    world.run(lambda: world.is_over(*batch_ids.values()), grain=10)
    assert audit(world.db, world.clock.now).is_clean
    assert rung_twice_at_once(world) == []


def test_numbers_that_run_out_of_room_are_passed_over_and_the_batch_goes_on_next_day(world: World) -> None:
    first, second, third = world.installed.number_ids
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 50 WHERE id = :id", id=first)
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 30, max_concurrent_calls = 2 WHERE id = :id", id=second)
    world.sql("UPDATE phone_numbers SET status = 'inactive' WHERE id = :id", id=third)
    batch_id = world.batch(200, max_concurrent_calls=10, phone_rotation_strategy="sequential")
    world.run(lambda: world.is_over(batch_id), grain=10, each=audited(world))
    used = world.rows(
        "SELECT phone_number_id, utc_on, count(*) AS n FROM attempts GROUP BY 1, 2 ORDER BY utc_on, n DESC"
    )
    assert [(row.phone_number_id, row.n) for row in used] == [
        *[(first, 50), (second, 30)] * 2,
        *[(first, 40)],
    ]


def test_round_robin_takes_every_number_in_turn(world: World) -> None:
    batch_id = world.batch(90, max_concurrent_calls=7, phone_rotation_strategy="round_robin")
    world.run(lambda: world.is_over(batch_id), grain=1)
    order = [row.phone_number_id for row in world.rows("SELECT phone_number_id FROM attempts ORDER BY id")]
    by_turn = Counter(order)
    assert set(by_turn.values()) == {30}


def test_a_rate_is_never_exceeded_in_any_second(world: World) -> None:
    world.sql("UPDATE trunks SET calls_per_second = 5")
    batch_id = world.batch(300, max_concurrent_calls=100)
    world.run(lambda: world.is_over(batch_id), grain=0.25, each=lambda: None)
    placed = sorted(call.placed_at for call in world.network.log)
    assert all((placed[n] - placed[n - 5]).total_seconds() >= 1 for n in range(5, len(placed)))
    assert audit(world.db, world.clock.now).is_clean


def test_redis_emptied_in_the_middle_is_rebuilt_and_no_limit_is_exceeded(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 15")
    first = world.batch(made_up_phones(200), max_concurrent_calls=10)
    second = world.batch(made_up_phones(200, first=200), max_concurrent_calls=10)
    flushes = 0

    def flush_now_and_then() -> None:
        nonlocal flushes
        audited(world)()
        if world.rng.random() < 0.2:
            world.flush_redis()
            flushes += 1
            world.rescue()

    world.run(lambda: world.is_over(first, second), grain=5, each=flush_now_and_then)
    assert flushes > 5
    assert most_at_once(world) <= 15
    assert rung_twice_at_once(world) == []


def test_a_contacts_own_zone_decides_when_it_is_called(world: World) -> None:
    new_york, los_angeles = made_up_phones(20), [f"+1310555{n:04}" for n in range(20)]
    batch_id = world.batch(
        [*new_york, *los_angeles], timezone="America/New_York", respect_contact_timezone=True, **NINE_TO_FIVE
    )
    world.run(lambda: world.is_over(batch_id), grain=5, each=audited(world))
    for call in world.network.log:
        zone = "America/Los_Angeles" if call.to_number.startswith("+1310") else "America/New_York"
        assert time(9) <= call.placed_at.astimezone(ZoneInfo(zone)).time() < time(17)


def test_a_sticky_retry_uses_the_number_of_the_first_attempt(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"no_answer": 1})
    batch_id = world.batch(60, retry_failed=True, max_retry_attempts=2, sticky_caller_id=True)
    world.run(lambda: world.is_over(batch_id), grain=5, each=audited(world))
    used = world.rows(
        "SELECT contact_id, count(*) AS n, count(DISTINCT phone_number_id) AS numbers FROM attempts GROUP BY 1"
    )
    assert [(row.n, row.numbers) for row in used] == [(3, 1)] * 60
    assert world.value("SELECT count(DISTINCT phone_number_id) FROM attempts") == 3


def test_every_fault_of_the_network_at_once_loses_nobody_and_rings_nobody_twice(
    make_world: Callable[..., World],
) -> None:
    faults = {"lost": 0.1, "late": 0.1, "repeated": 0.1, "reordered": 0.1}
    placement = {"timeout_before": 0.05, "timeout_after": 0.05, "refused": 0.05, "server_error": 0.05}
    world = make_world(faults=faults | placement)
    batch_id = world.batch(300, max_concurrent_calls=30, retry_failed=True, max_retry_attempts=2)
    world.run(lambda: world.is_over(batch_id), grain=5, each=audited(world))
    progress = world.progress(batch_id)
    assert progress.completed + progress.failed == 300
    assert most_at_once(world) <= 30
    assert rung_twice_at_once(world) == []
