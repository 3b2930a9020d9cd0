"""Forecasts: when a batch will end, by the rules of dispatch on a virtual clock. Nothing is called."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from pendulum import DateTime
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from dialer.domain.batch import Batch
from dialer.domain.fairness import Demand, fair_order, weight_of
from dialer.domain.forecast.assumptions import Assumptions, Given, assume
from dialer.domain.forecast.calibration import Calibration, calibration
from dialer.domain.forecast.forecast import Forecast, forecast
from dialer.domain.forecast.history import History
from dialer.domain.forecast.situation import Limits, Situation
from dialer.domain.forecast.timetable import OUTCOMES
from dialer.domain.ids import BatchId, WorkspaceId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.domain.trunk import OutboundNumber
from dialer.domain.validation import wrong_field
from dialer.domain.window import HORIZON
from dialer.errors import NotFound, StateConflict
from dialer.service.fields import InputModel
from dialer.store import batch_views, batches, forecasts, numbers, progress
from dialer.store.database import Connection, Database
from dialer.store.forecasts import OtherBatch

HISTORY_DAYS = 30
ROUNDING = 0.001


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong_field("must be a number")
    return value


def _all_together(shares: dict[Outcome, float]) -> dict[Outcome, float]:
    if unknown := [outcome for outcome in shares if outcome not in OUTCOMES]:
        raise wrong_field(f"cannot have {unknown[0]}; it can have {', '.join(sorted(OUTCOMES))}")
    if abs(sum(shares.values()) - 1.0) > ROUNDING:
        raise wrong_field("must add up to 1")
    return shares


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_number)]
Seconds = Annotated[float, Field(ge=0, le=14_400, allow_inf_nan=False), BeforeValidator(_number)]


class ForecastRequest(InputModel):
    """What is known about the next calls; what is absent is taken from history."""

    model_config = ConfigDict(json_schema_extra={"example": {"answer_rate": 0.3, "mean_talk_seconds": 60}})

    answer_rate: Share | None = None
    mean_talk_seconds: Seconds | None = None
    mean_ring_seconds: Seconds | None = None
    outcomes: Annotated[dict[Outcome, Share], AfterValidator(_all_together)] | None = None

    @model_validator(mode="after")
    def _rate_once(self) -> "ForecastRequest":
        if self.answer_rate is not None and self.outcomes is not None:
            raise wrong_field("answer_rate and outcomes cannot both be given; outcomes has the share that is answered")
        return self

    def given(self) -> Given:
        """Return the values as the domain reads them."""
        return Given(self.answer_rate, self.mean_talk_seconds, self.mean_ring_seconds, self.outcomes)


@dataclass(frozen=True, slots=True)
class ForecastResult:
    """A forecast, what it assumes, and how good the earlier forecasts of the workspace were; None: none to compare."""

    forecast: Forecast
    assumptions: Assumptions
    situation: Situation
    calibration: Calibration | None


def make(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, request: ForecastRequest, now: DateTime, rng: Random
) -> ForecastResult:
    """Forecast a batch that is not over, and keep the forecast beside its true end.

    A draft is forecast as if it were started now, a paused batch as if it were resumed now. The same state and the same
    request give the same forecast. No transaction is open while it is computed, which takes seconds.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        request: what the caller knows about the calls.
        now: the current time.
        rng: source of random numbers, for the id of the forecast.

    Returns:
        The forecast.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is over (`batch_is_final`), has no contacts (`batch_has_no_contacts`), its window never opens
            (`window_never_opens`), or it has no active number (`no_outbound_number`).
    """
    with db.begin() as connection:
        situation = _situation(connection, workspace_id, batch_id, now)
        history = _history(connection, situation.batch, now)
        past = forecasts.past(connection, workspace_id)
    batch = situation.batch
    assumptions = assume(request.given(), history, batch.ring_timeout_seconds)
    found = forecast(situation, assumptions, f"{batch.id}:{batch.version}")
    result = ForecastResult(found, assumptions, situation, calibration(past))
    with db.begin() as connection:
        forecasts.insert(connection, _row(result, now, rng))
    return result


def latest(db: Database, batch_ids: Collection[BatchId]) -> dict[BatchId, dict[str, Any]]:
    """Read the newest kept forecast of each of these batches. Nothing is computed.

    Args:
        db: the database.
        batch_ids: the batches, of any workspace.

    Returns:
        Batch -> `made_at`, `p10`, `p50`, `p90` and the `batch_version` that was forecast; absent: none was made.
    """
    with db.begin() as connection:
        return forecasts.latest(connection, batch_ids)


def _situation(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime) -> Situation:
    if not batch_views.belongs(connection, workspace_id, batch_id):
        raise NotFound("No such batch in this workspace")
    (batch,) = batches.load(connection, [batch_id])
    if batch.status in FINAL_BATCH:
        raise StateConflict(
            f"Batch is {batch.status}; only one that is not over has an end ahead", code="batch_is_final"
        )
    if not batch.pending + batch.waiting + batch.dialing:
        raise StateConflict("The batch has no contacts to call", code="batch_has_no_contacts")
    starts_at = _starts_at(connection, batch, now)
    if batch.window is None or batch.window.next_open(starts_at) is None:
        raise StateConflict("The calling window never opens", code="window_never_opens")
    outbound = [number for number in numbers.of_batches(connection, [batch_id]).get(batch_id, []) if number.is_usable]
    if not outbound:
        raise StateConflict("The batch has no active outbound number", code="no_outbound_number")
    trunk_ids = {number.trunk.id for number in outbound}
    others = forecasts.other_batches(connection, workspace_id, batch_id, trunk_ids)
    cohorts, suppressed = forecasts.cohorts(connection, workspace_id, batch_id, now, starts_at + HORIZON)
    return Situation(
        batch=batch,
        starts_at=starts_at,
        cohorts=cohorts,
        limits=_limits(connection, batch, outbound, others, now),
        suppressed=suppressed,
        other_batches=len(others),
        total=_total(connection, batch_id),
    )


def _total(connection: Connection, batch_id: BatchId) -> int:
    found = progress.read(connection, batch_id)
    return found.total if found else 0


def _starts_at(connection: Connection, batch: Batch, now: DateTime) -> DateTime:
    if batch.status is BatchStatus.ACTIVE:
        return now
    return max(now, batches.scheduled_at(connection, batch.id) or now)


def _limits(
    connection: Connection,
    batch: Batch,
    outbound: Sequence[OutboundNumber],
    others: Sequence[OtherBatch],
    now: DateTime,
) -> Limits:
    assert batch.window is not None
    today = batches.calls_today(connection, {batch.id: batch.window.local_day(now)}).get(batch.id, 0)
    caps = [number.max_calls_per_day for number in outbound]
    is_capped = None not in caps
    used = forecasts.number_calls(connection, [number.id for number in outbound], now) if is_capped else 0
    return Limits(
        batch_slots=batch.max_concurrent_calls,
        trunk_slots=_trunk_slots(batch, outbound, others),
        calls_per_second=_calls_per_second(batch, outbound, others),
        calls_per_day=batch.max_calls_per_day,
        # Calls in progress are drawn anew, and counted again.
        calls_today=max(0, today - batch.dialing),
        number_day=sum(cap or 0 for cap in caps) if is_capped else None,
        number_day_used=max(0, used - batch.dialing),
    )


def _trunk_slots(batch: Batch, outbound: Sequence[OutboundNumber], others: Sequence[OtherBatch]) -> int | None:
    """Find how many calls its numbers and trunks let the batch have at once, by max-min fairness; None: any number."""
    total = 0
    for trunk_id in {number.trunk.id for number in outbound}:
        of_trunk = [number for number in outbound if number.trunk.id == trunk_id]
        room = [number.max_concurrent_calls for number in of_trunk]
        limits = [of_trunk[0].trunk_max_concurrent_calls, None if None in room else sum(slots or 0 for slots in room)]
        known = [limit for limit in limits if limit is not None]
        if not known:
            return None
        total += min(known)
    demands = {batch.id: Demand(0, batch.max_concurrent_calls, weight_of(batch.priority))} | {
        other.id: Demand(0, min(other.max_concurrent_calls, other.contacts), weight_of(other.priority))
        for other in others
    }
    return max(1, fair_order(demands)[:total].count(batch.id)) if others else total


def _calls_per_second(batch: Batch, outbound: Sequence[OutboundNumber], others: Sequence[OtherBatch]) -> float | None:
    """Find the batch's share of its trunks' rates, by the weights of the batches; None: a trunk has no rate."""
    rates = {number.trunk.id: number.trunk_calls_per_second for number in outbound}
    if None in rates.values():
        return None
    weights = sum(weight_of(other.priority) for other in others) + weight_of(batch.priority)
    return sum(rate or 0.0 for rate in rates.values()) * weight_of(batch.priority) / weights


def _history(connection: Connection, batch: Batch, now: DateTime) -> History:
    assert batch.window is not None
    since = now.subtract(days=HISTORY_DAYS)
    found = forecasts.call_sums(connection, batch.workspace_id, batch.id, batch.window.timezone, since)
    return History(
        own=[sums for sums in found if sums.batch_id == batch.id],
        others=[sums for sums in found if sums.batch_id != batch.id],
    )


def shown(result: ForecastResult) -> dict[str, Any]:
    """Write a forecast as the API shows it.

    Args:
        result: the forecast.

    Returns:
        Its fields.
    """
    found, measured = result.forecast, result.calibration
    return {
        "ends_at": {"p10": found.ends.p10, "p50": found.ends.p50, "p90": found.ends.p90},
        "attempts_by_day": [{"date": day, "p50": attempts} for day, attempts in found.attempts_by_day],
        "attempts_by_hour": [{"at": at, "p50": attempts} for at, attempts in found.attempts_by_hour],
        "not_reached": [{"code": code, "count": count} for code, count in found.not_reached.items()],
        "binding": [
            {"from": binding.begins, "to": binding.ends, "code": binding.code, "one_more": binding.one_more}
            for binding in found.binding
        ],
        "assumed": _assumed(result),
        "calibration": measured,
    }


def _assumed(result: ForecastResult) -> dict[str, Any]:
    assumptions, shares = result.assumptions, result.assumptions.shares
    return {
        "answer_rate": assumptions.answer_rate,
        "mean_talk_seconds": assumptions.talk_seconds,
        "mean_ring_seconds": assumptions.ring_seconds,
        "outcomes": {outcome.value: round(share, 4) for outcome, share in zip(OUTCOMES, shares, strict=True)},
        "starts_at": result.situation.starts_at,
        "other_batches": result.situation.other_batches,
    }


def _row(result: ForecastResult, now: DateTime, rng: Random) -> dict[str, Any]:
    batch, ends = result.situation.batch, result.forecast.ends
    return {
        "id": uuid7(now, rng),
        "batch_id": batch.id,
        "batch_version": batch.version,
        "contacts": result.situation.total,
        "starts_at": result.situation.starts_at,
        "made_at": now,
        "p10": ends.p10,
        "p50": ends.p50,
        "p90": ends.p90,
        "assumed": json.dumps(_assumed(result), default=_plain),
    }


def _plain(value: Any) -> Any:
    return (
        value.isoformat()
        if isinstance(value, DateTime)
        else {"value": value.value, "source": value.source, "calls": value.calls}
    )
