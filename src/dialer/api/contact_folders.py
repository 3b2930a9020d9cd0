"""`/contact-folders`: contacts that are kept for several batches."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from dialer.api.auth import Operator, Viewer
from dialer.api.body import Body, body_of, read_body
from dialer.api.envelope import Answer, Listing, PageRequest, answer, listing, page_of
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.api.resources import add_routes, list_page
from dialer.api.schemas import ImportReport
from dialer.api.uploads import csv_upload, import_response, is_json, run_import
from dialer.domain.ids import ContactId, FolderId
from dialer.service import folders
from dialer.service.contact_json import NewContacts
from dialer.service.fields import Storable
from dialer.service.folders import ChangedFolderContact
from dialer.store.database import Database
from dialer.store.folder_contacts import FOLDER_CONTACTS

router = APIRouter(prefix="/contact-folders", tags=["Contact folders"])


class ContactFolder(BaseModel):
    """`contacts`: how many it has. `default_region`: country of national numbers, as in DE."""

    id: UUID
    name: str
    default_region: str | None
    contacts: int
    created_at: datetime
    updated_at: datetime


class FolderContact(BaseModel):
    id: UUID
    folder_id: UUID
    phone_number: str
    name: str | None
    timezone: str | None
    priority: int
    external_id: str | None
    expires_at: datetime | None
    not_before: datetime | None
    variables: dict[str, Any]
    created_at: datetime


@router.get("")
def list_contact_folders(
    caller: Viewer,
    page: Annotated[PageRequest, page_of(folders.FOLDER_TYPE.table.listed)],
    name: Annotated[Storable | None, Query(description="Only the one of this name.", max_length=255)] = None,
) -> Listing[ContactFolder]:
    """List the folders, by default newest first."""
    return list_page(caller, folders.FOLDER_TYPE, ContactFolder, page, {"name": name})


add_routes(router, folders.FOLDER_TYPE, ContactFolder, Viewer, Operator)


@router.post(
    "/{folder_id}/contacts",
    response_model=Answer[ImportReport],
    responses=documented(400, 404, 409, 413),
    openapi_extra={"x-upload": "NewContacts"},
)
async def add_folder_contacts(
    caller: Operator, folder_id: FolderId, request: Request, idempotency: Idempotency
) -> Response:
    """Add contacts to a folder: as JSON, or as a CSV file (the body, or the field `file` of a form).

    Suppressed numbers are taken, and left out when the folder is loaded into a batch.
    """

    def add(db: Database, new: NewContacts) -> Answer[ImportReport]:
        return answer(ImportReport, folders.add(db, caller.workspace_id, folder_id, new, caller.now, caller.rng))

    if is_json(request):
        body = Body(NewContacts, await read_body(request))
        return await run_in_threadpool(idempotency.run, caller, body, add, status=200)
    with csv_upload(request, caller) as file:
        result = await run_import(
            folders.import_csv, caller.db, caller.workspace_id, folder_id, file, caller.now, caller.rng
        )
    return import_response(result)


@router.get("/{folder_id}/contacts", responses=documented(404))
def list_folder_contacts(
    caller: Viewer,
    folder_id: FolderId,
    page: Annotated[PageRequest, page_of(FOLDER_CONTACTS)],
    phone_number: Annotated[Storable | None, Query(description="Only this number.", max_length=40)] = None,
) -> Listing[FolderContact]:
    """List the contacts of a folder, by default in the order in which they were added."""
    contacts, total = folders.list_contacts(
        caller.db, caller.workspace_id, folder_id, phone_number, page.fetched, page.offset, page.after, page.sort
    )
    return listing(FolderContact, contacts, total, page)


@router.get("/{folder_id}/contacts/{contact_id}", responses=documented(404))
def get_folder_contact(caller: Viewer, folder_id: FolderId, contact_id: ContactId) -> Answer[FolderContact]:
    """Read one contact of a folder."""
    return answer(FolderContact, folders.show_contact(caller.db, caller.workspace_id, folder_id, contact_id))


@router.patch(
    "/{folder_id}/contacts/{contact_id}",
    response_model=Answer[FolderContact],
    responses=documented(400, 404, 409, 413),
)
def update_folder_contact(
    caller: Operator,
    folder_id: FolderId,
    contact_id: ContactId,
    body: Annotated[Body[ChangedFolderContact], body_of(ChangedFolderContact)],
    idempotency: Idempotency,
) -> Response:
    """Change one contact of a folder; batches that have it already keep it as it was."""

    def change(db: Database, changed: ChangedFolderContact) -> Answer[FolderContact]:
        return answer(FolderContact, folders.change_contact(db, caller.workspace_id, folder_id, contact_id, changed))

    return idempotency.run(caller, body, change, status=200)


@router.delete("/{folder_id}/contacts/{contact_id}", status_code=204, responses=documented(404))
def delete_folder_contact(caller: Operator, folder_id: FolderId, contact_id: ContactId) -> None:
    """Take one contact out of a folder; batches that have it already keep it."""
    folders.delete_contact(caller.db, caller.workspace_id, folder_id, contact_id)
