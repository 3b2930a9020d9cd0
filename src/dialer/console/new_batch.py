"""Makes a draft from a form."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from dialer.console.batches import MOST_CHOICES
from dialer.console.fields import wrong_fields
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.settings_form import choices, settings_of, week
from dialer.console.visitor import Acting, Form, SentForm, SignedInOperator, Visitor
from dialer.errors import InvalidInput, StateConflict
from dialer.service import batches, resources
from dialer.service.agents import AGENT_TYPE
from dialer.service.new_batch import NewBatch

router = APIRouter(prefix="/console/batches", include_in_schema=False, route_class=PageRoute)

FIRST = Form({"timezone": ["UTC"], "working_days": list("12345"), "max_concurrent_calls": ["10"], "priority": ["5"]})
# Fields that are left out where they are empty, so that the service's defaults count.
_PLAIN = ("name", "agent_id", "scheduled_at", "default_region")


@router.get("/new")
def new_batch(request: Request, visitor: SignedInOperator) -> Response:
    return _form_page(request, visitor, FIRST)


@router.post("/new")
def create(request: Request, visitor: Acting, form: SentForm) -> Response:
    caller = visitor.caller
    try:
        new = NewBatch.read(_fields(form), caller.now)
        batch_id = batches.create(caller.db, caller.workspace_id, new, caller.now, caller.rng)
    except (InvalidInput, StateConflict) as error:
        return _form_page(request, visitor, form, error)
    return RedirectResponse(f"/console/batches/{batch_id}", 303, HEADERS)


def _fields(form: Form) -> dict[str, Any]:
    """Return the fields of the form as those of a new batch."""
    return settings_of(form) | {
        **{name: form[name] for name in _PLAIN if form[name]},
        "schedule_type": "scheduled" if form["scheduled_at"] else "immediate",
        "respect_contact_timezone": bool(form["respect_contact_timezone"]),
        "sticky_caller_id": bool(form["sticky_caller_id"]),
        "labels": [label.strip() for label in form["labels"].split(",") if label.strip()],
    }


@router.post("/week")
def draw_week(request: Request, visitor: Acting, form: SentForm) -> Response:
    """Draw the calling hours of a form as they are typed, or say what is wrong with them."""
    drawn = week(form, visitor.caller.now)
    return page(request, "week.html", visitor, week=drawn, zone=form["timezone"])


def _form_page(
    request: Request, visitor: Visitor, form: Form, error: InvalidInput | StateConflict | None = None
) -> Response:
    caller = visitor.caller
    agents, _ = resources.list_page(caller.db, AGENT_TYPE, caller.workspace_id, {"status": "active"}, MOST_CHOICES, 0)
    return page(
        request,
        "new_batch.html",
        visitor,
        status=422 if error else 200,
        form=form,
        error=error,
        wrong=wrong_fields(error),
        agents=agents,
        choices=choices(visitor),
        week=week(form, caller.now),
    )
