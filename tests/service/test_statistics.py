"""Figures of a batch's calls agree with its counts and with the ledger."""

from collections.abc import Callable
from typing import Any

from dialer.service import statistics
from support.world import World


def test_the_figures_of_a_finished_batch_add_up(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"answered": 0.6, "busy": 0.4})
    batch_id = world.batch(40, timezone="Europe/Berlin", retry_failed=True, max_retry_attempts=1)
    world.run(lambda: world.is_over(batch_id))
    figures = statistics.of_batch(world.db, world.installed.workspace_id, batch_id)
    attempts = world.value("SELECT count(*) FROM attempts")
    assert (figures["calls"], figures["is_complete"]) == (attempts, True)
    assert sum(figures["outcomes"].values()) == attempts
    assert figures["outcomes"]["answered"] == world.progress(batch_id).completed
    assert sum(number["calls"] for number in figures["numbers"]) == attempts
    assert sum(hour["calls"] for hour in figures["hours"]) == attempts
    # 08:00 UTC on a Monday in March is 09:00 in Berlin.
    assert min((hour["weekday"], hour["hour"]) for hour in figures["hours"]) == (1, 9)
    series = figures["series"]
    assert sum(point["started"] for point in series) == sum(point["ended"] for point in series) == attempts
    assert series[-1]["in_progress"] == 0
    assert 0 < max(point["in_progress"] for point in series) <= 10
    assert [point["at"] for point in series] == sorted(point["at"] for point in series)


def test_only_the_latest_calls_are_read(world: World) -> None:
    batch_id = world.batch(12)
    world.run(lambda: world.is_over(batch_id))
    figures = statistics.of_batch(world.db, world.installed.workspace_id, batch_id, most_calls=5)
    assert (figures["calls"], figures["is_complete"]) == (5, False)


def test_a_batch_without_calls_has_empty_figures(world: World) -> None:
    figures = statistics.of_batch(world.db, world.installed.workspace_id, world.batch(3, start=False))
    assert (figures["calls"], figures["since"], figures["series"], figures["outcomes"]) == (0, None, [], {})


def test_a_number_says_how_much_room_all_batches_leave(world: World) -> None:
    workspace_id, number_id = world.installed.workspace_id, world.installed.number_ids[0]
    numbers: dict[str, Any] = {"phone_number_ids": [number_id], "max_concurrent_calls": 2}
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = 5, max_calls_per_day = 100 WHERE id = :id", id=number_id)
    one, other = world.batch(9, **numbers), world.batch(9, **numbers)
    world.run(lambda: world.progress(one).dialing == world.progress(other).dialing == 2)
    (number,) = statistics.of_batch(world.db, workspace_id, one)["numbers"]
    assert (number["in_progress"], number["calls_now"], number["max_concurrent_calls"]) == (2, 4, 5)
    assert (number["calls_today"], number["max_calls_per_day"]) == (4, 100)
    world.run(lambda: world.is_over(one) and world.is_over(other))
    (number,) = statistics.of_batch(world.db, workspace_id, one)["numbers"]
    assert (number["calls"], number["calls_now"], number["calls_today"]) == (9, 0, 18)
    world.clock.now = world.clock.now.add(days=1)
    world.sql("UPDATE phone_numbers SET max_concurrent_calls = NULL WHERE id = :id", id=number_id)
    (number,) = statistics.of_batch(world.db, workspace_id, one)["numbers"]
    assert (number["max_concurrent_calls"], number["calls_today"]) == (None, 0)
