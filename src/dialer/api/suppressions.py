"""`/suppressions`: numbers that are not called (do-not-call)."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from dialer.api.auth import Operator, Viewer
from dialer.api.body import Body, read_body
from dialer.api.envelope import Answer, Listing, PageRequest, answer, page_of
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.api.resources import add_routes, list_page
from dialer.api.schemas import ImportReport
from dialer.api.uploads import csv_upload, import_response, is_json, run_import
from dialer.service import resources, suppressions
from dialer.service.fields import Storable
from dialer.service.suppressions import SUPPRESSION_TYPE, NewSuppression
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
    page: Annotated[PageRequest, page_of(SUPPRESSION_TYPE.table.listed)],
    phone_number: Annotated[Storable | None, Query(description="Only this one, in E.164.", max_length=40)] = None,
) -> Listing[Suppression]:
    """List the suppressed numbers, by default newest first."""
    return list_page(caller, SUPPRESSION_TYPE, Suppression, page, {"phone_number": phone_number})


@router.post(
    "",
    status_code=201,
    response_model=Answer[Suppression],
    responses={
        **documented(400, 409, 413),
        200: {"model": Answer[ImportReport], "description": "The file was read."},
    },
    openapi_extra={"x-upload": "NewSuppression"},
)
async def create_suppression(caller: Operator, request: Request, idempotency: Idempotency) -> Response:
    """Suppress one number; or those of a CSV file, with the column `phone` or `phone_number`, and `reason`."""

    def create(db: Database, new: NewSuppression) -> Answer[Suppression]:
        created = resources.create(db, SUPPRESSION_TYPE, caller.workspace_id, new, caller.now, caller.rng)
        return answer(Suppression, created)

    if is_json(request):
        body = Body(NewSuppression, await read_body(request))
        return await run_in_threadpool(idempotency.run, caller, body, create, status=201)
    with csv_upload(request, caller) as file:
        result = await run_import(suppressions.import_csv, caller.db, caller.workspace_id, file, caller.now, caller.rng)
    return import_response(result)


add_routes(router, SUPPRESSION_TYPE, Suppression, Viewer, Operator, has_create=False)
