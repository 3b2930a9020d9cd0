"""One contact: why it is not being called, its calls as a timeline, and the changes that can be made to it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from dialer.console import formats
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.visitor import Acting, Form, SentForm, SignedIn, Visitor
from dialer.domain.ids import BatchId, ContactId
from dialer.domain.states import FINAL_BATCH
from dialer.domain.timezones import known_zones
from dialer.errors import InvalidInput, NotFound, StateConflict
from dialer.service import batch_views, callbacks, contact_edits, contacts, explain
from dialer.service.callbacks import Callback
from dialer.service.contact_edits import ChangedContact

router = APIRouter(
    prefix="/console/batches/{batch_id}/contacts/{contact_id}", include_in_schema=False, route_class=PageRoute
)

# The phases of a call, in order: what it is called, and the times at which it begins.
PHASES = (
    ("asked the network", "asking", "created_at"),
    ("waited", "waiting", "placed_at"),
    ("rang", "ringing", "ringing_at"),
    ("talked", "talking", "answered_at"),
)


@router.get("")
def show_contact(request: Request, visitor: SignedIn, batch_id: BatchId, contact_id: ContactId) -> Response:
    return _contact_page(request, visitor, batch_id, contact_id)


@router.post("")
def change_contact(
    request: Request, visitor: Acting, batch_id: BatchId, contact_id: ContactId, form: SentForm
) -> Response:
    """Do what the pressed button says: change the contact, ask for a callback, or take it out of its batch."""
    caller = visitor.caller
    where = (caller.db, caller.workspace_id, batch_id, contact_id)
    try:
        match form["action"]:
            case "callback":
                callbacks.ask(*where, Callback.read({"at": form["at"]}, caller.now), caller.now)
            case "remove":
                contact_edits.remove(*where, caller.now)
            case _:
                changed = ChangedContact.read(_changes(visitor, batch_id, contact_id, form), caller.now)
                contact_edits.change(*where, changed, caller.now)
    except (InvalidInput, StateConflict) as error:
        return _contact_page(request, visitor, batch_id, contact_id, form, error)
    try:
        contacts.show(*where)
    except NotFound:
        # It was taken out of a draft, which deletes it.
        return RedirectResponse(f"/console/batches/{batch_id}/contacts", 303, HEADERS)
    return RedirectResponse(f"/console/batches/{batch_id}/contacts/{contact_id}", 303, HEADERS)


def _changes(visitor: Visitor, batch_id: BatchId, contact_id: ContactId, form: Form) -> dict[str, str | None]:
    """Return the fields in which the form differs from the contact; empty ones are cleared."""
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    contact = contacts.show(caller.db, caller.workspace_id, batch_id, contact_id)
    return {name: form[name] or None for name, value in _typed(contact, batch).items() if form[name] != value}


def _typed(contact: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that can be changed, as they stand in the form."""
    return {
        "name": contact["name"] or "",
        "priority": str(contact["priority"]),
        "timezone": contact["timezone"] or "",
        "not_before": formats.typed(contact["not_before"], batch["timezone"]),
    }


def _contact_page(
    request: Request,
    visitor: Visitor,
    batch_id: BatchId,
    contact_id: ContactId,
    form: Form | None = None,
    error: InvalidInput | StateConflict | None = None,
) -> Response:
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    contact = contacts.show(caller.db, caller.workspace_id, batch_id, contact_id)
    fields = _typed(contact, batch)
    if form and form["action"] == "change":
        fields = {name: form[name] for name in fields}
    may_change = visitor.may("operator") and contact["status"] in ("pending", "waiting")
    return page(
        request,
        "contact.html",
        visitor,
        status=422 if error else 200,
        batch=batch,
        contact=contact,
        why=explain.explain_contact(caller.context, caller.workspace_id, batch_id, contact_id, caller.now),
        calls=list(_timeline(contact["calls"])),
        may_change=may_change and batch["status"] not in FINAL_BATCH,
        fields=fields,
        at=form["at"] if form else "",
        error=error,
        zones=sorted(known_zones()) if may_change else (),
    )


def _timeline(calls: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Add to each call its phases, and how many seconds after the end of the call before it began; None: unknown."""
    ended_at = None
    for call in calls:
        after = (call["created_at"] - ended_at).total_seconds() if ended_at else None
        yield {**call, "phases": _phases(call), "after_seconds": after}
        ended_at = call["ended_at"]


def _phases(call: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Return the phases of a call that is known to have had them: name, class, seconds."""
    begun = [(name, kind, call[at]) for name, kind, at in PHASES if call[at] is not None]
    ends = [at for _, _, at in begun[1:]] + [call["ended_at"]]
    return [
        (name, kind, max(0.0, (end - at).total_seconds()))
        for (name, kind, at), end in zip(begun, ends, strict=True)
        if end is not None
    ]
