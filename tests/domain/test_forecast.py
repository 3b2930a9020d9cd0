"""Virtual runs of a batch: by the rules of dispatch, and with a band as wide as what is not known."""

from collections.abc import Mapping
from datetime import date, time
from random import Random
from statistics import mean
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.forecast.assumptions import Assumptions, Given, SlotTime, Source, assume
from dialer.domain.forecast.forecast import Forecast, forecast, with_one_more
from dialer.domain.forecast.history import CallSums, History
from dialer.domain.forecast.situation import Cohort, Limits, Situation
from dialer.domain.forecast.timetable import OUTCOMES, timetable
from dialer.domain.forecast.virtual_run import run
from dialer.domain.ids import AgentId, BatchId, WorkspaceId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import RetryRules
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.states import BatchStatus
from dialer.domain.window import CallingWindow

MONDAY = pendulum.datetime(2026, 3, 2, 8, 0)
ALWAYS = CallingWindow("UTC", working_days=frozenset(range(1, 8)))
NINE_TO_FIVE = CallingWindow("UTC", time(9), time(17))
CALL_SECONDS = 40.0
SOME_ID = uuid7(MONDAY, Random(1))


def a_batch(window: CallingWindow = ALWAYS, retries: int = 0, **fields: Any) -> Batch:
    values: dict[str, Any] = {
        "respect_contact_timezone": False,
        "expires_at": None,
        "retry": RetryRules(retries > 0, retries),
    }
    return Batch(
        id=BatchId(SOME_ID),
        workspace_id=WorkspaceId(SOME_ID),
        name="test",
        agent_id=AgentId(SOME_ID),
        status=BatchStatus.ACTIVE,
        version=1,
        strategy=RotationStrategy.RANDOM,
        window=window,
        max_concurrent_calls=10,
        max_calls_per_day=None,
        sticky_caller_id=False,
        priority=5,
        agent_is_active=True,
        connection={},
        pending=0,
        waiting=0,
        dialing=0,
        **(values | fields),
    )


def certain(shares: Mapping[Outcome, float], seconds: float = CALL_SECONDS) -> Assumptions:
    """Assume these outcomes, and that each call takes exactly so long."""
    times = [SlotTime(seconds, 0.0, 0.0) for _ in OUTCOMES]
    return Assumptions([1.0] * len(OUTCOMES), times, Given(outcomes=shares))


ANSWERED = certain({Outcome.ANSWERED: 1.0})
BUSY = certain({Outcome.BUSY: 1.0})


def forecast_of(
    *cohorts: Cohort, batch: Batch | None = None, assumptions: Assumptions = ANSWERED, runs: int = 3, **limits: Any
) -> Forecast:
    of_batch = batch or a_batch()
    situation = Situation(of_batch, MONDAY, cohorts, Limits(**({"batch_slots": 10} | limits)))
    return forecast(situation, assumptions, "seed", runs)


def ends_after(found: Forecast) -> float:
    assert found.ends.p50 is not None
    return (found.ends.p50 - MONDAY).total_seconds()


@given(st.integers(1, 60), st.integers(1, 12))
def test_calls_that_take_equally_long_fill_the_slots_in_rounds(contacts: int, slots: int) -> None:
    found = forecast_of(Cohort(contacts), batch_slots=slots, runs=1)
    assert ends_after(found) == pytest.approx(-(-contacts // slots) * CALL_SECONDS)
    assert found.attempts_by_day == [(date(2026, 3, 2), contacts)]


def test_a_daily_cap_spreads_the_calls_over_days() -> None:
    found = forecast_of(Cohort(10), batch=a_batch(NINE_TO_FIVE), calls_per_day=4, calls_today=1)
    assert found.attempts_by_day == [(date(2026, 3, 2), 3), (date(2026, 3, 3), 4), (date(2026, 3, 4), 3)]
    assert found.ends.p50 == pendulum.datetime(2026, 3, 4, 9, 0, 40)
    assert {binding.code for binding in found.binding} == {"outside_batch_hours", "daily_cap"}


def test_the_cap_of_the_numbers_counts_by_the_utc_day() -> None:
    late = CallingWindow("America/Los_Angeles", time(15), time(17))
    found = forecast_of(Cohort(6), batch=a_batch(late), number_day=3)
    # UTC midnight is at 16:00 in Los Angeles: the window lies in two UTC days.
    assert found.attempts_by_day == [(date(2026, 3, 2), 6)]
    assert found.ends.p50 == pendulum.datetime(2026, 3, 3, 0, 0, 40)


def test_no_call_starts_in_the_last_seconds_of_the_window() -> None:
    slow = certain({Outcome.ANSWERED: 1.0}, 7_198.0)
    window = CallingWindow("UTC", time(8), time(12))
    found = forecast_of(Cohort(3), batch=a_batch(window), assumptions=slow, batch_slots=1)
    assert found.attempts_by_day == [(date(2026, 3, 2), 2), (date(2026, 3, 3), 1)]


def test_a_rate_keeps_calls_apart() -> None:
    found = forecast_of(Cohort(10), calls_per_second=0.1)
    assert ends_after(found) == pytest.approx(9 * 10.2 + CALL_SECONDS)
    assert [binding.code for binding in found.binding] == ["trunk_rate"]


def test_a_trunk_with_fewer_slots_than_the_batch_binds() -> None:
    found = forecast_of(Cohort(10), trunk_slots=5)
    assert ends_after(found) == 2 * CALL_SECONDS
    (binding,) = found.binding
    assert binding.code == "trunk_slots_full"
    assert binding.one_more is not None
    assert binding.one_more.value == "6"


def test_contacts_that_are_never_reached_are_called_as_often_as_the_rules_allow() -> None:
    found = forecast_of(Cohort(7), batch=a_batch(retries=2), assumptions=BUSY)
    assert sum(attempts for _, attempts in found.attempts_by_day) == 21
    assert found.not_reached == {"attempts_used": 7}
    assert ends_after(found) == 3 * CALL_SECONDS + 2 * 600
    assert [binding.code for binding in found.binding] == ["retry_not_due"]


def test_a_retry_that_is_due_in_the_night_waits_for_the_morning() -> None:
    window = CallingWindow("UTC", time(8), time(8, 5))
    found = forecast_of(Cohort(1), batch=a_batch(window, retries=1), assumptions=BUSY)
    assert found.ends.p50 == pendulum.datetime(2026, 3, 3, 8, 0, 40)
    assert [binding.code for binding in found.binding] == ["outside_batch_hours"]


def test_a_contact_whose_number_is_invalid_is_called_once() -> None:
    found = forecast_of(Cohort(4), batch=a_batch(retries=3), assumptions=certain({Outcome.INVALID_NUMBER: 1.0}))
    assert found.not_reached == {"number_invalid": 4}
    assert sum(attempts for _, attempts in found.attempts_by_day) == 4


def test_a_call_that_fails_in_its_network_uses_up_no_attempt() -> None:
    found = forecast_of(Cohort(1), assumptions=certain({Outcome.FAILED: 1.0}))
    # Ten calls are spared; the one after them uses up the only attempt.
    assert found.attempts_by_day == [(date(2026, 3, 2), 11)]
    assert found.not_reached == {"attempts_used": 1}


def test_contacts_that_expire_before_their_turn_are_not_called() -> None:
    expires_at = MONDAY.add(seconds=60)
    found = forecast_of(Cohort(10, expires_at=expires_at), batch_slots=2)
    assert found.not_reached == {"expired": 6}
    found = forecast_of(Cohort(10), batch=a_batch(expires_at=expires_at), batch_slots=2)
    assert found.not_reached == {"expired": 6}
    assert ends_after(found) == 2 * CALL_SECONDS


def test_contacts_in_other_zones_are_called_when_their_window_opens() -> None:
    batch = a_batch(NINE_TO_FIVE, respect_contact_timezone=True)
    berlin, tokyo = Cohort(1, zones=("Europe/Berlin",)), Cohort(1, zones=("Asia/Tokyo",))
    # At 8:00 UTC it is 9:00 in Berlin, and 17:00 in Tokyo.
    found = forecast_of(berlin, tokyo, batch=batch)
    assert found.ends.p50 == pendulum.datetime(2026, 3, 3, 0, 0, 40)
    assert {binding.code for binding in found.binding} == {"outside_contact_hours"}


def test_contacts_whose_zones_are_never_open_together_are_not_reached() -> None:
    batch = a_batch(CallingWindow("UTC", time(9), time(10)), respect_contact_timezone=True)
    found = forecast_of(Cohort(3, zones=("Europe/Berlin", "Asia/Tokyo")), Cohort(1), batch=batch)
    assert found.not_reached == {"window_never_opens": 3}


def test_a_call_in_progress_goes_on_while_the_window_is_closed() -> None:
    late = CallingWindow("UTC", time(12), time(17))
    found = forecast_of(Cohort(1, attempts=1, is_dialing=True), batch=a_batch(late))
    assert ends_after(found) == CALL_SECONDS


def test_waiting_contacts_are_called_when_they_are_due_and_not_if_their_retries_were_taken_back() -> None:
    waiting = Cohort(2, attempts=1, due_at=MONDAY.add(hours=1))
    assert ends_after(forecast_of(waiting, batch=a_batch(retries=1))) == 3_600 + CALL_SECONDS
    assert forecast_of(waiting, Cohort(1)).not_reached == {"attempts_used": 2}


@given(st.integers(1, 80), st.integers(0, 3), st.floats(0, 1), st.integers(1, 20), st.integers(0, 9))
def test_each_contact_is_reached_or_counted_as_not_reached(
    contacts: int, retries: int, answered: float, cap: int, seed: int
) -> None:
    outcomes = {Outcome.ANSWERED: answered, Outcome.NO_ANSWER: 1 - answered}
    batch = a_batch(NINE_TO_FIVE, retries, expires_at=MONDAY.add(days=seed))
    found = forecast_of(Cohort(contacts), batch=batch, assumptions=certain(outcomes), calls_per_day=cap, runs=1)
    attempts = sum(n for _, n in found.attempts_by_day)
    assert attempts <= contacts * (1 + retries)
    assert max((n for _, n in found.attempts_by_day), default=0) <= cap
    assert sum(found.not_reached.values()) <= contacts
    if answered == 0:
        assert sum(found.not_reached.values()) == contacts
    assert sum(n for _, n in found.attempts_by_hour) == attempts


def test_many_contacts_end_when_their_work_is_done_however_they_are_drawn_together() -> None:
    outcomes = {Outcome.ANSWERED: 0.5, Outcome.NO_ANSWER: 0.5}
    found = forecast_of(Cohort(100_000), batch=a_batch(retries=1), assumptions=certain(outcomes), batch_slots=100)
    assert ends_after(found) == pytest.approx(150_000 * CALL_SECONDS / 100, rel=0.01)
    assert found.not_reached["attempts_used"] == pytest.approx(25_000, rel=0.02)


def test_calls_that_are_drawn_together_end_when_single_ones_do() -> None:
    outcomes = {Outcome.ANSWERED: 0.5, Outcome.NO_ANSWER: 0.35, Outcome.BUSY: 0.1, Outcome.FAILED: 0.05}
    situation = Situation(a_batch(retries=2), MONDAY, [Cohort(1_200)], Limits(10))
    single, together = timetable(situation, 1_500), timetable(situation, 5_000)
    assert (single.chunk, together.chunk) == (1, 10)
    assumptions = certain(outcomes)
    ends = [
        [run(table, assumptions.draw(rng), rng).ends for rng in map(Random, range(25))] for table in (single, together)
    ]
    one, other = (mean(of_table) - MONDAY.timestamp() for of_table in ends)
    assert other == pytest.approx(one, rel=0.015)


def test_a_batch_that_takes_more_than_a_year_has_no_end() -> None:
    found = forecast_of(Cohort(1_000), calls_per_day=1)
    assert found.ends.p50 is None
    # Of the first and the last day only a part lies in the year.
    assert len(found.attempts_by_day) == 367


def sums(batch: int, answered: int, unanswered: int, hour: int = 10) -> list[CallSums]:
    batch_id = BatchId(uuid7(MONDAY, Random(batch)))
    talk, ring = 30.0, 12.0
    return [
        CallSums(
            batch_id, hour, Outcome.ANSWERED, answered, answered * 42.0, answered * (42.0**2 + 900), answered * talk
        ),
        CallSums(batch_id, hour, Outcome.NO_ANSWER, unanswered, unanswered * 46.0, unanswered * 46.0**2, 0 * ring),
    ]


def width(found: Forecast) -> float:
    assert found.ends.p10 is not None
    assert found.ends.p90 is not None
    return (found.ends.p90 - found.ends.p10).total_seconds()


def test_the_band_is_the_wider_the_less_is_known() -> None:
    history = {
        "prior": History(),
        "short": History(others=sums(1, 10, 20)),
        "long": History(others=[entry for n in range(9) for entry in sums(n, 600, 1_200)]),
        "own": History(own=sums(1, 3_000, 6_000), others=sums(2, 600, 1_200)),
    }
    widths = {
        name: width(forecast_of(Cohort(4_000), assumptions=assume(Given(), of_name), runs=25))
        for name, of_name in history.items()
    }
    assert widths["prior"] > widths["short"] > widths["long"] > widths["own"]


def test_what_is_assumed_says_where_it_comes_from() -> None:
    prior, given_rate = assume(Given(), History()), assume(Given(answer_rate=0.2), History(own=sums(1, 50, 50)))
    assert (prior.answer_rate.source, prior.answer_rate.calls) == (Source.PRIOR, 0)
    assert given_rate.answer_rate.value == pytest.approx(0.2)
    assert given_rate.answer_rate.source is Source.GIVEN
    assert (given_rate.talk_seconds.value, given_rate.talk_seconds.source) == (30.0, Source.HISTORY)
    known = assume(Given(), History(others=[entry for n in range(5) for entry in sums(n, 300, 700)]))
    assert known.answer_rate.value == pytest.approx(0.3, abs=0.01)
    assert known.answer_rate.calls == 5_000


def test_an_hour_in_which_more_people_answered_is_expected_to_be_better() -> None:
    known = assume(Given(), History(own=[*sums(1, 900, 100, hour=18), *sums(1, 100, 900, hour=9)]))
    rates = known.draw(Random(1))
    answered = OUTCOMES.index(Outcome.ANSWERED)
    assert rates.shares[18][answered] > rates.shares[12][answered] > rates.shares[9][answered]


@pytest.mark.parametrize(
    ("code", "setting", "value"),
    [
        ("batch_slots_full", "max_concurrent_calls", "11"),
        ("daily_cap", "max_calls_per_day", "6"),
        ("trunk_rate", "calls_per_second", "1.5"),
        ("outside_batch_hours", "end_time", "18:00"),
    ],
)
def test_one_more_unit_of_a_limit_ends_the_batch_no_later(code: str, setting: str, value: str) -> None:
    limits = Limits(10, calls_per_second=0.5, calls_per_day=5)
    situation = Situation(a_batch(NINE_TO_FIVE), MONDAY, [Cohort(30)], limits)
    changed = with_one_more(situation, code)
    assert changed is not None
    assert changed[:2] == (setting, value)
    before, after = (forecast(of_one, ANSWERED, "x", 5).ends.p50 for of_one in (situation, changed[2]))
    assert isinstance(before, DateTime)
    assert isinstance(after, DateTime)
    assert after <= before


def test_the_same_state_gives_the_same_forecast() -> None:
    first, second = (forecast_of(Cohort(50), assumptions=assume(Given(), History())) for _ in range(2))
    assert first == second
