"""The list of batches, and actions on all that match its filter."""

from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pendulum import DateTime

from dialer.console.fields import Chosen
from dialer.console.forecast import with_forecasts
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.visitor import Acting, Form, SentForm, SignedIn, SignedInOperator, Visitor
from dialer.domain.ids import AgentId, BatchId
from dialer.domain.states import BatchStatus
from dialer.service import batch_views, many_batches, resources
from dialer.service.agents import AGENT_TYPE
from dialer.service.batches import Cancellation
from dialer.service.fields import InputModel, Storable
from dialer.service.many_batches import ALLOWED, Action, BatchFilter, Matching

router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)

PAGE = 50
MOST_CHOICES = 500
# Of many batches, so many are named.
NAMED = 20
ON_A_WALL = (BatchStatus.ACTIVE, BatchStatus.PAUSED, BatchStatus.SCHEDULED, BatchStatus.FAILED)
# The status in which the list then shows them.
AFTERWARDS = {Action.PAUSE: BatchStatus.PAUSED, Action.RESUME: None, Action.CANCEL: BatchStatus.CANCELLED}

Search = Annotated[Storable, Query(max_length=255)]
Label = Annotated[Storable, Query(max_length=50)]


@router.get("")
def list_batches(
    request: Request,
    visitor: SignedIn,
    status: Chosen[BatchStatus] = None,
    agent: Chosen[UUID] = None,
    search: Search = "",
    label: Label = "",
    before: Chosen[UUID] = None,
    wall: bool = False,
) -> Response:
    caller = visitor.caller
    batches = batch_views.list_before(
        caller.db,
        caller.workspace_id,
        caller.now,
        statuses=[status] if status else ON_A_WALL if wall else list(BatchStatus),
        agent_id=AgentId(agent) if agent else None,
        search=search or None,
        label=label or None,
        before=BatchId(before) if before else None,
        limit=PAGE + 1,
    )
    batches = with_forecasts(caller.db, batches)
    if wall:
        return page(request, "wall.html", visitor, batches=batches[:PAGE])
    return page(
        request,
        "batches.html",
        visitor,
        batches=batches[:PAGE],
        has_more=len(batches) > PAGE,
        agents=_agents(visitor),
        filters={"status": status, "agent": agent, "search": search, "label": label},
        before=before,
        actions=[action for action in Action if status is None or status in ALLOWED[action]],
    )


@router.get("/all/{action}")
def ask(
    request: Request,
    visitor: SignedInOperator,
    action: Action,
    status: Chosen[BatchStatus] = None,
    agent: Chosen[UUID] = None,
    search: Search = "",
    label: Label = "",
) -> Response:
    """Say how many batches an action would concern, before anything is done."""
    which = BatchFilter(status, AgentId(agent) if agent else None, search or None, label or None)
    return _question(request, visitor, action, which)


@router.post("/all/{action}")
def act(request: Request, visitor: Acting, action: Action, form: SentForm) -> Response:
    """Do it with every batch of this workspace that matches. Other batches than were asked about: ask again.

    A stop is never put off: it also pauses what has been started since.
    """
    caller = visitor.caller
    which = _filter(form, caller.now)
    matches = many_batches.matching(caller.db, caller.workspace_id, action, which)
    if action is not Action.PAUSE and form["digest"] != matches.digest:
        return _question(request, visitor, action, which, has_changed=True)
    how = Cancellation.read({"in_progress": form["in_progress"] or "finish"}, caller.now)
    done = many_batches.act(caller.context, caller.workspace_id, action, matches.names, caller.rng, how)
    after = _list_of(replace(which, status=AFTERWARDS.get(action, which.status)))
    if done.refused:
        return page(request, "all_done.html", visitor, action=action, done=done, back=after)
    return RedirectResponse(after, 303, HEADERS)


class _Filter(InputModel):
    status: BatchStatus | None
    agent: UUID | None
    search: Storable | None
    label: Storable | None


def _filter(form: Form, now: DateTime) -> BatchFilter:
    """Read the filter of a form, exactly as the question had it; raises InvalidInput."""
    read = _Filter.read({name: next(iter(form.all(name)), None) for name in _Filter.model_fields}, now)
    return BatchFilter(read.status, AgentId(read.agent) if read.agent else None, read.search, read.label)


def _question(
    request: Request, visitor: Visitor, action: Action, which: BatchFilter, *, has_changed: bool = False
) -> Response:
    caller = visitor.caller
    matches: Matching = many_batches.matching(caller.db, caller.workspace_id, action, which)
    return page(
        request,
        "all.html",
        visitor,
        status=409 if has_changed else 200,
        action=action,
        which=which,
        matches=matches,
        named=list(matches.names.items())[:NAMED],
        has_changed=has_changed,
        agent=_agents(visitor).get(which.agent_id, which.agent_id),
        back=_list_of(which),
    )


def _list_of(which: BatchFilter) -> str:
    """Return the address of the list with this filter."""
    filters = {"status": which.status, "agent": which.agent_id, "search": which.search, "label": which.label}
    return "/console" + ("?" + urlencode(set_) if (set_ := {k: v for k, v in filters.items() if v}) else "")


def _agents(visitor: Visitor) -> dict[Any, str]:
    caller = visitor.caller
    agents, _ = resources.list_page(caller.db, AGENT_TYPE, caller.workspace_id, {}, MOST_CHOICES, 0)
    return {agent["id"]: agent["name"] for agent in agents}
