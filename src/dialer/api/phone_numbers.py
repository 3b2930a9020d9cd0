"""`/phone-numbers`: the outbound numbers."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from dialer.api.auth import Operator, Viewer
from dialer.api.envelope import Listing, PageRequest, page_of
from dialer.api.resources import add_routes, list_page
from dialer.service.fields import Status, Storable
from dialer.service.phone_numbers import PHONE_NUMBER_TYPE

router = APIRouter(prefix="/phone-numbers", tags=["Phone numbers"])


class PhoneNumber(BaseModel):
    """An outbound number. A limit that is null does not limit."""

    id: UUID
    phone_number: str
    trunk_id: UUID
    agent_id: UUID | None
    status: Status
    max_concurrent_calls: int | None
    max_calls_per_day: int | None
    created_at: datetime
    updated_at: datetime


@router.get("")
def list_phone_numbers(
    caller: Viewer,
    page: Annotated[PageRequest, page_of(PHONE_NUMBER_TYPE.table.listed)],
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    agent_id: Annotated[UUID | None, Query(description="Only those of this agent.")] = None,
    trunk_id: Annotated[UUID | None, Query(description="Only those on this trunk.")] = None,
    phone_number: Annotated[Storable | None, Query(description="Only this one, in E.164.", max_length=40)] = None,
) -> Listing[PhoneNumber]:
    """List the outbound numbers, by default newest first."""
    filters = {"status": status, "agent_id": agent_id, "trunk_id": trunk_id, "phone_number": phone_number}
    return list_page(caller, PHONE_NUMBER_TYPE, PhoneNumber, page, filters)


add_routes(router, PHONE_NUMBER_TYPE, PhoneNumber, Viewer, Operator)
