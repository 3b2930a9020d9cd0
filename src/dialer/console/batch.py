"""One batch: its state and figures, and the actions on it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from dialer.api.batch_calls import streamed_results
from dialer.console.fields import Chosen
from dialer.console.forecast import newest_forecast
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.visitor import Acting, SentForm, SignedIn, Visitor
from dialer.console.week import week_of
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import ContactStatus
from dialer.service import batch_views, batches, edit_batch, explain, resources, statistics
from dialer.service.agents import AGENT_TYPE
from dialer.service.batches import Cancellation, Pause
from dialer.service.edit_batch import ChangedBatch
from dialer.service.explain import ListedReason
from dialer.service.fields import Storable

router = APIRouter(prefix="/console/batches/{batch_id}", include_in_schema=False, route_class=PageRoute)


@router.get("")
def show_batch(request: Request, visitor: SignedIn, batch_id: BatchId) -> Response:
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    why = request.app.state.explanations.of(batch, caller.now)
    return page(
        request,
        "batch.html",
        visitor,
        batch=batch | {"why": why},
        **newest_forecast(request, visitor, batch_id),
        error=None,
        agent=_agent_name(visitor, batch["agent_id"]),
        week=week_of(batch, caller.now),
        figures=statistics.of_batch(caller.db, caller.workspace_id, batch_id),
    )


@router.get("/figures")
def show_figures(request: Request, visitor: SignedIn, batch_id: BatchId) -> Response:
    """Show the charts and tables of the batch's calls, without the page around them."""
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    figures = statistics.of_batch(caller.db, caller.workspace_id, batch_id)
    return page(request, "figures.html", visitor, batch=batch, figures=figures)


@router.get("/preview")
def show_preview(request: Request, visitor: SignedIn, batch_id: BatchId) -> Response:
    """Show what would become of a draft's contacts, and whether it can be started; of other batches nothing."""
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    preview = explain.preview_batch(caller.context, caller.workspace_id, batch_id, caller.now)
    return page(request, "preview.html", visitor, batch=batch, preview=preview)


@router.get("/results.csv")
def export_results(
    request: Request,
    visitor: SignedIn,
    batch_id: BatchId,
    status: Chosen[ContactStatus] = None,
    outcome: Chosen[Outcome] = None,
    phone_number: Annotated[Chosen[Storable], Query(max_length=40)] = None,
    external_id: Annotated[Chosen[Storable], Query(max_length=255)] = None,
    reason: Chosen[ListedReason] = None,
) -> StreamingResponse:
    """Stream the results of the contacts that match."""
    return streamed_results(visitor.caller, batch_id, request, status, outcome, phone_number, external_id, reason)


@router.post("/start")
def start(visitor: Acting, batch_id: BatchId, form: SentForm) -> Response:
    """Start a draft when its settings say, or as the form says: `at` a time in its zone, or `now`."""
    caller = visitor.caller
    if form["when"]:
        fields = {"scheduled_at": form["at"]} if form["when"] == "later" else {"schedule_type": "immediate"}
        changed = ChangedBatch.read(fields, caller.now)
        edit_batch.edit(caller.db, caller.workspace_id, batch_id, changed, caller.now)
    batches.schedule(caller.context, caller.workspace_id, batch_id, caller.now)
    return _to(batch_id)


@router.post("/pause")
def pause(visitor: Acting, batch_id: BatchId, form: SentForm) -> Response:
    caller = visitor.caller
    why = Pause.read({"reason": form["reason"] or None}, caller.now)
    batches.pause(caller.db, caller.workspace_id, batch_id, why.reason)
    return _to(batch_id)


@router.post("/resume")
def resume(visitor: Acting, batch_id: BatchId) -> Response:
    batches.resume(visitor.caller.db, visitor.caller.workspace_id, batch_id)
    return _to(batch_id)


@router.post("/cancel")
def cancel(visitor: Acting, batch_id: BatchId, form: SentForm) -> Response:
    caller = visitor.caller
    fields = {"in_progress": form["in_progress"] or "finish", "reason": form["reason"] or None}
    how = Cancellation.read(fields, caller.now)
    batches.cancel(caller.db, caller.workspace_id, batch_id, how)
    batches.hang_up(caller.context, batch_id, caller.rng)
    return _to(batch_id)


@router.post("/delete")
def delete(visitor: Acting, batch_id: BatchId) -> Response:
    batches.delete(visitor.caller.db, visitor.caller.workspace_id, batch_id)
    return RedirectResponse("/console", 303, HEADERS)


def _to(batch_id: BatchId) -> Response:
    return RedirectResponse(f"/console/batches/{batch_id}", 303, HEADERS)


def _agent_name(visitor: Visitor, agent_id: UUID) -> str:
    agent = resources.show(visitor.caller.db, AGENT_TYPE, visitor.caller.workspace_id, agent_id)
    return str(agent["name"])
