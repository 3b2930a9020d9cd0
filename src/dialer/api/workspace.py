"""`/workspace`: the workspace of the key, and what holds for all its batches."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from dialer.api.auth import Admin, Viewer
from dialer.api.body import Body, body_of
from dialer.api.envelope import Answer, answer
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.service import workspaces
from dialer.service.batch_settings import Token
from dialer.service.fields import PersonLimit
from dialer.service.workspaces import ChangedWorkspace
from dialer.store.database import Database

router = APIRouter(prefix="/workspace", tags=["Workspace"])


class Workspace(BaseModel):
    """A workspace. Only the owner of the installation changes `countries` and `premium_rate`.

    `if_match`: send it with a change, to have that refused if anything has changed meanwhile.
    """

    name: str
    countries: list[str] | None
    premium_rate: bool
    person_limits: list[PersonLimit]
    timezone: str
    keep_batches_days: int | None
    if_match: str
    created_at: datetime


@router.get("")
def get_workspace(caller: Viewer) -> Answer[Workspace]:
    """Read the workspace of the key."""
    return answer(Workspace, workspaces.show(caller.db, caller.workspace_id))


@router.patch("", response_model=Answer[Workspace], responses=documented(400, 409, 413))
def update_workspace(
    caller: Admin,
    body: Annotated[Body[ChangedWorkspace], body_of(ChangedWorkspace)],
    idempotency: Idempotency,
    if_match: Annotated[Token | None, Query(description="As in the body.")] = None,
) -> Response:
    """Change the workspace: limits hold from the next call on, `timezone` for batches that are created from then on,
    `keep_batches_days` for all batches that are over.
    """

    def change(db: Database, changed: ChangedWorkspace) -> Answer[Workspace]:
        return answer(Workspace, workspaces.change(db, caller.workspace_id, changed, if_match))

    return idempotency.run(caller, body, change, status=200)
