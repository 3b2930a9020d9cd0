"""Says of each figure whether it has stayed flat: the last quarter of the run beside the first. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from dialer.bench.figure import Row


class Verdict(StrEnum):
    """What became of a figure over the run."""

    FLAT = "flat"  #: It has not left the bound for longer than an eighth of the run.
    RECOVERS = "recovers"  #: It left the bound for a while, and is back.
    REUSED = "reused"  #: Space stayed as large as it had become, and has not grown since.
    GROWS = "GROWS"  #: The last quarter is beyond the bound.


class Kind(StrEnum):
    """What a figure must do, and which of its values the bound is computed from."""

    FLAT = "flat"  #: The last quarter is at most `factor` times the first, plus `allowance`.
    REUSED = "reused"  #: The last quarter is at most that much larger than the largest value before it.
    KEPT = "kept"  #: The first quarter is at most `factor` times the last, plus `allowance`: it has not become less.


@dataclass(frozen=True, slots=True)
class Rule:
    """`name`: of a figure, or the end of it. `allowance`: what is too little to matter, in the figure's unit."""

    name: str
    kind: Kind
    factor: float
    allowance: float


# A figure with fewer values has no quarters.
FEWEST = 4
# The simulated network is not ours, and keeps a record of every call.
NOT_JUDGED = ("network_pss_mib",)
# The first rule that fits counts. Figures without a rule are not judged.
RULES = (
    Rule("calls_per_second", Kind.KEPT, 1.2, 0),
    Rule("refill_median_ms", Kind.FLAT, 1.5, 5),
    Rule("refill_p99_ms", Kind.FLAT, 2, 100),
    Rule("queue", Kind.FLAT, 2, 50),
    Rule("oldest_report_seconds", Kind.FLAT, 2, 1),
    Rule("redis_keys", Kind.FLAT, 1.25, 50),
    Rule("redis_used_mib", Kind.FLAT, 1.25, 2),
    # Its processes touch the 128 MiB of shared buffers little by little.
    Rule("postgres_pss_mib", Kind.FLAT, 1.1, 128),
    Rule("_pss_mib", Kind.FLAT, 1.25, 5),
    Rule("_dead_rows", Kind.FLAT, 2, 2_000),
    Rule("_mib", Kind.REUSED, 1.1, 1),
)


def judge(samples: Sequence[Row]) -> list[Row]:
    """Return a row for each figure: its quarters, its bound and its verdict."""
    found: list[Row] = []
    for name in (name for name in samples[0] if name not in NOT_JUDGED):
        rule = next((rule for rule in RULES if name.endswith(rule.name)), None)
        # A sample in which nothing happened has no refill.
        values = [float(value) for sample in samples if isinstance(value := sample[name], int | float)]
        if rule is not None and len(values) >= FEWEST:
            found.append({"figure": name, **of_values(rule, values)})
    return found


def of_values(rule: Rule, values: Sequence[float]) -> Row:
    """Judge one figure by its values in the order of time."""
    quarter = max(1, len(values) // 4)
    first, last, peak = median(values[:quarter]), median(values[-quarter:]), max(values)
    bound, verdict = _judged(rule, first, last, values[:-quarter])
    return {"first_quarter": first, "largest": peak, "last_quarter": last, "bound": bound, "verdict": verdict}


def _judged(rule: Rule, first: float, last: float, before: Sequence[float]) -> tuple[float, Verdict]:
    match rule.kind:
        case Kind.KEPT:
            bound = (first - rule.allowance) / rule.factor
            return bound, Verdict.FLAT if last >= bound else Verdict.GROWS
        case Kind.REUSED:
            bound = rule.factor * max(before) + rule.allowance
            is_as_before = last <= rule.factor * first + rule.allowance
            return bound, Verdict.GROWS if last > bound else Verdict.FLAT if is_as_before else Verdict.REUSED
    bound = rule.factor * first + rule.allowance
    if last > bound:
        return bound, Verdict.GROWS
    quarter = max(1, len(before) // 3)
    was_beyond = any(median(before[at : at + quarter]) > bound for at in range(len(before) - quarter + 1))
    return bound, Verdict.RECOVERS if was_beyond else Verdict.FLAT
