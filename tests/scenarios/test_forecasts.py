"""Forecasts beside the true ends of batches that the engine calls on a virtual clock."""

from collections.abc import Callable
from random import Random

import pytest

from dialer.domain.forecast.calibration import calibration
from dialer.domain.ids import BatchId
from dialer.service.forecasts import ForecastResult
from support.forecast_trial import Truth, add_batch, draw_settings, draw_truth, ended, forecast
from support.world import World

Made = dict[BatchId, ForecastResult]
BATCHES = 48


def test_the_band_holds_the_true_ends_of_some_small_batches(make_world: Callable[..., World]) -> None:
    world, rng, made = make_world(), Random(1), Made()
    for number in range(1, 11):
        truth, contacts = draw_truth(rng), rng.randint(6, 14)
        retries = {"retry_failed": True, "max_retry_attempts": 1, "retry_delays": {"no_answer": 5, "rejected": 5}}
        settings = {"max_concurrent_calls": rng.randint(2, 4)} | (retries if number % 2 else {})
        batch_id = add_batch(world, number, truth, contacts, **settings)
        made[batch_id] = forecast(world, batch_id, **truth.given())
    past = ended(world, made)
    within = sum(one.is_within for one in past)
    # Of ten bands that hold 80 % each, fewer than six hold the end once in thirty times; here the seed is fixed.
    assert within >= 6, past
    assert 1 <= sum((one.error_minutes or 0) > 0 for one in past) <= 9


def add_batches(world: World, rng: Random, first: int) -> list[tuple[BatchId, Truth]]:
    """Add batches that differ in everything: size, slots, retries, hours, cap, outcomes, length of conversations."""
    added = []
    for number in range(first, first + BATCHES):
        truth, contacts = draw_truth(rng), rng.randint(12, 40)
        added.append((add_batch(world, number, truth, contacts, **draw_settings(rng, contacts)), truth))
    return added


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_the_band_holds_four_true_ends_of_five(make_world: Callable[..., World]) -> None:
    """Batches of a workspace without history, once with the truth given and once with the prior, from which the truth
    is drawn; then as many batches more, with the history of the first ones.
    """
    world, rng = make_world(), Random(5)
    added = add_batches(world, rng, 1)
    made = {
        "given": {batch_id: forecast(world, batch_id, **truth.given()) for batch_id, truth in added},
        "prior": {batch_id: forecast(world, batch_id) for batch_id, _ in added},
    }
    past = {name: ended(world, of_name) for name, of_name in made.items()}
    more = add_batches(world, rng, 1 + BATCHES)
    past["history"] = ended(world, {batch_id: forecast(world, batch_id) for batch_id, _ in more})
    measured = {name: calibration(of_name) for name, of_name in past.items()}
    of_all = calibration([one for of_name in past.values() for one in of_name])
    assert of_all is not None
    # 144 forecasts: the share has a standard deviation of about 4 %, that of 48 has 6 %.
    assert 0.72 <= of_all.within <= 0.88, measured
    assert all(one is not None and 0.65 <= one.within <= 0.95 for one in measured.values()), measured
    assert 0.3 <= of_all.later <= 0.7, measured
