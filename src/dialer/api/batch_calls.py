"""`/batch-calls`: create, read, change and delete batches, and the actions on them."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from dialer.api.auth import Caller, Operator, Viewer
from dialer.api.body import Body, NoFields, body_of
from dialer.api.envelope import Answer, Listing, PageRequest, answer, listing, page_of
from dialer.api.errors import documented
from dialer.api.explanations import Preview, previewed
from dialer.api.idempotency import Idempotency
from dialer.api.moments import Since, Until
from dialer.api.reasons import NotCalledBecause
from dialer.api.schemas import Audit, BatchCall, Call, Statistics
from dialer.api.streaming import Streamed
from dialer.domain.batch_warnings import warnings_about
from dialer.domain.ids import AgentId, AttemptId, BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState, BatchStatus, ContactStatus
from dialer.engine.audit import audit
from dialer.errors import DialerError
from dialer.service import batch_views, batches, call_reports, edit_batch, explain, results, statistics, workspaces
from dialer.service.batches import Cancellation, Pause
from dialer.service.call_reports import CallReport
from dialer.service.edit_batch import ChangedBatch
from dialer.service.explain import ListedReason
from dialer.service.fields import InputModel, Storable
from dialer.service.new_batch import NewBatch
from dialer.store.batch_views import BATCHES, BatchQuery
from dialer.store.call_views import CALLS
from dialer.store.database import Database

router = APIRouter(prefix="/batch-calls", tags=["Batch calls"])


@router.get("")
def list_batch_calls(
    caller: Viewer,
    page: Annotated[PageRequest, page_of(BATCHES)],
    since: Since,
    until: Until,
    agent_id: Annotated[UUID | None, Query(description="Only those of this agent.")] = None,
    status: Annotated[BatchStatus | None, Query(description="Only those in this status.")] = None,
    name: Annotated[Storable | None, Query(description="Only those with this name.", max_length=255)] = None,
    search: Annotated[
        Storable | None, Query(description="Only those whose name contains this.", max_length=255)
    ] = None,
    label: Annotated[Storable | None, Query(description="Only those with this label.", max_length=50)] = None,
) -> Listing[BatchCall]:
    """List the batches, by default newest first."""
    batches_page, total = batch_views.list_page(
        caller.db,
        caller.workspace_id,
        caller.now,
        BatchQuery(AgentId(agent_id) if agent_id else None, status, name, search, label, since, until),
        limit=page.fetched,
        offset=page.offset,
        after=page.after,
        sort=page.sort,
    )
    return listing(BatchCall, batches_page, total, page)


@router.post("", status_code=201, response_model=Answer[BatchCall], responses=documented(400, 409, 413))
def create_batch_call(
    caller: Operator, body: Annotated[Body[NewBatch], body_of(NewBatch)], idempotency: Idempotency
) -> Response:
    """Create a draft. Its time zone is that of the workspace if none is given."""

    def create(db: Database, new: NewBatch) -> Answer[BatchCall]:
        batch_id = batches.create(db, caller.workspace_id, new, caller.now, caller.rng)
        return shown(caller, batch_id, db, body)

    zone = workspaces.default_zone(caller.db, caller.workspace_id)
    return idempotency.run(caller, body.with_defaults(timezone=zone), create)


@router.get("/{batch_id}", responses=documented(404))
def get_batch_call(caller: Viewer, batch_id: BatchId) -> Answer[BatchCall]:
    """Read one batch with its counts."""
    return shown(caller, batch_id)


@router.patch("/{batch_id}", response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413))
def update_batch_call(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[ChangedBatch], body_of(ChangedBatch)],
    idempotency: Idempotency,
) -> Response:
    """Change a draft: what is absent stays as it is; null clears what may be absent."""

    def edit(db: Database, changed: ChangedBatch) -> Answer[BatchCall]:
        edit_batch.edit(db, caller.workspace_id, batch_id, changed, caller.now)
        return shown(caller, batch_id, db, body)

    return idempotency.run(caller, body, edit, status=200)


@router.delete("/{batch_id}", status_code=204, responses=documented(404))
def delete_batch_call(caller: Operator, batch_id: BatchId) -> None:
    """Delete a batch that is draft, completed, failed or cancelled, with its contacts and calls."""
    batches.delete(caller.db, caller.workspace_id, batch_id)


@router.post(
    "/{batch_id}/schedule",
    response_model=Answer[BatchCall] | Answer[Preview],
    responses=documented(400, 404, 409, 413),
)
def schedule_batch_call(
    caller: Operator,
    batch_id: BatchId,
    body: NoFields,
    idempotency: Idempotency,
    dry_run: Annotated[bool, Query(description="Start nothing: return the preview.")] = False,
) -> Response | Answer[Preview]:
    """Start a draft: it becomes active, or scheduled if its time lies ahead."""
    body.read()
    if dry_run:
        return previewed(caller, batch_id)

    def commit(start: Callable[[Database], object]) -> Response:
        def work(db: Database, _: InputModel) -> Answer[BatchCall]:
            start(db)
            return shown(caller, batch_id, db)

        return idempotency.run(caller, body, work, status=200)

    try:
        return batches.schedule_within(caller.context, caller.workspace_id, batch_id, caller.now, commit)
    except DialerError:
        # The batch may be no draft any more because of an earlier request with this key.
        if replay := idempotency.replay(caller, body):
            return replay
        raise


@router.post("/{batch_id}/pause", response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413))
def pause_batch_call(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[Pause], body_of(Pause, optional=True)],
    idempotency: Idempotency,
) -> Response:
    """Pause a batch: once this is answered, no new call starts. Calls in progress finish."""

    def pause(db: Database, why: Pause) -> Answer[BatchCall]:
        batches.pause(db, caller.workspace_id, batch_id, why.reason)
        return shown(caller, batch_id, db)

    return idempotency.run(caller, body, pause, status=200)


@router.post("/{batch_id}/resume", response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413))
def resume_batch_call(caller: Operator, batch_id: BatchId, body: NoFields, idempotency: Idempotency) -> Response:
    """Resume a paused batch."""

    def resume(db: Database, _: InputModel) -> Answer[BatchCall]:
        batches.resume(db, caller.workspace_id, batch_id)
        return shown(caller, batch_id, db)

    return idempotency.run(caller, body, resume, status=200)


@router.post("/{batch_id}/cancel", response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413))
def cancel_batch_call(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[Cancellation], body_of(Cancellation, optional=True)],
    idempotency: Idempotency,
) -> Response:
    """End a batch for good. Calls in progress finish, or are hung up."""

    def cancel(db: Database, how: Cancellation) -> Answer[BatchCall]:
        batches.cancel(db, caller.workspace_id, batch_id, how)
        return shown(caller, batch_id, db)

    cancelled = idempotency.run(caller, body, cancel, status=200)
    batches.hang_up(caller.context, batch_id, caller.rng)
    return cancelled


@router.get("/{batch_id}/calls", responses=documented(404))
def list_calls(
    caller: Viewer,
    batch_id: BatchId,
    page: Annotated[PageRequest, page_of(CALLS)],
    status: Annotated[AttemptState | None, Query(description="Only those in this state.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only those with this outcome.")] = None,
) -> Listing[Call]:
    """List the calls of a batch, by default newest first."""
    calls, total = results.list_calls(
        caller.db,
        caller.workspace_id,
        batch_id,
        status=status,
        outcome=outcome,
        limit=page.fetched,
        offset=page.offset,
        after=page.after,
        sort=page.sort,
    )
    return listing(Call, calls, total, page)


@router.post(
    "/{batch_id}/calls/{attempt_id}/report", response_model=Answer[Call], responses=documented(400, 404, 409, 413)
)
def report_call(
    caller: Operator,
    batch_id: BatchId,
    attempt_id: AttemptId,
    body: Annotated[Body[CallReport], body_of(CallReport)],
    idempotency: Idempotency,
) -> Response:
    """Store what the agent of a call learnt. Given fields replace those of earlier reports of this call."""

    def report(db: Database, given: CallReport) -> Answer[Call]:
        return answer(Call, call_reports.report(db, caller.workspace_id, batch_id, attempt_id, given, caller.now))

    return idempotency.run(caller, body, report, status=200)


@router.get("/{batch_id}/statistics", responses=documented(404))
def get_statistics(caller: Viewer, batch_id: BatchId) -> Answer[Statistics]:
    """Read figures of the latest 20,000 calls of a batch: outcomes, numbers, and series over time."""
    return answer(Statistics, statistics.of_batch(caller.db, caller.workspace_id, batch_id))


@router.get(
    "/{batch_id}/results.csv",
    response_class=StreamingResponse,
    responses={**documented(404), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def export_results(
    caller: Viewer,
    batch_id: BatchId,
    request: Request,
    status: Annotated[ContactStatus | None, Query(description="Only contacts in this status.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only contacts with this outcome.")] = None,
    phone_number: Annotated[
        Storable | None, Query(description="Only this number, as an import accepts it.", max_length=40)
    ] = None,
    external_id: Annotated[Storable | None, Query(description="Only contacts with this id.", max_length=255)] = None,
    reason: NotCalledBecause = None,
) -> StreamingResponse:
    """Stream the results as CSV, one row per contact."""
    return streamed_results(caller, batch_id, request, status, outcome, phone_number, external_id, reason)


def streamed_results(
    caller: Caller,
    batch_id: BatchId,
    request: Request,
    status: ContactStatus | None,
    outcome: Outcome | None,
    phone_number: str | None,
    external_id: str | None,
    reason: ListedReason | None,
) -> StreamingResponse:
    """Build the response that streams the results; raises Busy where too many exports run."""
    chunks = results.results_csv(
        caller.db,
        caller.workspace_id,
        batch_id,
        status=status,
        outcome=outcome,
        phone_number=phone_number,
        external_id=external_id,
        because=explain.contacts_because(caller.context, caller.workspace_id, batch_id, reason, caller.now),
    )
    headers = {"Content-Disposition": f'attachment; filename="results-{batch_id}.csv"'}
    slot = request.app.state.exports.slot(caller.workspace_id)
    return Streamed(chunks, "text/csv", headers, slot, caller.settings.transfer_timeout_seconds)


@router.get("/{batch_id}/audit", responses=documented(404))
def audit_batch_call(caller: Viewer, batch_id: BatchId, request: Request) -> Answer[Audit]:
    """Recompute the promises from the ledger."""
    batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    with request.app.state.audits.slot(caller.workspace_id):
        return answer(Audit, audit(caller.db, caller.now, batch_id))


def shown(
    caller: Caller, batch_id: BatchId, db: Database | None = None, body: Body[Any] | None = None
) -> Answer[BatchCall]:
    """Answer with the batch as it is now. `body`: of the request that has changed it."""
    batch = batch_views.show(db or caller.db, caller.workspace_id, batch_id, caller.now)
    return answer(BatchCall, batch, warnings_about(batch, caller.now, body.given() if body else None))
