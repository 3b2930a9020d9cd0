"""`/trunks`: the connections to telephone networks. Only for admins."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from dialer.api.auth import Admin, Caller
from dialer.api.body import NoFields
from dialer.api.envelope import Answer, Listing, PageRequest, answer, page_of
from dialer.api.errors import documented
from dialer.api.resources import add_routes, list_page
from dialer.domain.ids import TrunkId
from dialer.service import trunks
from dialer.service.fields import Status, Storable
from dialer.service.resources import ResourceType
from dialer.store.resources import TRUNKS

router = APIRouter(prefix="/trunks", tags=["Trunks"])


class Trunk(BaseModel):
    """A limit that is null does not limit. Secrets of `config` are names of environment variables: `env:TRUNK_…`.

    `failing_since`: many placements in a row have failed, so no calls are placed until `next_probe_at`, and then one
    every few seconds until one succeeds. Any change of the trunk resets this. `unheard_reason`: why no listener
    receives the call events of its network; null where one does, or where the network posts them.
    """

    id: UUID
    name: str
    provider: str
    config: dict[str, Any]
    calls_per_second: float | None
    max_concurrent_calls: int | None
    status: Status
    failing_since: datetime | None
    failing_reason: str | None
    next_probe_at: datetime | None
    unheard_reason: str | None
    created_at: datetime
    updated_at: datetime


class TrunkCheck(BaseModel):
    """`reason`: why no calls can be placed; null where they can."""

    ok: bool
    reason: str | None


def _trunk_type(caller: Caller) -> ResourceType:
    return trunks.trunk_type(lambda variable: caller.settings.may_read(variable, caller.workspace))


@router.get("")
def list_trunks(
    caller: Admin,
    page: Annotated[PageRequest, page_of(TRUNKS.listed)],
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    name: Annotated[Storable | None, Query(description="Only the one of this name.", max_length=255)] = None,
) -> Listing[Trunk]:
    """List the trunks, by default newest first."""
    return list_page(caller, _trunk_type(caller), Trunk, page, {"status": status, "name": name})


add_routes(router, trunks.trunk_type(), Trunk, Admin, Admin, type_of=_trunk_type)


@router.post("/{id}/check", responses=documented(404))
def check_trunk(caller: Admin, id: TrunkId, body: NoFields) -> Answer[TrunkCheck]:
    """Check with the network whether calls can be placed now."""
    body.read()
    reason = trunks.health(caller.context, caller.workspace_id, id)
    return answer(TrunkCheck, TrunkCheck(ok=reason is None, reason=reason))
