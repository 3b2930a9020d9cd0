"""What the earlier calls of a workspace say about the next ones: outcomes and durations, by batch and hour."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from dialer.domain.forecast.timetable import OUTCOMES
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class CallSums:
    """Calls of one batch with one outcome in one hour of the day.

    `slot_seconds`, `slot_squares`: how long they kept their slots, summed up, and its squares. `talk_seconds`: summed.
    """

    batch_id: BatchId
    hour: int
    outcome: Outcome
    calls: int
    slot_seconds: float
    slot_squares: float
    talk_seconds: float


@dataclass(frozen=True, slots=True)
class Durations:
    """Of the calls with one outcome: how many there were, and how long they kept a slot, in seconds.

    `deviation`: the standard deviation. `talk`: the mean part of it in which somebody talked.
    """

    calls: int
    mean: float
    deviation: float
    talk: float


@dataclass(frozen=True, slots=True)
class History:
    """The calls of the last days: those of the batch itself, and those of the other batches of its workspace."""

    own: Sequence[CallSums] = ()
    others: Sequence[CallSums] = ()

    @property
    def calls(self) -> int:
        return sum(sums.calls for sums in (*self.own, *self.others))

    def own_counts(self) -> list[int]:
        """Count the batch's own calls, in the order of OUTCOMES."""
        return _in_order(_counted(self.own))

    def other_counts(self) -> list[list[int]]:
        """Count the calls of each other batch, in the order of OUTCOMES."""
        by_batch: dict[BatchId, Counter[Outcome]] = defaultdict(Counter)
        for sums in self.others:
            by_batch[sums.batch_id][sums.outcome] += sums.calls
        return [_in_order(counts) for counts in by_batch.values()]

    def by_hour(self) -> dict[int, list[int]]:
        """Count all calls by hour of the day, in the order of OUTCOMES."""
        by_hour: dict[int, Counter[Outcome]] = defaultdict(Counter)
        for sums in (*self.own, *self.others):
            by_hour[sums.hour][sums.outcome] += sums.calls
        return {hour: _in_order(counts) for hour, counts in by_hour.items()}


def _counted(of_calls: Iterable[CallSums]) -> Counter[Outcome]:
    counts: Counter[Outcome] = Counter()
    for sums in of_calls:
        counts[sums.outcome] += sums.calls
    return counts


def _in_order(counts: Mapping[Outcome, int]) -> list[int]:
    return [counts.get(outcome, 0) for outcome in OUTCOMES]


def durations(of_calls: Iterable[CallSums], outcome: Outcome) -> Durations | None:
    """Summarise how long the calls with this outcome were; None: there were none."""
    chosen = [sums for sums in of_calls if sums.outcome is outcome]
    calls = sum(sums.calls for sums in chosen)
    if not calls:
        return None
    mean = sum(sums.slot_seconds for sums in chosen) / calls
    variance = max(0.0, sum(sums.slot_squares for sums in chosen) / calls - mean * mean)
    return Durations(calls, mean, sqrt(variance), sum(sums.talk_seconds for sums in chosen) / calls)
