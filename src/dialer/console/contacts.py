"""The contacts of a batch, page by page."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from dialer.console.fields import Chosen
from dialer.console.page import PageRoute, page
from dialer.console.visitor import SignedIn
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import ContactStatus
from dialer.errors import InvalidInput
from dialer.service import batch_views, contacts, explain
from dialer.service.explain import ListedReason
from dialer.service.fields import Storable

router = APIRouter(prefix="/console/batches/{batch_id}/contacts", include_in_schema=False, route_class=PageRoute)

PAGE = 100


@router.get("")
def list_contacts(
    request: Request,
    visitor: SignedIn,
    batch_id: BatchId,
    status: Chosen[ContactStatus] = None,
    outcome: Chosen[Outcome] = None,
    phone_number: Annotated[Chosen[Storable], Query(max_length=40)] = None,
    external_id: Annotated[Chosen[Storable], Query(max_length=255)] = None,
    reason: Chosen[ListedReason] = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
) -> Response:
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    filters: dict[str, Any] = {
        "status": status,
        "outcome": outcome,
        "phone_number": phone_number,
        "external_id": external_id,
    }
    error, found = None, []
    try:
        because = explain.contacts_because(caller.context, caller.workspace_id, batch_id, reason, caller.now)
        found = contacts.list_after(
            caller.db, caller.workspace_id, batch_id, after, PAGE + 1, **filters, because=because
        )
    except InvalidInput as wrong:
        error = wrong
    return page(
        request,
        "contacts.html",
        visitor,
        status=422 if error else 200,
        batch=batch,
        contacts=found[:PAGE],
        has_more=len(found) > PAGE,
        filters=filters | {"reason": reason},
        after=after,
        error=error,
    )
