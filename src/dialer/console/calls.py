"""The calls of a batch, page by page: those behind each figure of its page."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from fastapi import APIRouter, Request, Response

from dialer.api.moments import Since
from dialer.console.fields import Chosen
from dialer.console.page import PageRoute, page
from dialer.console.visitor import SignedIn
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.domain.timezones import is_known_zone
from dialer.errors import InvalidInput
from dialer.service import batch_views, calls
from dialer.service.fields import PhoneNumber
from dialer.store.call_search import CallFilter

router = APIRouter(prefix="/console/batches/{batch_id}/calls", include_in_schema=False, route_class=PageRoute)

PAGE = 100
FINAL = (AttemptState.ENDED, AttemptState.REFUSED)
ANSWERED = (Outcome.ANSWERED, Outcome.MACHINE)
# What the figures count: the words for it, and in which states or with which outcomes these calls are.
KINDS: Mapping[str, tuple[str, Sequence[AttemptState], Sequence[Outcome]]] = {
    "made": ("made (not refused)", [state for state in AttemptState if state != AttemptState.REFUSED], ()),
    "in_progress": ("in progress", [state for state in AttemptState if state not in FINAL], ()),
    "picked_up": ("answered, also by machines", (), ANSWERED),
    "refused": ("refused", [AttemptState.REFUSED], ()),
    **{outcome.value: (outcome.replace("_", " "), (), [outcome]) for outcome in Outcome},
}


@router.get("")
def list_calls(
    request: Request,
    visitor: SignedIn,
    batch_id: BatchId,
    since: Since,
    kind: str = "",
    from_number: Chosen[PhoneNumber] = None,
    today: bool = False,
    after: Chosen[UUID] = None,
) -> Response:
    """List the calls of a kind, newest first. `today`: only those of the current day in the batch's zone."""
    if kind not in ("", *KINDS):
        raise InvalidInput.of("kind", f"must be one of {', '.join(KINDS)}")
    caller = visitor.caller
    batch = batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)
    if today and is_known_zone(batch["timezone"]):
        since = caller.now.in_timezone(batch["timezone"]).start_of("day")
    _, statuses, outcomes = KINDS.get(kind, ("", (), ()))
    which = CallFilter(batch_id, from_number=from_number, statuses=statuses, outcomes=outcomes, since=since)
    found, next_after = calls.list_page(
        caller.db, caller.workspace_id, which, AttemptId(after) if after else None, PAGE
    )
    return page(
        request,
        "calls.html",
        visitor,
        batch=batch,
        calls=found,
        kinds={name: words for name, (words, _, _) in KINDS.items()},
        kind=kind,
        from_number=from_number,
        since=since,
        after=after,
        next_after=next_after,
    )
