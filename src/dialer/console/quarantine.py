"""What of this workspace is in quarantine, and a retry of it. For admins."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from dialer.api.quarantine import EntryId
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.system import is_of_the_owner
from dialer.console.visitor import Managing, SignedInAdmin
from dialer.service import quarantine, quarantine_retry

ROOT = "/console/system/quarantine"
router = APIRouter(prefix=ROOT, include_in_schema=False, route_class=PageRoute)

PAGE = 50


@router.get("")
def list_quarantine(
    request: Request, visitor: SignedInAdmin, offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0
) -> Response:
    caller = visitor.caller
    entries, total = quarantine.list_of(caller.db, caller.workspace_id, PAGE, offset)
    return page(
        request,
        "quarantine.html",
        visitor,
        entries=entries,
        total=total,
        offset=offset,
        limit=PAGE,
        is_of_the_owner=is_of_the_owner(visitor),
    )


@router.post("/{entry_id}/retry")
def retry(visitor: Managing, entry_id: EntryId) -> Response:
    caller = visitor.caller
    quarantine_retry.retry_of(caller.db, caller.workspace_id, entry_id, caller.now, by=caller.key_id)
    return RedirectResponse(ROOT, 303, HEADERS)
