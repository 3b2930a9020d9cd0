"""The system page: what is wrong now, and where everything else is kept; API keys."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.resources import SECTIONS, trunk_type
from dialer.console.visitor import Managing, SentForm, SignedIn, SignedInAdmin, Visitor
from dialer.domain.allow_list import DEFAULT_WORKSPACE
from dialer.domain.ids import KeyId
from dialer.domain.roles import Role
from dialer.errors import NotAllowed
from dialer.service import engine_state, keys, resources
from dialer.service.agents import AGENT_TYPE
from dialer.service.keys import NewKey
from dialer.settings import QUEUES

router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)

SHOWN = 100


@router.get("/system")
def show_system(request: Request, visitor: SignedIn) -> Response:
    caller = visitor.caller
    agents, _ = resources.list_page(caller.db, AGENT_TYPE, caller.workspace_id, {}, SHOWN, 0)
    shown_trunks = None
    if visitor.may(Role.ADMIN):
        shown_trunks, _ = resources.list_page(caller.db, trunk_type(caller), caller.workspace_id, {}, SHOWN, 0)
    return page(
        request,
        "system.html",
        visitor,
        agents=agents,
        trunks=shown_trunks,
        engine=_engine(request, visitor) if is_of_the_owner(visitor) else None,
        sections={kind: section for kind, section in SECTIONS.items() if visitor.may(section.reads)},
    )


@router.get("/system/engine")
def show_engine(request: Request, visitor: SignedInAdmin) -> Response:
    """Show the state of the engine, without the page around it."""
    if not is_of_the_owner(visitor):
        raise NotAllowed(f"The engine is shown to admins of the workspace {DEFAULT_WORKSPACE}")
    return page(request, "engine.html", visitor, **_engine(request, visitor))


def is_of_the_owner(visitor: Visitor) -> bool:
    """Return whether what concerns all workspaces may be shown: the machine's owner has the keys of `default`."""
    return visitor.may(Role.ADMIN) and visitor.caller.workspace == DEFAULT_WORKSPACE


def _engine(request: Request, visitor: Visitor) -> dict[str, Any]:
    caller = visitor.caller
    return {
        "state": engine_state.read(caller.db, caller.now),
        "troubles": engine_state.troubles(caller.context, caller.now),
        "processes": engine_state.processes(caller.db, request.app.state.metrics),
        "queues": engine_state.queues(caller.settings.broker, QUEUES),
    }


@router.get("/system/keys")
def list_keys(request: Request, visitor: SignedInAdmin) -> Response:
    return _keys_page(request, visitor, None)


@router.post("/system/keys")
def create_key(request: Request, visitor: Managing, form: SentForm) -> Response:
    """Make a key, and show it this once."""
    caller = visitor.caller
    new = NewKey.read({"role": form["role"], "name": form["name"] or "key"}, caller.now)
    made = keys.create(caller.db, caller.workspace_id, new, caller.now, caller.rng)
    return _keys_page(request, visitor, made["key"])


@router.post("/system/keys/{key_id}/revoke")
def revoke_key(visitor: Managing, key_id: KeyId) -> Response:
    keys.revoke(visitor.caller.db, visitor.caller.workspace_id, key_id)
    return RedirectResponse("/console/system/keys", 303, HEADERS)


def _keys_page(request: Request, visitor: SignedInAdmin, made: str | None) -> Response:
    rows, _ = keys.list_page(visitor.caller.db, visitor.caller.workspace_id, SHOWN)
    return page(request, "keys.html", visitor, keys=rows, made=made, roles=list(Role))
