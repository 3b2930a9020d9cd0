"""How a simulated network behaves: which outcomes calls have, how long they take, and what goes wrong.

No time and no chance here: the profile only says how chance will be shaped.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dialer.domain.outcomes import Outcome
from dialer.domain.validation import wrong_field

DRAWN_OUTCOMES = (
    Outcome.ANSWERED,
    Outcome.MACHINE,
    Outcome.BUSY,
    Outcome.NO_ANSWER,
    Outcome.REJECTED,
    Outcome.INVALID_NUMBER,
    Outcome.FAILED,
)
ROUNDING = 1e-9

Seconds = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutcomeWeights(_Section):
    """How often each outcome is drawn, relative to the others; one that is not named never is."""

    answered: Weight = 0.0
    machine: Weight = 0.0
    busy: Weight = 0.0
    no_answer: Weight = 0.0
    rejected: Weight = 0.0
    invalid_number: Weight = 0.0
    failed: Weight = 0.0

    @model_validator(mode="after")
    def _some(self) -> Self:
        if sum(self.weights) <= 0:
            raise wrong_field("needs at least one weight above 0")
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights in the order of `DRAWN_OUTCOMES`."""
        return tuple(getattr(self, outcome) for outcome in DRAWN_OUTCOMES)


REALISTIC_MIX = OutcomeWeights(
    answered=0.38, machine=0.22, busy=0.06, no_answer=0.26, rejected=0.04, invalid_number=0.02, failed=0.02
)


class Durations(_Section):
    """`min` plus an exponential share, cut off at `max`; `mean` is the mean before the cut."""

    min: Seconds
    max: Seconds
    mean: Seconds

    @field_validator("mean")
    @classmethod
    def _between_both(cls, mean: float, info: ValidationInfo) -> float:
        if not info.data.get("min", mean) <= mean <= info.data.get("max", mean):
            raise wrong_field("must lie between min and max")
        return mean


def completed(usual: Durations) -> BeforeValidator:
    """Take what is not given from the usual durations; their bounds give way to a mean that lies outside."""

    def complete(given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        mean = given.get("mean", usual.mean)
        if isinstance(mean, bool) or not isinstance(mean, int | float):
            return {**usual.model_dump(), **given}
        return {"mean": mean, "min": min(usual.min, mean), "max": max(usual.max, mean), **given}

    return BeforeValidator(complete)


SETUP = Durations(mean=0.6, min=0.1, max=3.0)
RING = Durations(mean=8.0, min=1.0, max=25.0)
TALK = Durations(mean=45.0, min=2.0, max=600.0)


class Faults(_Section):
    """Probabilities from 0 to 1. The first four are drawn for each report; of the others one at most befalls a request.

    `lost`: the report never comes. `late`: it comes `late_seconds` later. `repeated`: it comes twice. `reordered`: it
    comes right after the report that should follow it. `timeout_before`, `timeout_after`: the network does not answer
    the placement, and the call does not exist, or does. `refused`, `server_error`: the network refuses the placement.
    """

    lost: Probability = 0.0
    late: Probability = 0.0
    repeated: Probability = 0.0
    reordered: Probability = 0.0
    timeout_before: Probability = 0.0
    timeout_after: Probability = 0.0
    refused: Probability = 0.0
    server_error: Probability = 0.0
    late_seconds: Seconds = 120.0

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        if sum(self.of_placement()) > 1.0 + ROUNDING:
            raise wrong_field("timeout_before, timeout_after, refused and server_error must not exceed 1 together")
        return self

    def of_placement(self) -> tuple[float, float, float, float]:
        return (self.timeout_before, self.timeout_after, self.refused, self.server_error)
