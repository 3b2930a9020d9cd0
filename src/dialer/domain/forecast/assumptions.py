"""What a forecast assumes of the next calls, and how sure it is: given values, history, or a prior that is stated here.

Outcome shares have a Dirichlet distribution. Its mean is that of the workspace's calls; it is as wide as the batches of
the workspace differ, and the batch's own calls narrow it. Durations are log-normal around their mean in the same way.
Each run draws its own values, so what is not known widens the band of the forecast.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log, sqrt
from random import Random

from dialer.domain.forecast.chance import dirichlet
from dialer.domain.forecast.history import History, durations
from dialer.domain.forecast.timetable import OUTCOMES
from dialer.domain.forecast.virtual_run import Rates
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import REACHED
from dialer.domain.timeouts import RING_SECONDS

ANSWERED = OUTCOMES.index(Outcome.ANSWERED)
# The prior, where the workspace has no calls: about as sure as ten calls are.
PRIOR_SHARES: Mapping[Outcome, float] = {
    Outcome.NO_ANSWER: 0.32,
    Outcome.ANSWERED: 0.35,
    Outcome.MACHINE: 0.15,
    Outcome.BUSY: 0.08,
    Outcome.REJECTED: 0.05,
    Outcome.INVALID_NUMBER: 0.03,
    Outcome.FAILED: 0.02,
}
PRIOR_CALLS = 10.0
PRIOR_TALK_SECONDS = 60.0
PRIOR_RING_SECONDS = 10.0
SETUP_SECONDS = 1.0
# How far a mean duration of the prior may be off, relative to it (one standard deviation).
PRIOR_DOUBT = 0.4
# Calls that nobody answers ring until the timeout, which is known: their doubt, and how much they differ.
NO_ANSWER_DIFFERS = 0.05
# How much batches of one workspace differ (one standard deviation): the answer rate, and mean durations relatively.
# The differences that were measured count more, the more batches there are.
BATCHES_DIFFER = 0.06
DURATIONS_DIFFER = 0.15
DIFFERENCE_COUNTS_AS = 2
# An hour of the day with so many calls counts as much as all hours together.
HOUR_CALLS = 300.0
LEAST_STRENGTH = 5.0


class Source(StrEnum):
    """Where an assumed value comes from."""

    GIVEN = "given"  #: The request names it.
    HISTORY = "history"  #: Calls of the batch and its workspace in the last 30 days.
    PRIOR = "prior"  #: There are no such calls; the value is that of a typical list.


@dataclass(frozen=True, slots=True)
class Given:
    """What the request names; None: not given. `outcomes`: the share of each outcome, adding up to 1."""

    answer_rate: float | None = None
    mean_talk_seconds: float | None = None
    mean_ring_seconds: float | None = None
    outcomes: Mapping[Outcome, float] | None = None


@dataclass(frozen=True, slots=True)
class Assumed:
    """One assumed value. `calls`: how many calls it is based on."""

    value: float
    source: Source
    calls: int


PRIOR_TALK = Assumed(PRIOR_TALK_SECONDS, Source.PRIOR, 0)
PRIOR_RING = Assumed(PRIOR_RING_SECONDS, Source.PRIOR, 0)


@dataclass(frozen=True, slots=True)
class SlotTime:
    """How long calls of one outcome keep a slot. `mean`: in seconds. `deviation`, `doubt`: relative to the mean.

    `doubt`: how far the mean may be off (one standard deviation).
    """

    mean: float
    deviation: float
    doubt: float


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Everything that a run draws from. `weights`: of the Dirichlet distribution, in the order of OUTCOMES.

    `by_hour`: by how much the shares of an hour of the day differ from those of all hours, as factors.
    """

    weights: Sequence[float]
    slot_times: Sequence[SlotTime]
    given: Given = field(default_factory=Given)
    by_hour: Mapping[int, Sequence[float]] = field(default_factory=dict)
    answer_rate: Assumed = Assumed(PRIOR_SHARES[Outcome.ANSWERED], Source.PRIOR, 0)
    talk_seconds: Assumed = PRIOR_TALK
    ring_seconds: Assumed = PRIOR_RING

    @property
    def shares(self) -> list[float]:
        """The expected share of each outcome, in the order of OUTCOMES."""
        return _with_given(_normalised(self.weights), self.given)

    def draw(self, rng: Random) -> Rates:
        """Draw the rates of one run."""
        overall = _with_given(dirichlet(rng, self.weights), self.given)
        of_talk, of_others = rng.gauss(0.0, 1.0), rng.gauss(0.0, 1.0)
        means = [
            time.mean * exp(time.doubt * (of_talk if outcome in REACHED else of_others))
            for outcome, time in zip(OUTCOMES, self.slot_times, strict=True)
        ]
        spreads = [mean * min(1.0, time.deviation) for mean, time in zip(means, self.slot_times, strict=True)]
        return Rates(
            shares=[_tilted(overall, self.by_hour.get(hour)) for hour in range(24)],
            least=[mean - spread for mean, spread in zip(means, spreads, strict=True)],
            spread=spreads,
        )


def assume(given: Given, history: History, ring_timeout_seconds: int | None = None) -> Assumptions:
    """Decide what to assume. `ring_timeout_seconds`: of the batch; None: the usual one."""
    mean, strength = _workspace_shares(history)
    own = history.own_counts()
    weights = [strength * share + count for share, count in zip(mean, own, strict=True)]
    is_given = given.answer_rate is not None or given.outcomes is not None
    return Assumptions(
        weights=weights,
        slot_times=[_slot_time(outcome, given, history, ring_timeout_seconds) for outcome in OUTCOMES],
        given=given,
        by_hour={} if is_given else dict(_by_hour(history, mean)),
        answer_rate=_assumed_rate(given, history, weights),
        talk_seconds=_assumed_talk(given, history),
        ring_seconds=_assumed_ring(given, history),
    )


def _workspace_shares(history: History) -> tuple[list[float], float]:
    """Find the mean shares of the workspace's batches, and as how many calls they count for one more batch."""
    batches = [counts for counts in history.other_counts() if sum(counts)]
    calls = sum(map(sum, batches))
    prior = [PRIOR_SHARES[outcome] for outcome in OUTCOMES]
    if not calls:
        return prior, PRIOR_CALLS
    totals = [sum(column) for column in zip(*batches, strict=True)]
    mean = [(count + PRIOR_CALLS * share) / (calls + PRIOR_CALLS) for count, share in zip(totals, prior, strict=True)]
    rate = mean[ANSWERED]
    differ = _variance_between([(counts[ANSWERED] / sum(counts), sum(counts)) for counts in batches], rate)
    variance = differ * (1.0 + 1.0 / len(batches)) + rate * (1.0 - rate) / (calls + PRIOR_CALLS)
    return mean, max(LEAST_STRENGTH, rate * (1.0 - rate) / variance - 1.0)


def _variance_between(rates: Sequence[tuple[float, int]], mean: float) -> float:
    """Estimate how much the true answer rates of batches differ, from (rate, calls) of each, without the part that is
    chance.
    """
    usual, more = BATCHES_DIFFER**2, len(rates) - 1
    if not more:
        return usual
    seen = sum((rate - mean) ** 2 - mean * (1.0 - mean) / calls for rate, calls in rates) / more
    return (max(0.0, seen) * more + usual * DIFFERENCE_COUNTS_AS) / (more + DIFFERENCE_COUNTS_AS)


def _by_hour(history: History, mean: Sequence[float]) -> Iterator[tuple[int, list[float]]]:
    for hour, counts in history.by_hour().items():
        calls = sum(counts) + HOUR_CALLS
        yield (
            hour,
            [(n + HOUR_CALLS * share) / calls / share if share else 1.0 for n, share in zip(counts, mean, strict=True)],
        )


def _tilted(shares: Sequence[float], factors: Sequence[float] | None) -> Sequence[float]:
    if factors is None:
        return shares
    return _normalised([share * factor for share, factor in zip(shares, factors, strict=True)])


def _normalised(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


def _with_given(shares: Sequence[float], given: Given) -> list[float]:
    """Put the given shares in place of those that were drawn; the others keep their proportions."""
    if given.outcomes is not None:
        return _normalised([given.outcomes.get(outcome, 0.0) for outcome in OUTCOMES])
    if given.answer_rate is None:
        return list(shares)
    rest = 1.0 - shares[ANSWERED]
    left = 1.0 - given.answer_rate
    scaled = [left * share / rest if rest else left / (len(shares) - 1) for share in shares]
    scaled[ANSWERED] = given.answer_rate
    return scaled


def _slot_time(outcome: Outcome, given: Given, history: History, ring_timeout_seconds: int | None) -> SlotTime:
    """Combine the prior, other batches and the batch itself, each weighted by how far its mean may be off."""
    before, talk = _prior_times(outcome, ring_timeout_seconds)
    deviation, doubt = sqrt(talk * talk + (0.3 * before) ** 2) / (before + talk), PRIOR_DOUBT
    if outcome is Outcome.NO_ANSWER:
        deviation = doubt = NO_ANSWER_DIFFERS
    means = [(before + talk, doubt)]
    seen = 0
    for of_calls, differ in ((history.others, DURATIONS_DIFFER), (history.own, 0.0)):
        if (found := durations(of_calls, outcome)) is None or found.mean <= 0.0:
            continue
        if found.calls >= max(seen, 5):
            seen, deviation = found.calls, found.deviation / found.mean
            talk, before = found.talk, found.mean - found.talk
        means.append((found.mean, sqrt(differ**2 + max(deviation, 0.3) ** 2 / found.calls)))
    precision = sum(1.0 / one_doubt**2 for _, one_doubt in means)
    mean = exp(sum(log(value) / one_doubt**2 for value, one_doubt in means) / precision)
    return _given_time(outcome, given, SlotTime(mean, deviation, 1.0 / sqrt(precision)), talk / (before + talk))


def _given_time(outcome: Outcome, given: Given, time: SlotTime, talk_share: float) -> SlotTime:
    """Put the given seconds in place of their part; what is given is not in doubt."""
    if outcome not in REACHED:
        return time
    talk, before = time.mean * talk_share, time.mean * (1.0 - talk_share)
    doubted = time.mean
    if given.mean_talk_seconds is not None:
        talk, doubted = given.mean_talk_seconds, doubted - talk
    if given.mean_ring_seconds is not None:
        doubted -= before
        before = given.mean_ring_seconds + SETUP_SECONDS
    mean = max(talk + before, 0.1)
    return SlotTime(mean, time.deviation, time.doubt * max(0.0, min(1.0, doubted / mean)))


def _prior_times(outcome: Outcome, ring_timeout_seconds: int | None) -> tuple[float, float]:
    """Return how long calls of this outcome last before somebody answers, and after that."""
    match outcome:
        case Outcome.NO_ANSWER:
            return SETUP_SECONDS + (ring_timeout_seconds or RING_SECONDS), 0.0
        case Outcome.ANSWERED | Outcome.MACHINE:
            return SETUP_SECONDS + PRIOR_RING_SECONDS, PRIOR_TALK_SECONDS
        case Outcome.REJECTED:
            return SETUP_SECONDS + PRIOR_RING_SECONDS, 0.0
        case _:
            return 2.0, 0.0


def _assumed_rate(given: Given, history: History, weights: Sequence[float]) -> Assumed:
    rate = _with_given(_normalised(weights), given)[ANSWERED]
    if given.answer_rate is not None or given.outcomes is not None:
        return Assumed(rate, Source.GIVEN, 0)
    return Assumed(rate, Source.HISTORY if history.calls else Source.PRIOR, history.calls)


def _assumed_talk(given: Given, history: History) -> Assumed:
    if given.mean_talk_seconds is not None:
        return Assumed(given.mean_talk_seconds, Source.GIVEN, 0)
    found = durations(history.own, Outcome.ANSWERED) or durations(history.others, Outcome.ANSWERED)
    return Assumed(found.talk, Source.HISTORY, found.calls) if found else PRIOR_TALK


def _assumed_ring(given: Given, history: History) -> Assumed:
    if given.mean_ring_seconds is not None:
        return Assumed(given.mean_ring_seconds, Source.GIVEN, 0)
    found = durations(history.own, Outcome.ANSWERED) or durations(history.others, Outcome.ANSWERED)
    return Assumed(max(0.0, found.mean - found.talk), Source.HISTORY, found.calls) if found else PRIOR_RING
