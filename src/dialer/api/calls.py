"""`/calls`: the calls of a workspace over all its batches."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from dialer.api.auth import Viewer
from dialer.api.envelope import Answer, ByTime, KeysetListing, answer, keyset_listing
from dialer.api.errors import documented
from dialer.api.moments import Since, Until
from dialer.api.schemas import Call, CallWithReports
from dialer.domain.ids import AttemptId, BatchId, TrunkId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.service import calls
from dialer.service.fields import PhoneNumber
from dialer.store.call_search import CallFilter

router = APIRouter(prefix="/calls", tags=["Calls"])


@router.get("")
def list_all_calls(
    caller: Viewer,
    since: Since,
    until: Until,
    batch_id: Annotated[UUID | None, Query(description="Only those of this batch.")] = None,
    phone_number: Annotated[PhoneNumber | None, Query(description="Only calls to this number, E.164.")] = None,
    from_number: Annotated[
        PhoneNumber | None, Query(description="Only calls from this outbound number, E.164.")
    ] = None,
    status: Annotated[
        tuple[AttemptState, ...],
        Query(description="Only those in this state, or in one of several.", max_length=len(AttemptState)),
    ] = (),
    outcome: Annotated[
        tuple[Outcome, ...],
        Query(description="Only those with this outcome, or with one of several.", max_length=len(Outcome)),
    ] = (),
    trunk_id: Annotated[UUID | None, Query(description="Only those on this trunk.")] = None,
    after: Annotated[UUID | None, Query(description="`next_after` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 50,
    sort: ByTime = "-created_at",
) -> KeysetListing[Call]:
    """List the calls over all batches, by default newest first. Follow `next_after` until it is null."""
    of = CallFilter(
        BatchId(batch_id) if batch_id else None,
        phone_number,
        from_number,
        status,
        outcome,
        TrunkId(trunk_id) if trunk_id else None,
        since,
        until,
    )
    last = AttemptId(after) if after else None
    oldest_first = sort == "created_at"
    page, next_after = calls.list_page(caller.db, caller.workspace_id, of, last, limit, oldest_first=oldest_first)
    return keyset_listing(Call, page, limit, next_after)


@router.get("/{attempt_id}", responses=documented(404))
def get_call(caller: Viewer, attempt_id: AttemptId) -> Answer[CallWithReports]:
    """Read one call, with what the network has reported of it."""
    return answer(CallWithReports, calls.show(caller.db, caller.workspace_id, attempt_id))
