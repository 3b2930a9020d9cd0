"""`/batch-calls/{batch_id}/contacts`: the people to be called."""

import io
from typing import Annotated

from fastapi import APIRouter, Body

from dialer.api.access import Operator
from dialer.api.envelope import Answer, answer
from dialer.api.errors import documented
from dialer.api.schemas import ImportReport
from dialer.domain.ids import BatchId
from dialer.service import contacts

router = APIRouter(prefix="/batch-calls/{batch_id}/contacts", tags=["Contacts"])


@router.post("", responses=documented(400, 404, 413))
def add_contacts(
    caller: Operator, batch_id: BatchId, file: Annotated[bytes, Body(media_type="text/csv")]
) -> Answer[ImportReport]:
    """Add contacts to a batch that is not over."""
    report = contacts.import_csv(caller.db, caller.workspace_id, batch_id, io.BytesIO(file), caller.now, caller.rng)
    return answer(ImportReport, report)
