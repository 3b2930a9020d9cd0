"""`/batch-calls/{batch_id}/clone` and `/retry-failed`: drafts made of other batches."""

from typing import Annotated

from fastapi import APIRouter, Response

from dialer.api.auth import Operator
from dialer.api.batch_calls import shown
from dialer.api.body import Body, body_of
from dialer.api.envelope import Answer
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.api.schemas import BatchCall
from dialer.domain.ids import BatchId
from dialer.service import copies
from dialer.service.copies import Clone, RetryFailed
from dialer.store.database import Database

router = APIRouter(prefix="/batch-calls/{batch_id}", tags=["Batch calls"])


@router.post("/clone", status_code=201, response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413))
def clone_batch_call(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[Clone], body_of(Clone, optional=True)],
    idempotency: Idempotency,
) -> Response:
    """Create a draft with the settings of a batch in any status, without contacts. Times that have passed are left
    out.
    """

    def clone(db: Database, copy: Clone) -> Answer[BatchCall]:
        return shown(caller, copies.clone(db, caller.workspace_id, batch_id, copy, caller.now, caller.rng), db)

    return idempotency.run(caller, body, clone)


@router.post(
    "/retry-failed", status_code=201, response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413)
)
def retry_failed(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[RetryFailed], body_of(RetryFailed, optional=True)],
    idempotency: Idempotency,
) -> Response:
    """Create a draft with the settings of a batch and those of its contacts whose last call ended with one of
    `outcomes`. Contacts that are expired, suppressed or not over are left out.
    """

    def retry(db: Database, which: RetryFailed) -> Answer[BatchCall]:
        return shown(caller, copies.retry_failed(db, caller.workspace_id, batch_id, which, caller.now, caller.rng), db)

    return idempotency.run(caller, body, retry)
