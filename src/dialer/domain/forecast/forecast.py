"""Many runs of one batch: when it ends, how many attempts there are, who is not reached, and which limit binds."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from math import inf
from random import Random
from statistics import median

from pendulum import DateTime, from_timestamp

from dialer.domain.forecast.assumptions import Assumptions
from dialer.domain.forecast.situation import Situation
from dialer.domain.forecast.timetable import OUTCOMES, Timetable, timetable
from dialer.domain.forecast.virtual_run import HOUR, Course, run
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import MOST_NETWORK_FAILURES, REACHED

RUNS = 100
# Fewer runs, but no fewer than LEAST_RUNS, where more cohorts than MOST_COHORTS would make each run long.
LEAST_RUNS = 20
MOST_COHORTS = 2_000
# As many of the runs are repeated with one more unit of a limit.
RUNS_ONE_MORE = 20


@dataclass(frozen=True, slots=True)
class Ends:
    """When a batch ends: in 10, 50 and 90 % of the runs it has ended by then. None: not within a year."""

    p10: DateTime | None
    p50: DateTime | None
    p90: DateTime | None


@dataclass(frozen=True, slots=True)
class OneMore:
    """What one more unit of a limit would bring. `setting`: the limit, `value`: with one more unit of it."""

    setting: str
    value: str
    ends_earlier_minutes: float


@dataclass(frozen=True, slots=True)
class Binding:
    """From `begins` until `ends`, whole hours, this limit delays the next call most."""

    begins: DateTime
    ends: DateTime
    code: str
    one_more: OneMore | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outcome of all runs. Attempts are medians; `not_reached`: contacts by reason, means."""

    ends: Ends
    attempts_by_day: Sequence[tuple[date, int]]
    attempts_by_hour: Sequence[tuple[DateTime, int]]
    not_reached: Mapping[str, int]
    binding: Sequence[Binding]


def forecast(situation: Situation, assumptions: Assumptions, seed: str, runs: int = RUNS) -> Forecast:
    """Run the batch many times. The same arguments give the same forecast."""
    if len(situation.cohorts) > MOST_COHORTS:
        runs = min(runs, max(LEAST_RUNS, runs * MOST_COHORTS // len(situation.cohorts)))
    table = timetable(situation, _expected_calls(situation, assumptions))
    courses = _courses(table, assumptions, seed, runs)
    ends = sorted(course.ends for course in courses)
    return Forecast(
        ends=Ends(*(_moment(quantile(ends, share)) for share in (0.1, 0.5, 0.9))),
        attempts_by_day=_by_day(table, courses),
        attempts_by_hour=_by_hour(courses),
        not_reached=_not_reached(courses),
        binding=_binding(situation, table, assumptions, seed, courses),
    )


def _courses(table: Timetable, assumptions: Assumptions, seed: str, runs: int) -> list[Course]:
    return [_course(table, assumptions, Random(f"{seed}:{number}")) for number in range(runs)]


def _course(table: Timetable, assumptions: Assumptions, rng: Random) -> Course:
    return run(table, assumptions.draw(rng), rng)


def _expected_calls(situation: Situation, assumptions: Assumptions) -> float:
    """Estimate roughly how many calls there will be: each retry goes to the contacts that were not reached before, and
    a call that fails in its network is repeated without using up an attempt.
    """
    rules, shares = situation.batch.retry, dict(zip(OUTCOMES, assumptions.shares, strict=True))
    again = 1.0 - sum(shares[outcome] for outcome in REACHED)
    attempts = sum(again**number for number in range(1 + (rules.max_attempts if rules.enabled else 0)))
    repeats = sum(shares[Outcome.FAILED] ** number for number in range(1 + MOST_NETWORK_FAILURES))
    return situation.contacts * attempts * repeats


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value of a sorted sample below which this share of its distribution lies. Not interpolated: between
    the evening of one day and the morning of the next no batch ends.
    """
    return ordered[min(max(round(share * (len(ordered) + 1)) - 1, 0), len(ordered) - 1)]


def _moment(at: float) -> DateTime | None:
    return from_timestamp(at) if at < inf else None


def _by_day(table: Timetable, courses: Sequence[Course]) -> list[tuple[date, int]]:
    days = _medians([course.days for course in courses])
    return [(table.window.local_day(from_timestamp(begins)), attempts) for begins, attempts in days]


def _by_hour(courses: Sequence[Course]) -> list[tuple[DateTime, int]]:
    return [(from_timestamp(hour * HOUR), n) for hour, n in _medians([course.hours for course in courses])]


def _medians(counts: Sequence[Mapping[float, int]] | Sequence[Mapping[int, int]]) -> list[tuple[float, int]]:
    """Return the median of each key over all runs, in the order of the keys, without those where it is 0."""
    keys = sorted({key for of_run in counts for key in of_run})
    found = ((key, round(median(of_run.get(key, 0) for of_run in counts))) for key in keys)  # type: ignore[arg-type]
    return [(key, attempts) for key, attempts in found if attempts]


def _not_reached(courses: Sequence[Course]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for course in courses:
        totals.update(course.unreached)
    means = {code: round(total / len(courses)) for code, total in totals.most_common()}
    return {code: mean for code, mean in means.items() if mean}


def _binding(
    situation: Situation, table: Timetable, assumptions: Assumptions, seed: str, courses: Sequence[Course]
) -> list[Binding]:
    """Find which limit delays most in each hour until most runs have ended; neighbours with the same are joined."""
    until = quantile(sorted(course.ends for course in courses), 0.9)
    until = until if until < inf else table.ends
    waits: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for course in courses:
        for (hour, delayed_by), seconds in course.waits.items():
            waits[hour][str(delayed_by)] += seconds
    spans: list[list[float | str]] = []
    for hour in sorted(waits):
        begins, ends = max(table.starts, hour * HOUR), min(until, (hour + 1) * HOUR)
        if begins >= ends:
            continue
        code = max(waits[hour], key=waits[hour].__getitem__)
        if spans and spans[-1][2] == code and spans[-1][1] == begins:
            spans[-1][1] = ends
        else:
            spans.append([begins, ends, code])
    codes = {str(code) for *_, code in spans}
    one_more = {code: _one_more(situation, assumptions, seed, code, courses) for code in codes}
    return [
        Binding(from_timestamp(begins), from_timestamp(ends), str(code), one_more[str(code)])  # type: ignore[arg-type]
        for begins, ends, code in spans
    ]


def _one_more(
    situation: Situation, assumptions: Assumptions, seed: str, code: str, courses: Sequence[Course]
) -> OneMore | None:
    """Repeat some runs with one more unit of a limit; None: the limit is no number that could be one more."""
    changed = with_one_more(situation, code)
    if changed is None:
        return None
    setting, value, more = changed
    table = timetable(more, _expected_calls(situation, assumptions))
    pairs = zip(courses, _courses(table, assumptions, seed, min(RUNS_ONE_MORE, len(courses))), strict=False)
    earlier = [before.ends - after.ends for before, after in pairs if before.ends < inf and after.ends < inf]
    return OneMore(setting, value, round(max(0.0, median(earlier)) / 60, 1)) if earlier else None


def with_one_more(situation: Situation, code: str) -> tuple[str, str, Situation] | None:
    """Give a batch one more unit of the limit with this code; return the setting, its new value and the batch."""
    limits = situation.limits
    match code:
        case "batch_slots_full":
            slots = limits.batch_slots + 1
            return "max_concurrent_calls", str(slots), replace(situation, limits=replace(limits, batch_slots=slots))
        case "trunk_slots_full" if limits.trunk_slots is not None:
            slots = limits.trunk_slots + 1
            return "trunk slots", str(slots), replace(situation, limits=replace(limits, trunk_slots=slots))
        case "trunk_rate" if limits.calls_per_second is not None:
            rate = limits.calls_per_second + 1
            return "calls_per_second", f"{rate:g}", replace(situation, limits=replace(limits, calls_per_second=rate))
        case "daily_cap" if limits.calls_per_day is not None:
            cap = limits.calls_per_day + 1
            return "max_calls_per_day", str(cap), replace(situation, limits=replace(limits, calls_per_day=cap))
        case "number_day" if limits.number_day is not None:
            cap = limits.number_day + 1
            return "number day", str(cap), replace(situation, limits=replace(limits, number_day=cap))
        case "outside_batch_hours" | "outside_contact_hours":
            return _one_more_hour(situation)
    return None


def _one_more_hour(situation: Situation) -> tuple[str, str, Situation] | None:
    """Let the window close an hour later; None: then it would never close, or only on the next day."""
    window = situation.batch.window
    if window is None or window.end_time is None or window.end_time >= time(23):
        return None
    end = time(window.end_time.hour + 1, window.end_time.minute)
    if window.start_time == end:
        return None
    later = replace(situation.batch, window=replace(window, end_time=end))
    return "end_time", f"{end:%H:%M}", replace(situation, batch=later)
