"""`dialer batch forecast`: what it prints."""

import json

from api.conftest import Served
from cli.conftest import Dialer
from support.world import World


def test_it_prints_the_band_the_assumptions_and_the_limits(dialer: Dialer, served: Served, world: World) -> None:
    world.batch(20, start=False, name="spring", max_concurrent_calls=2)
    result = dialer("batch", "forecast", "spring", "answer_rate=0.5", "mean_talk_seconds=30")
    assert result.code == 0
    assert "ends: 2026-03-02T" in result.out
    assert "assumed answer_rate: 0.5 (given, 0 calls)" in result.out
    assert "batch_slots_full; max_concurrent_calls 3: ends" in result.out
    shown = json.loads(dialer("batch", "forecast", "spring", "--json").out)
    assert shown["assumed"]["answer_rate"]["source"] == "prior"


def test_a_wrong_value_is_refused_in_one_line(dialer: Dialer, served: Served, world: World) -> None:
    world.batch(1, start=False, name="spring")
    refusal = dialer("batch", "forecast", "spring", "answer_rate=2").refusal
    assert "answer_rate: must be at most 1" in refusal


def test_a_batch_that_does_not_end_within_a_year_is_said_once(dialer: Dialer, served: Served, world: World) -> None:
    world.batch(1, start=False, name="spring")
    world.sql(
        "UPDATE contacts SET status = 'waiting', waits_for = 'not_before', due_at = dialer_now() + interval '3 years'"
    )
    assert "ends: not within a year\n" in dialer("batch", "forecast", "spring").out
