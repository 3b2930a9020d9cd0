"""Loads a CSV file of numbers that must not be called, streamed."""

from fastapi import APIRouter, Request, Response

from dialer.api.uploads import csv_upload, run_import
from dialer.console.page import PageRoute, page
from dialer.console.visitor import Acting
from dialer.errors import DialerError
from dialer.service import suppressions

router = APIRouter(prefix="/console/system/suppressions/list", include_in_schema=False, route_class=PageRoute)


@router.post("")
async def load(request: Request, visitor: Acting) -> Response:
    """Store the numbers of the file, and show what became of each row."""
    caller = visitor.caller
    try:
        with csv_upload(request, caller) as file:
            result = await run_import(
                suppressions.import_csv, caller.db, caller.workspace_id, file, caller.now, caller.rng
            )
    except DialerError as error:
        return page(request, "list_refused.html", visitor, status=422, error=error)
    return page(request, "list_report.html", visitor, result=result, noun="number")
