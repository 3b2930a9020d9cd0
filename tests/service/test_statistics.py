"""Figures of a batch's calls agree with its counts and with the ledger."""

from collections.abc import Callable

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
