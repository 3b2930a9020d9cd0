"""The forecast of a batch: the newest one that was made, and a new one when an operator asks for it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from pendulum import DateTime

from dialer.console import setting_words
from dialer.console.page import PageRoute, page
from dialer.console.visitor import Acting, Visitor
from dialer.domain.ids import BatchId
from dialer.domain.states import FINAL_BATCH
from dialer.errors import DialerError, NotFound
from dialer.service import batch_views, forecasts
from dialer.service.forecasts import ForecastRequest
from dialer.store.database import Database

router = APIRouter(prefix="/console/batches/{batch_id}/forecast", include_in_schema=False, route_class=PageRoute)

MOST_DAYS = 31
# The details of so many forecasts are kept in a process.
MOST_MADE = 100


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit that delays calls: for how many seconds in all, and what one more unit of it brings."""

    code: str
    seconds: float
    one_more: Any


class MadeForecasts:
    """The latest forecasts that were made in this process, with what is not stored: limits, days and assumptions."""

    def __init__(self) -> None:
        self._made: dict[BatchId, tuple[DateTime, dict[str, Any]]] = {}

    def keep(self, batch_id: BatchId, made_at: DateTime, forecast: dict[str, Any]) -> None:
        others = [(other, made) for other, made in self._made.items() if other != batch_id]
        self._made = dict([*others[1 - MOST_MADE :], (batch_id, (made_at, forecast))])

    def of(self, batch_id: BatchId, made_at: DateTime) -> dict[str, Any] | None:
        """Return the forecast of a batch that was made at this time; None: it was not made here, or long ago."""
        known_at, forecast = self._made.get(batch_id, (None, None))
        return forecast if known_at == made_at else None


@router.post("")
def make_forecast(request: Request, visitor: Acting, batch_id: BatchId) -> Response:
    """Forecast the batch by the history of its workspace. Takes seconds for a large batch."""
    caller = visitor.caller
    error = None
    try:
        with request.app.state.forecasts.slot(caller.workspace_id):
            made = forecasts.make(caller.db, caller.workspace_id, batch_id, ForecastRequest(), caller.now, caller.rng)
        newest = kept(visitor, batch_id)
        if newest:
            request.app.state.made_forecasts.keep(batch_id, newest["made_at"], forecasts.shown(made))
    except NotFound:
        raise
    except DialerError as refusal:
        error = refusal
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    return page(
        request,
        "forecast.html",
        visitor,
        status=422 if error else 200,
        batch=batch,
        error=error,
        **newest_forecast(request, visitor, batch_id),
    )


def newest_forecast(request: Request, visitor: Visitor, batch_id: BatchId) -> dict[str, Any]:
    """Return what the template shows of the newest forecast of a batch."""
    newest = kept(visitor, batch_id)
    forecast = request.app.state.made_forecasts.of(batch_id, newest["made_at"]) if newest else None
    return {
        "kept": newest,
        "forecast": forecast,
        "limits": _limits(forecast["binding"]) if forecast else (),
        "settings": setting_words,
        "most_days": MOST_DAYS,
    }


def with_forecasts(db: Database, batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add to each batch the newest forecast that was made of it; None where there is none, or the batch is over."""
    open_ids = [batch["id"] for batch in batches if batch["status"] not in FINAL_BATCH]
    latest = forecasts.latest(db, open_ids) if open_ids else {}
    return [{**batch, "forecast": latest.get(batch["id"])} for batch in batches]


def kept(visitor: Visitor, batch_id: BatchId) -> Mapping[str, Any] | None:
    """Return the newest forecast that was made of a batch."""
    return forecasts.latest(visitor.caller.db, [batch_id]).get(batch_id)


def _limits(binding: Sequence[Mapping[str, Any]]) -> list[_Limit]:
    """Add up the spans of each limit, the one first that delays calls longest."""
    seconds: dict[str, float] = defaultdict(float)
    for span in binding:
        seconds[span["code"]] += (span["to"] - span["from"]).total_seconds()
    one_more = {span["code"]: span["one_more"] for span in binding}
    limits = [_Limit(code, of_code, one_more[code]) for code, of_code in seconds.items()]
    return sorted(limits, key=lambda limit: -limit.seconds)
