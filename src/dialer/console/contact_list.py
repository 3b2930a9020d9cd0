"""Loads a CSV file into a batch: a preview of its first rows, then the file itself, streamed."""

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from dialer.api.body import KIB, json_limits, read_whole
from dialer.api.uploads import csv_upload, run_import
from dialer.console.page import PageRoute, page
from dialer.console.visitor import Acting
from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId
from dialer.errors import DialerError
from dialer.service import contacts

router = APIRouter(prefix="/console/batches/{batch_id}/list", include_in_schema=False, route_class=PageRoute)

MAX_PREVIEW_BYTES = 64 * KIB
PREVIEW_ROWS = 8


@router.post("/preview")
async def preview(request: Request, visitor: Acting, batch_id: BatchId) -> Response:
    """Show how the beginning of a file, which is the body, would be read."""
    caller = visitor.caller
    beginning = await read_whole(request, json_limits(caller.settings, MAX_PREVIEW_BYTES))
    try:
        read = await run_in_threadpool(
            contacts.preview_csv, caller.db, caller.workspace_id, batch_id, beginning, PREVIEW_ROWS
        )
    except DialerError as error:
        return page(request, "list_refused.html", visitor, status=422, error=error)
    rows = [(row, None) if isinstance(row, NewContact) else (None, row) for row in read.rows]
    return page(
        request,
        "list_preview.html",
        visitor,
        columns=read.columns,
        rows=rows,
        is_cut=len(beginning) == MAX_PREVIEW_BYTES,
    )


@router.post("")
async def load(request: Request, visitor: Acting, batch_id: BatchId) -> Response:
    """Store the contacts of the file, and show what became of each row."""
    caller = visitor.caller
    try:
        with csv_upload(request, caller) as file:
            result = await run_import(
                contacts.import_csv, caller.db, caller.workspace_id, batch_id, file, caller.now, caller.rng
            )
    except DialerError as error:
        return page(request, "list_refused.html", visitor, status=422, error=error)
    return page(request, "list_report.html", visitor, result=result)
