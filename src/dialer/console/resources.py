"""Agents, numbers, trunks and suppressions: lists, and forms to add, change and delete them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from dialer.api.auth import Caller
from dialer.console.fields import wrong_fields
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.visitor import Acting, Form, SentForm, SignedIn, Visitor
from dialer.domain.roles import Role
from dialer.errors import DialerError, InvalidInput, NotAllowed, NotFound
from dialer.providers import registry
from dialer.service import resources, trunks
from dialer.service.agents import AGENT_TYPE
from dialer.service.fields import Storable
from dialer.service.phone_numbers import PHONE_NUMBER_TYPE
from dialer.service.resources import ResourceType
from dialer.service.suppressions import SUPPRESSION_TYPE

router = APIRouter(prefix="/console/system", include_in_schema=False, route_class=PageRoute)

PAGE = 50
MOST_CHOICES = 500
Text = Annotated[Storable, Query(max_length=255)]
STATUSES = {"active": "active", "inactive": "inactive"}


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form. `kind`: text, number or json. `is_fixed`: it cannot be changed later."""

    name: str
    label: str
    kind: str = "text"
    is_fixed: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """How one resource is shown. `columns`: name -> head of the table's column."""

    title: str
    noun: str
    type_of: Callable[[Caller], ResourceType]
    columns: dict[str, str]
    fields: tuple[FormField, ...]
    reads: Role = Role.VIEWER
    writes: Role = Role.OPERATOR


def trunk_type(caller: Caller) -> ResourceType:
    """Return the type of trunks as it is for this caller's workspace."""
    return trunks.trunk_type(lambda variable: caller.settings.may_read(variable, caller.workspace))


STATUS = FormField("status", "Status")
NO_LIMIT = "Empty: no limit."
AT_ONCE = FormField("max_concurrent_calls", "Calls at once", "number", help=NO_LIMIT)
SECTIONS = {
    "agents": Section(
        "Agents",
        "agent",
        lambda _: AGENT_TYPE,
        {"name": "Name", "status": "Status", "ready": "Ready", "not_ready_reasons": "Why not"},
        (FormField("name", "Name"), FormField("connection", "Where answered calls go, as JSON", "json"), STATUS),
    ),
    "numbers": Section(
        "Outbound numbers",
        "number",
        lambda _: PHONE_NUMBER_TYPE,
        {
            "phone_number": "Number",
            "status": "Status",
            "max_concurrent_calls": "Calls at once",
            "max_calls_per_day": "Calls per day",
        },
        (
            FormField("phone_number", "Number", is_fixed=True, help="As in +12025550191."),
            FormField("trunk_id", "Trunk"),
            FormField("agent_id", "Agent"),
            AT_ONCE,
            FormField("max_calls_per_day", "Calls per day", "number", help=NO_LIMIT),
            STATUS,
        ),
    ),
    "trunks": Section(
        "Trunks",
        "trunk",
        trunk_type,
        {
            "name": "Name",
            "provider": "Provider",
            "status": "Status",
            "calls_per_second": "Calls per second",
            "max_concurrent_calls": "Calls at once",
            "failing_reason": "Fails because",
            "unheard_reason": "Not heard because",
        },
        (
            FormField("name", "Name"),
            FormField("provider", "Provider", is_fixed=True),
            FormField("config", "Config, as JSON", "json", help="Secrets as env:TRUNK_…, never themselves."),
            FormField("calls_per_second", "Calls per second", "number", help=NO_LIMIT),
            AT_ONCE,
            STATUS,
        ),
        reads=Role.ADMIN,
        writes=Role.ADMIN,
    ),
    "suppressions": Section(
        "Suppressions",
        "suppressed number",
        lambda _: SUPPRESSION_TYPE,
        {"phone_number": "Number", "reason": "Reason", "created_at": "Since"},
        (FormField("phone_number", "Number", is_fixed=True, help="As in +12025550112."), FormField("reason", "Reason")),
    ),
}


def section_of(visitor: Visitor, kind: str, *, writes: bool = False) -> Section:
    """Return a section; raises NotFound, and NotAllowed where the role does not suffice."""
    section = SECTIONS.get(kind)
    if section is None:
        raise NotFound(f"There is no page /console/system/{kind}")
    wanted = section.writes if writes else section.reads
    if not visitor.caller.role.suffices_for(wanted):
        raise NotAllowed(f"This needs the role {wanted}; you are signed in as {visitor.caller.role}")
    return section


@router.get("/{kind}")
def list_rows(request: Request, visitor: SignedIn, kind: str, search: Text = "", after: Text = "") -> Response:
    section, caller = section_of(visitor, kind), visitor.caller
    resource = section.type_of(caller)
    rows = resources.list_after(caller.db, resource, caller.workspace_id, search.strip() or None, after, PAGE + 1)
    return page(
        request,
        "resources.html",
        visitor,
        kind=kind,
        section=section,
        rows=rows[:PAGE],
        next_after=rows[PAGE - 1][resource.table.unique] if len(rows) > PAGE else None,
        search=search,
        after=after,
        may_write=caller.role.suffices_for(section.writes),
    )


@router.get("/{kind}/{row}")
def show_row(request: Request, visitor: SignedIn, kind: str, row: str) -> Response:
    """Show the form of a row, or of a new one."""
    section, caller = section_of(visitor, kind, writes=True), visitor.caller
    view = {} if row == "new" else resources.show(caller.db, section.type_of(caller), caller.workspace_id, _id(row))
    return _form_page(request, visitor, kind, section, row, view)


@router.post("/{kind}/{row}")
def save_row(request: Request, visitor: Acting, kind: str, row: str, form: SentForm) -> Response:
    """Add a row or change it."""
    section, caller = section_of(visitor, kind, writes=True), visitor.caller
    resource = section.type_of(caller)
    try:
        if row == "new":
            new = resource.new.read(_values(section, form, is_new=True), caller.now)
            resources.create(caller.db, resource, caller.workspace_id, new, caller.now, caller.rng)
        else:
            changed = resource.changed.read(_values(section, form, is_new=False), caller.now)
            resources.change(caller.db, resource, caller.workspace_id, _id(row), changed)
    except InvalidInput as error:
        typed = {each.name: form[each.name] for each in section.fields}
        return _form_page(request, visitor, kind, section, row, typed, error)
    return RedirectResponse(f"/console/system/{kind}", 303, HEADERS)


@router.post("/{kind}/{row}/delete")
def delete_row(visitor: Acting, kind: str, row: str) -> Response:
    section, caller = section_of(visitor, kind, writes=True), visitor.caller
    resources.delete(caller.db, section.type_of(caller), caller.workspace_id, _id(row))
    return RedirectResponse(f"/console/system/{kind}", 303, HEADERS)


@router.post("/trunks/{row}/check")
def check_trunk(request: Request, visitor: Acting, row: str) -> Response:
    """Ask the network of a trunk whether calls can be placed now."""
    section, caller = section_of(visitor, "trunks", writes=True), visitor.caller
    reason = trunks.health(caller.context, caller.workspace_id, _id(row))  # type: ignore[arg-type]
    view = resources.show(caller.db, section.type_of(caller), caller.workspace_id, _id(row))
    return _form_page(request, visitor, "trunks", section, row, view, check=reason or "Calls can be placed now")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"{text[:40]} is no id") from None


def _values(section: Section, form: Form, *, is_new: bool) -> dict[str, Any]:
    """Return what the form says about each field: a new row leaves out what is empty, a change clears it."""
    values: dict[str, Any] = {}
    for each in section.fields:
        text = form[each.name]
        if (is_new and not text) or (each.is_fixed and not is_new):
            continue
        values[each.name] = _json(each.name, text or "{}") if each.kind == "json" else text or None
    return values


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput.of(name, "is not JSON") from None


def _form_page(
    request: Request,
    visitor: Visitor,
    kind: str,
    section: Section,
    row: str,
    view: dict[str, Any],
    error: DialerError | None = None,
    check: str | None = None,
) -> Response:
    caller = visitor.caller
    choices = {
        "status": STATUSES,
        "provider": {name: name for name in registry.names()},
        "agent_id": {"": "none"} | _choices(caller, AGENT_TYPE),
    }
    if visitor.may(Role.ADMIN):
        # Others may not list trunks, and write the id.
        choices["trunk_id"] = _choices(caller, trunk_type(caller))
    values = {each.name: _text(view.get(each.name)) for each in section.fields}
    return page(
        request,
        "resource.html",
        visitor,
        status=422 if error else 200,
        kind=kind,
        section=section,
        row=row,
        values=values,
        choices=choices,
        error=error,
        wrong=wrong_fields(error),
        check=check,
    )


def _choices(caller: Caller, resource: ResourceType) -> dict[str, str]:
    rows, _ = resources.list_page(caller.db, resource, caller.workspace_id, {}, MOST_CHOICES, 0)
    return {str(row["id"]): row["name"] for row in rows}


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict():
            return json.dumps(value, indent=2, ensure_ascii=False)
        case _:
            return str(value)
