"""`/batch-calls/{batch_id}/settings` and `/history`: changes of a batch that is not over, and who made them."""

from datetime import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from dialer.api.auth import Operator, Viewer
from dialer.api.batch_calls import shown
from dialer.api.body import Body, body_of
from dialer.api.envelope import SORT, Answer, Listing, NumberedPage, answer, listing
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.api.schemas import BatchCall, Change, PlannedChange
from dialer.domain.ids import BatchId
from dialer.service import batch_history, batch_settings
from dialer.service.batch_settings import ChangedSettings, Token, Undo
from dialer.store.database import Database

router = APIRouter(prefix="/batch-calls/{batch_id}", tags=["Batch calls"])


@router.patch(
    "/settings",
    response_model=Answer[BatchCall] | Answer[PlannedChange],
    responses=documented(400, 404, 409, 413),
)
def update_settings(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[ChangedSettings], body_of(ChangedSettings)],
    idempotency: Idempotency,
    dry_run: Annotated[bool, Query(description="Only answer what the change would do.")] = False,
    if_match: Annotated[Token | None, Query(description="As in the body.")] = None,
) -> Response | Answer[PlannedChange]:
    """Change settings of a batch that is not over. The change holds for every call that is not leaving yet."""
    if dry_run:
        planned = batch_settings.plan(caller.db, caller.workspace_id, batch_id, body.read(), caller.now, if_match)
        changes = {name: [_as_shown(value) for value in values] for name, values in planned.changes.items()}
        return answer(PlannedChange, {"changes": changes, "impact": planned.impact, "if_match": planned.if_match})

    def change(db: Database, changed: ChangedSettings) -> Answer[BatchCall]:
        batch_settings.change(db, caller.workspace_id, batch_id, changed, caller.now, if_match)
        return shown(caller, batch_id, db, body)

    return idempotency.run(caller, body, change, status=200)


@router.post("/settings/undo", response_model=Answer[BatchCall], responses=documented(400, 404, 409, 413))
def undo_settings(
    caller: Operator,
    batch_id: BatchId,
    body: Annotated[Body[Undo], body_of(Undo, optional=True)],
    idempotency: Idempotency,
) -> Response:
    """Take back the latest change of settings. A second undo makes that change again."""

    def undo(db: Database, how: Undo) -> Answer[BatchCall]:
        batch_settings.undo(db, caller.workspace_id, batch_id, how, caller.now)
        return shown(caller, batch_id, db)

    return idempotency.run(caller, body, undo, status=200)


@router.get("/history", responses=documented(404))
def list_changes(
    caller: Viewer,
    batch_id: BatchId,
    page: NumberedPage,
    sort: Annotated[Literal["at", "-at"], SORT] = "-at",
) -> Listing[Change]:
    """List the changes of status and of settings, by default newest first: when, by which key, from where, and why."""
    changes, total = batch_history.list_page(
        caller.db,
        caller.workspace_id,
        batch_id,
        limit=page.fetched,
        offset=page.offset,
        after=page.number,
        oldest_first=sort == "at",
    )
    return listing(Change, changes, total, page)


def _as_shown(value: Any) -> Any:
    return f"{value:%H:%M}" if isinstance(value, time) else value
