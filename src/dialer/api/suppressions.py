"""`/suppressions`: numbers that are not called (do-not-call)."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from dialer.api.access import Operator, Viewer
from dialer.api.contacts import reported
from dialer.api.envelope import Answer, AskedPage, Listing
from dialer.api.errors import documented
from dialer.api.resources import add_routes, listed
from dialer.api.schemas import ImportReport
from dialer.api.uploads import upload
from dialer.service import contacts, suppressions
from dialer.service.csv_file import Readable
from dialer.service.fields import Storable
from dialer.service.suppressions import KIND

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


add_routes(router, lambda _: KIND, KIND, Suppression, Viewer, Operator)


@router.post(
    "/import",
    response_model=Answer[ImportReport],
    responses=documented(400, 413),
    openapi_extra={"x-upload": ""},
)
async def import_suppressions(caller: Operator, request: Request) -> Response:
    """Suppress the numbers of a CSV file: the column `phone` or `phone_number`, and `reason`."""

    def store(file: Readable) -> contacts.ImportReport:
        return suppressions.import_csv(caller.db, caller.workspace_id, file, caller.now, caller.rng)

    return reported(await upload(request, store))
