"""The band of a forecast from history, where batches of one workspace are alike, but not the same."""

from math import exp
from random import Random

import pendulum

from dialer.domain.batch import Batch
from dialer.domain.forecast.assumptions import PRIOR_SHARES, Given, assume
from dialer.domain.forecast.chance import dirichlet, multinomial
from dialer.domain.forecast.forecast import forecast
from dialer.domain.forecast.history import CallSums, History
from dialer.domain.forecast.situation import Cohort, Limits, Situation
from dialer.domain.forecast.timetable import OUTCOMES, timetable
from dialer.domain.forecast.virtual_run import Rates, run
from dialer.domain.ids import BatchId, uuid7
from dialer.domain.retry import REACHED
from domain.test_forecast import a_batch

MONDAY = pendulum.datetime(2026, 3, 2, 8, 0)
# How alike the batches of a workspace are, as a number of calls, and how far their mean durations lie apart.
ALIKE = 60.0
APART = 0.15
TRIALS = 60


def draw_rates(rng: Random, mean: list[float], talk_seconds: float) -> Rates:
    """Draw how the calls of one batch of the workspace go: 10 s of ringing, or 45 s without an answer."""
    shares = dirichlet(rng, [ALIKE * share for share in mean])
    talk = talk_seconds * exp(APART * rng.gauss(0.0, 1.0))
    spread = [talk if outcome in REACHED else 0.0 for outcome in OUTCOMES]
    return Rates([shares] * 24, [10.0 if outcome in REACHED else 45.0 for outcome in OUTCOMES], spread)


def history_of(rng: Random, number: int, rates: Rates, calls: int) -> list[CallSums]:
    batch_id, sums = BatchId(uuid7(MONDAY, Random(number))), []
    counts = multinomial(rng, calls, rates.shares[0])
    for outcome, count, least, spread in zip(OUTCOMES, counts, rates.least, rates.spread, strict=True):
        talks = [rng.expovariate(1 / spread) if spread else 0.0 for _ in range(count)]
        slots = [least + talk for talk in talks]
        sums.append(CallSums(batch_id, 9, outcome, count, sum(slots), sum(slot**2 for slot in slots), sum(talks)))
    return [of_outcome for of_outcome in sums if of_outcome.calls]


def trial(number: int, batch: Batch) -> bool:
    """Forecast one batch with the history of some others; say whether the band holds its end."""
    rng = Random(number)
    mean, talk = dirichlet(rng, [20 * PRIOR_SHARES[outcome] for outcome in OUTCOMES]), rng.uniform(20, 120)
    others = [sums for n in range(rng.randint(2, 10)) for sums in history_of(rng, n, draw_rates(rng, mean, talk), 150)]
    truth = draw_rates(rng, mean, talk)
    own = history_of(rng, 99, truth, 80) if number % 2 else []
    situation = Situation(batch, MONDAY, [Cohort(100)], Limits(10))
    ends = forecast(situation, assume(Given(), History(own, others)), str(number), 40).ends
    true_end = run(timetable(situation, 100), truth, rng).ends
    assert ends.p10 is not None
    assert ends.p90 is not None
    return ends.p10.timestamp() <= true_end <= ends.p90.timestamp()


def test_the_band_holds_four_true_ends_of_five() -> None:
    within = sum(trial(number, a_batch()) for number in range(TRIALS))
    assert 0.7 * TRIALS <= within <= 0.9 * TRIALS, within
