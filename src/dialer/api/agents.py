"""`/agents`: the agents that answered calls go to."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from dialer.api.auth import Operator, Viewer
from dialer.api.envelope import Listing, PageRequest, page_of
from dialer.api.resources import add_routes, list_page
from dialer.service.agents import AGENT_TYPE
from dialer.service.fields import Status, Storable

router = APIRouter(prefix="/agents", tags=["Agents"])


class Agent(BaseModel):
    """`connection`: provider -> where its calls go. `ready`: it can take calls; `not_ready_reasons`: why not.

    An agent without numbers is ready if any trunk for which it has a connection permits that.
    """

    id: UUID
    name: str
    status: Status
    connection: dict[str, Any]
    ready: bool
    not_ready_reasons: list[str]
    created_at: datetime
    updated_at: datetime


@router.get("")
def list_agents(
    caller: Viewer,
    page: Annotated[PageRequest, page_of(AGENT_TYPE.table.listed)],
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    name: Annotated[Storable | None, Query(description="Only the one of this name.", max_length=255)] = None,
) -> Listing[Agent]:
    """List the agents, by default newest first."""
    return list_page(caller, AGENT_TYPE, Agent, page, {"status": status, "name": name})


add_routes(router, AGENT_TYPE, Agent, Viewer, Operator)
