"""`/agents`: where answered calls go."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from dialer.api.auth import Operator, Viewer
from dialer.api.envelope import AskedPage, Listing
from dialer.api.resources import add_routes, listed
from dialer.service.agents import KIND
from dialer.service.fields import Status, Storable

router = APIRouter(prefix="/agents", tags=["Agents"])


class Agent(BaseModel):
    """`connection`: provider -> where its calls go. `ready`: calls can go to it; if not, why not."""

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
    page: AskedPage,
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    name: Annotated[Storable | None, Query(description="Only the one of this name.", max_length=255)] = None,
) -> Listing[Agent]:
    """List the agents, newest first."""
    return listed(caller, KIND, Agent, page, {"status": status, "name": name})


add_routes(router, lambda _: KIND, KIND, Agent, Viewer, Operator)
