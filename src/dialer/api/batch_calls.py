"""`/batch-calls`: create, read, and the actions of operators."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from dialer.api.access import Caller, Operator, Viewer
from dialer.api.body import Body, body_of
from dialer.api.envelope import Answer, AskedPage, Listing, answer, listing
from dialer.api.errors import documented
from dialer.api.idempotency import DoOnce
from dialer.api.schemas import BatchCall
from dialer.domain.ids import AgentId, BatchId
from dialer.domain.states import BatchStatus
from dialer.service import batch_views, batches
from dialer.service.new_batch import NewBatch
from dialer.store.database import Database

router = APIRouter(prefix="/batch-calls", tags=["Batch calls"])


@router.get("")
def list_batch_calls(
    caller: Viewer,
    page: AskedPage,
    agent_id: Annotated[UUID | None, Query(description="Only those of this agent.")] = None,
    status: Annotated[BatchStatus | None, Query(description="Only those in this status.")] = None,
) -> Listing[BatchCall]:
    """List the batches, newest first."""
    found, total = batch_views.listed(
        caller.db,
        caller.workspace_id,
        caller.now,
        agent_id=AgentId(agent_id) if agent_id else None,
        status=status,
        limit=page.limit,
        offset=page.offset,
    )
    return listing(BatchCall, found, total, page)


@router.post("", status_code=201, response_model=Answer[BatchCall], responses=documented(400, 409, 413))
def create_batch_call(caller: Operator, body: Annotated[Body[NewBatch], body_of(NewBatch)], once: DoOnce) -> Response:
    """Create a draft."""

    def create(db: Database, new: NewBatch) -> Answer[BatchCall]:
        batch_id = batches.create(db, caller.workspace_id, new, caller.now, caller.rng)
        return _shown(caller, batch_id, db)

    return once(caller, body, create)


@router.get("/{batch_id}", responses=documented(404))
def get_batch_call(caller: Viewer, batch_id: BatchId) -> Answer[BatchCall]:
    """Read one batch with its counts."""
    return _shown(caller, batch_id)


@router.post("/{batch_id}/schedule", responses=documented(404))
def schedule_batch_call(caller: Operator, batch_id: BatchId) -> Answer[BatchCall]:
    """Start a draft: it becomes active, or scheduled if its time lies ahead."""
    batches.schedule(caller.parts, caller.workspace_id, batch_id, caller.now)
    return _shown(caller, batch_id)


def _shown(caller: Caller, batch_id: BatchId, db: Database | None = None) -> Answer[BatchCall]:
    return answer(BatchCall, batch_views.show(db or caller.db, caller.workspace_id, batch_id, caller.now))
