"""`/batch-calls/{batch_id}/contacts`: the contacts of a batch."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from dialer.api.auth import Operator, Viewer
from dialer.api.body import Body, body_of, read_body
from dialer.api.envelope import Answer, Listing, PageRequest, answer, listing, page_of
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.api.reasons import NotCalledBecause
from dialer.api.schemas import Contact, ContactWithCalls, ImportReport
from dialer.api.uploads import csv_upload, import_response, is_json, run_import
from dialer.domain.ids import BatchId, ContactId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import ContactStatus
from dialer.service import callbacks, contact_edits, contacts, explain
from dialer.service.callbacks import Callback
from dialer.service.contact_edits import ChangedContact
from dialer.service.contact_json import NewContacts
from dialer.service.fields import Storable
from dialer.store.contact_views import CONTACTS
from dialer.store.database import Database

router = APIRouter(prefix="/batch-calls/{batch_id}/contacts", tags=["Contacts"])


@router.post(
    "",
    response_model=Answer[ImportReport],
    responses=documented(400, 404, 409, 413),
    openapi_extra={"x-upload": "NewContacts"},
)
async def add_contacts(caller: Operator, batch_id: BatchId, request: Request, idempotency: Idempotency) -> Response:
    """Add contacts to a batch that is not over: as JSON, or as a CSV file (the body, or the field `file` of a form)."""

    def add(db: Database, new: NewContacts) -> Answer[ImportReport]:
        return answer(ImportReport, contacts.add(db, caller.workspace_id, batch_id, new, caller.now, caller.rng))

    if is_json(request):
        body = Body(NewContacts, await read_body(request))
        return await run_in_threadpool(idempotency.run, caller, body, add, status=200)
    with csv_upload(request, caller) as file:
        result = await run_import(
            contacts.import_csv, caller.db, caller.workspace_id, batch_id, file, caller.now, caller.rng
        )
    return import_response(result)


@router.get("", responses=documented(404))
def list_contacts(
    caller: Viewer,
    batch_id: BatchId,
    page: Annotated[PageRequest, page_of(CONTACTS)],
    status: Annotated[ContactStatus | None, Query(description="Only those in this status.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only those with this outcome.")] = None,
    phone_number: Annotated[Storable | None, Query(description="Only this number.", max_length=40)] = None,
    external_id: Annotated[Storable | None, Query(description="Only those with this id.", max_length=255)] = None,
    reason: NotCalledBecause = None,
) -> Listing[Contact]:
    """List the contacts of a batch, by default in the order in which they were added."""
    because = explain.contacts_because(caller.context, caller.workspace_id, batch_id, reason, caller.now)
    views, total = contacts.list_page(
        caller.db,
        caller.workspace_id,
        batch_id,
        status=status,
        outcome=outcome,
        phone_number=phone_number,
        external_id=external_id,
        because=because,
        limit=page.fetched,
        offset=page.offset,
        after=page.after,
        sort=page.sort,
    )
    return listing(Contact, views, total, page)


@router.get("/{contact_id}", responses=documented(404))
def get_contact(caller: Viewer, batch_id: BatchId, contact_id: ContactId) -> Answer[ContactWithCalls]:
    """Read one contact with its calls, oldest first."""
    return answer(ContactWithCalls, contacts.show(caller.db, caller.workspace_id, batch_id, contact_id))


@router.patch("/{contact_id}", response_model=Answer[ContactWithCalls], responses=documented(400, 404, 409, 413))
def update_contact(
    caller: Operator,
    batch_id: BatchId,
    contact_id: ContactId,
    body: Annotated[Body[ChangedContact], body_of(ChangedContact)],
    idempotency: Idempotency,
) -> Response:
    """Change a contact that is pending or waiting, in a batch that is not over."""

    def change(db: Database, changed: ChangedContact) -> Answer[ContactWithCalls]:
        contact_edits.change(db, caller.workspace_id, batch_id, contact_id, changed, caller.now)
        return answer(ContactWithCalls, contacts.show(db, caller.workspace_id, batch_id, contact_id))

    return idempotency.run(caller, body, change, status=200)


@router.delete("/{contact_id}", status_code=204, responses=documented(404))
def remove_contact(caller: Operator, batch_id: BatchId, contact_id: ContactId) -> None:
    """Take a contact that is pending or waiting out of its batch: once this is answered, it is not called.

    It becomes cancelled, with the reason `removed`. From a draft it is deleted.
    """
    contact_edits.remove(caller.db, caller.workspace_id, batch_id, contact_id, caller.now)


@router.post(
    "/{contact_id}/callback", response_model=Answer[ContactWithCalls], responses=documented(400, 404, 409, 413)
)
def call_contact_back(
    caller: Operator,
    batch_id: BatchId,
    contact_id: ContactId,
    body: Annotated[Body[Callback], body_of(Callback)],
    idempotency: Idempotency,
) -> Response:
    """Call a contact at a time of its own, before all others. It must be pending or waiting."""

    def call_back(db: Database, callback: Callback) -> Answer[ContactWithCalls]:
        callbacks.ask(db, caller.workspace_id, batch_id, contact_id, callback, caller.now)
        return answer(ContactWithCalls, contacts.show(db, caller.workspace_id, batch_id, contact_id))

    return idempotency.run(caller, body, call_back, status=200)
