"""`/quarantine`: what fails because of its own data, of this workspace alone. Only for admins."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator

from dialer.api.auth import Admin
from dialer.api.body import NoFields
from dialer.api.envelope import Listing, NumberedPage, listing
from dialer.api.errors import documented
from dialer.service import quarantine, quarantine_retry

router = APIRouter(prefix="/quarantine", tags=["Quarantine"])

# What is no number is the id of nothing.
EntryId = Annotated[int, BeforeValidator(lambda text: text if text.isdecimal() and len(text) < 19 else 0)]


class QuarantineEntry(BaseModel):
    """A report stays until it is retried. An attempt or a batch is also retried by the engine itself."""

    id: int
    kind: Literal["report", "attempt", "batch"]
    batch_id: UUID | None
    contact_id: UUID | None
    attempt_id: UUID | None
    error_kind: str | None
    tries: int
    since: datetime
    last_at: datetime


@router.get("")
def list_quarantine(caller: Admin, page: NumberedPage) -> Listing[QuarantineEntry]:
    """List what of this workspace is in quarantine, oldest first. The owner of the machine can read the errors."""
    entries, total = quarantine.list_of(caller.db, caller.workspace_id, page.fetched, page.offset, page.number)
    return listing(QuarantineEntry, entries, total, page)


@router.post("/{entry_id}/retry", status_code=204, responses=documented(404))
def retry_quarantine(caller: Admin, entry_id: EntryId, body: NoFields) -> None:
    """Try it again now: a report is settled, a batch or an attempt becomes due."""
    body.read()
    quarantine_retry.retry_of(caller.db, caller.workspace_id, entry_id, caller.now, by=caller.key_id)
