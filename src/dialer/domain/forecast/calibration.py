"""Predicted ends beside true ones: how often the band held the true end, and how far the median was off."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pendulum import DateTime


@dataclass(frozen=True, slots=True)
class PastForecast:
    """A forecast of a batch that has ended since. None: not within a year."""

    p10: DateTime | None
    p50: DateTime | None
    p90: DateTime | None
    ended_at: DateTime

    @property
    def is_within(self) -> bool:
        """Say whether the true end lay between p10 and p90."""
        return self.p10 is not None and self.p10 <= self.ended_at and (self.p90 is None or self.ended_at <= self.p90)

    @property
    def error_minutes(self) -> float | None:
        """How much later than p50 the batch ended; negative: earlier."""
        return None if self.p50 is None else (self.ended_at - self.p50).total_seconds() / 60


@dataclass(frozen=True, slots=True)
class Calibration:
    """`within`: the share of the `batches` whose true end lay between p10 and p90; 0.8 is what it should be.

    `median_error_minutes`: of the ends against p50, without its sign. `later`: the share that ended after p50.
    """

    batches: int
    within: float
    median_error_minutes: float
    later: float


def calibration(past: Sequence[PastForecast]) -> Calibration | None:
    """Compare forecasts with true ends; None: there are none to compare."""
    errors = [forecast.error_minutes for forecast in past if forecast.error_minutes is not None]
    if not errors:
        return None
    return Calibration(
        batches=len(past),
        within=round(sum(forecast.is_within for forecast in past) / len(past), 3),
        median_error_minutes=round(median(map(abs, errors)), 1),
        later=round(sum(error > 0 for error in errors) / len(errors), 3),
    )
