"""How the soak judges its samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from benchmarks.soak.samples import delays_of
from benchmarks.soak.verdict import Kind, Rule, Verdict, judge, of_values

LEVEL = Rule("level", Kind.FLAT, 1.5, 1)
SPACE = Rule("space", Kind.REUSED, 1.1, 0)
RATE = Rule("rate", Kind.KEPT, 1.25, 0)


@dataclass(frozen=True)
class Call:
    start: float
    end: float | None
    is_first: bool = True


def phases(*levels: float) -> list[float]:
    """Ten samples of each level."""
    return [level for level in levels for _ in range(10)]


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        (LEVEL, phases(10, 12, 9, 15), Verdict.FLAT),
        (LEVEL, phases(10, 90, 12, 12), Verdict.RECOVERS),
        (LEVEL, phases(10, 12, 14, 18), Verdict.GROWS),
        (LEVEL, phases(0, 0, 0, 1), Verdict.FLAT),
        (SPACE, phases(10, 10, 11, 11), Verdict.FLAT),
        (SPACE, phases(10, 40, 42, 43), Verdict.REUSED),
        (SPACE, phases(10, 40, 42, 60), Verdict.GROWS),
        (RATE, phases(100, 70, 95, 90), Verdict.FLAT),
        (RATE, phases(100, 70, 95, 70), Verdict.GROWS),
    ],
)
def test_the_last_quarter_is_judged_by_what_was_before(rule: Rule, values: Sequence[float], verdict: Verdict) -> None:
    assert of_values(rule, values)["verdict"] == verdict


def test_single_samples_beyond_the_bound_change_nothing() -> None:
    values = phases(10, 10, 10, 10)
    values[3] = values[25] = values[38] = 500
    assert of_values(LEVEL, values)["verdict"] == Verdict.FLAT


def test_space_that_grows_at_the_same_speed_all_the_time_is_noticed() -> None:
    assert of_values(SPACE, [float(n) for n in range(1, 61)])["verdict"] == Verdict.GROWS


def test_each_figure_with_a_rule_is_judged_by_the_samples_in_which_it_is_known() -> None:
    samples = [{"minute": n, "queue": n % 3, "refill_p99_ms": None, "inbox_mib": 1.0} for n in range(8)]
    assert [(row["figure"], row["verdict"]) for row in judge(samples)] == [("queue", "flat"), ("inbox_mib", "flat")]


def test_slots_of_a_batch_that_has_called_everybody_once_are_not_counted() -> None:
    first = [Call(0, 4), Call(4.5, 8), Call(8.25, 9)]
    assert delays_of([*first, Call(20, 21, is_first=False)], slots=1, since=0) == [500, 250]
    assert delays_of(first, slots=1, since=5) == [250]
