"""`/suppressions`: numbers that are not called (do-not-call)."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from dialer.api.auth import Operator, Viewer
from dialer.api.envelope import Answer, AskedPage, Listing, answer
from dialer.api.errors import documented
from dialer.api.idempotency import DoOnce
from dialer.api.resources import add_routes, listed
from dialer.api.schemas import ImportReport
from dialer.api.uploads import json_or_file
from dialer.service import contacts, resources, suppressions
from dialer.service.csv_reader import Readable
from dialer.service.fields import Storable
from dialer.service.suppressions import KIND, NewSuppression
from dialer.store.database import Database

router = APIRouter(prefix="/suppressions", tags=["Suppressions"])


class Suppression(BaseModel):
    id: UUID
    phone_number: str
    reason: str | None
    created_at: datetime
    updated_at: datetime


@router.get("")
def list_suppressions(
    caller: Viewer,
    page: AskedPage,
    phone_number: Annotated[Storable | None, Query(description="Only this one, in E.164.", max_length=40)] = None,
) -> Listing[Suppression]:
    """List the suppressed numbers, newest first."""
    return listed(caller, KIND, Suppression, page, {"phone_number": phone_number})


@router.post(
    "",
    status_code=201,
    response_model=Answer[Suppression],
    responses={**documented(400, 409, 413), 200: {"model": Answer[ImportReport], "description": "The file was read."}},
    openapi_extra={"x-upload": "NewSuppression"},
)
async def create_suppression(caller: Operator, request: Request, once: DoOnce) -> Response:
    """Suppress one number; or those of a CSV file, with the column `phone` or `phone_number`, and `reason`."""

    def create(db: Database, new: NewSuppression) -> Answer[Suppression]:
        return answer(Suppression, resources.create(db, KIND, caller.workspace_id, new, caller.now, caller.rng))

    def store(file: Readable) -> contacts.ImportReport:
        return suppressions.import_csv(caller.db, caller.workspace_id, file, caller.now, caller.rng)

    return await json_or_file(request, caller, once, NewSuppression, create, store, status=201)


add_routes(router, lambda _: KIND, KIND, Suppression, Viewer, Operator, creates=False)
