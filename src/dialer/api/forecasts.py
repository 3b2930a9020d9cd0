"""`/batch-calls/{id}/forecast`: when a batch will end, and what delays it."""

from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from dialer.api.auth import Operator
from dialer.api.body import Body, body_of
from dialer.api.envelope import Answer, answer
from dialer.api.errors import documented
from dialer.domain.forecast.assumptions import Source
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.service import forecasts
from dialer.service.forecasts import ForecastRequest

router = APIRouter(prefix="/batch-calls", tags=["Batch calls"])


class ForecastEnds(BaseModel):
    """By when the batch has ended in 10, 50 and 90 % of the runs; null: not within a year."""

    p10: datetime | None
    p50: datetime | None
    p90: datetime | None


class AttemptsOfDay(BaseModel):
    """The median of the attempts on a day in the batch's time zone."""

    date: date
    p50: int


class AttemptsOfHour(BaseModel):
    """The median of the attempts in the hour from `at`."""

    at: datetime
    p50: int


class NotReached(BaseModel):
    """How many contacts will not be reached for this reason."""

    code: Literal["attempts_used", "number_invalid", "expired", "suppressed", "window_never_opens"]
    count: int


class OneMore(BaseModel):
    """What one more unit of the limit would bring. `setting`: the limit; `value`: with one more unit of it."""

    model_config = ConfigDict(from_attributes=True)

    setting: str
    value: str
    ends_earlier_minutes: float


class BindingLimit(BaseModel):
    """Which limit delays the next call most, from `from` to `to`. `one_more` null: it has no unit."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Annotated[datetime, Field(alias="from")]
    to: datetime
    code: Literal[
        "batch_slots_full",
        "trunk_slots_full",
        "trunk_rate",
        "daily_cap",
        "number_day",
        "outside_batch_hours",
        "outside_contact_hours",
        "retry_not_due",
    ]
    one_more: OneMore | None


class AssumedValue(BaseModel):
    """A value, where it comes from, and how many calls it is based on."""

    model_config = ConfigDict(from_attributes=True)

    value: float
    source: Source
    calls: int


class Assumptions(BaseModel):
    """What the forecast assumes. `other_batches`: active batches that share its trunks until it ends."""

    answer_rate: AssumedValue
    mean_talk_seconds: AssumedValue
    mean_ring_seconds: AssumedValue
    outcomes: dict[Outcome, float]
    starts_at: datetime
    other_batches: int


class Calibration(BaseModel):
    """Earlier forecasts of the workspace beside the true ends. `within`: the share between p10 and p90, 0.8 at best.

    `later`: the share that ended after p50.
    """

    model_config = ConfigDict(from_attributes=True)

    batches: int
    within: float
    median_error_minutes: float
    later: float


class Forecast(BaseModel):
    """When a batch ends, and why not earlier. `calibration` null: no forecast batch has ended yet."""

    ends_at: ForecastEnds
    attempts_by_day: list[AttemptsOfDay]
    attempts_by_hour: list[AttemptsOfHour]
    not_reached: list[NotReached]
    binding: list[BindingLimit]
    assumed: Assumptions
    calibration: Calibration | None


@router.post("/{batch_id}/forecast", responses=documented(400, 404, 413))
def forecast_batch_call(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[ForecastRequest], body_of(ForecastRequest, optional=True)],
    request: Request,
) -> Answer[Forecast]:
    """Forecast when a batch ends. Nothing is called; takes some seconds for a large batch."""
    asked = body.read()
    with request.app.state.forecasts.slot(caller.workspace_id):
        result = forecasts.make(caller.db, caller.workspace_id, batch_id, asked, caller.now, caller.rng)
    return answer(Forecast, forecasts.shown(result))
