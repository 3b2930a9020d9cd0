"""The list of batches."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from dialer.console.fields import Chosen
from dialer.console.forecast import with_forecasts
from dialer.console.page import PageRoute, page
from dialer.console.visitor import SignedIn
from dialer.domain.ids import AgentId
from dialer.domain.states import BatchStatus
from dialer.service import batch_views, resources
from dialer.service.agents import AGENT_TYPE
from dialer.service.fields import Storable

router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)

PAGE = 50
MOST_CHOICES = 500


@router.get("")
def list_batches(
    request: Request,
    visitor: SignedIn,
    status: Chosen[BatchStatus] = None,
    agent: Chosen[UUID] = None,
    search: Annotated[Storable, Query(max_length=255)] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    wall: bool = False,
) -> Response:
    caller = visitor.caller
    batches, total = batch_views.list_page(
        caller.db,
        caller.workspace_id,
        caller.now,
        agent_id=AgentId(agent) if agent else None,
        status=status,
        search=search or None,
        limit=PAGE,
        offset=offset,
    )
    batches = with_forecasts(caller.db, batches)
    if wall:
        return page(request, "wall.html", visitor, batches=batches)
    agents, _ = resources.list_page(caller.db, AGENT_TYPE, caller.workspace_id, {}, MOST_CHOICES, 0)
    return page(
        request,
        "batches.html",
        visitor,
        batches=batches,
        total=total,
        agents={agent["id"]: agent["name"] for agent in agents},
        filters={"status": status, "agent": agent, "search": search},
        offset=offset,
        limit=PAGE,
    )
