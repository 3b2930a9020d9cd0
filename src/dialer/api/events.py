"""`/batch-calls/{batch_id}/events`: what happens to a batch, as Server-Sent Events (HTML standard, section 9.2)."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from dialer.api.auth import Viewer
from dialer.api.batch_streams import Listener, Watching
from dialer.api.errors import documented
from dialer.domain.ids import BatchId
from dialer.errors import NotFound
from dialer.service import batch_views

router = APIRouter(prefix="/batch-calls/{batch_id}/events", tags=["Batch calls"])

# The key is checked when a stream begins; a client that goes on begins a new one.
MAX_SECONDS = 300
# OpenAPI 3.2, section "Special Considerations for Server-Sent Events"; earlier readers pass over it.
EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["status", "progress", "end"]},
        "data": {"type": "string"},
    },
}
EXAMPLE = """id: 42
event: status
data: {"id": 42, "from": "draft", "to": "active", "reason": null, "at": "2030-01-31T09:00:00+00:00"}
"""


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        **documented(404),
        200: {
            "description": "Events `status`, `progress` and `end`, and comments as heartbeats.",
            "content": {"text/event-stream": {"itemSchema": EVENT, "example": EXAMPLE}},
        },
        204: {"description": "The batch is over, and all was told up to `Last-Event-ID`."},
    },
)
async def follow_batch_call(
    caller: Viewer,
    batch_id: BatchId,
    request: Request,
    max_seconds: Annotated[int, Query(ge=1, le=MAX_SECONDS, description="The stream ends then.")] = MAX_SECONDS,
    last_event_id: Annotated[str, Header(description="The `id` of the last event that came.")] = "",
) -> Response:
    """Follow a batch: `progress` at most once a second while something changes, `status` for each change of status.

    Begins with the present progress; with `Last-Event-ID`, first with the changes of status since. `end` is the last
    event of a batch that is over. A stream ends after five minutes at the most, and with its process: connect again
    with the last id, as browsers do by themselves.
    """
    watching: Watching = request.app.state.watching
    await run_in_threadpool(batch_views.require, caller.db, caller.workspace_id, batch_id)
    known = _number(last_event_id)
    look = await watching.look(batch_id, 0 if known is None else known)
    if look is None:
        raise NotFound("No such batch in this workspace")
    if look.is_over and known == look.last_id:
        return Response(status_code=204)
    listener = watching.join(batch_id, look.last_id if known is None else known)
    listener.hear(look)
    stream = _events(watching, batch_id, listener, max_seconds)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(watching: Watching, batch_id: BatchId, listener: Listener, seconds: float) -> AsyncIterator[str]:
    try:
        async for _ in watching.follow(listener, seconds):
            changes, progress = listener.take()
            told = [_event("status", change["id"], change) for change in changes]
            if progress is not None:
                told.append(_event("progress", listener.last_id, progress))
            if listener.is_over:
                told.append(_event("end", listener.last_id, {}))
            yield "".join(told) or ": heartbeat\n\n"
            if listener.is_over:
                return
    finally:
        watching.leave(batch_id, listener)


def _event(name: str, event_id: int, data: Mapping[str, Any]) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def _number(last_event_id: str) -> int | None:
    """Read the id of an event; what is none of ours is as good as none."""
    is_one = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19
    return int(last_event_id) if is_one else None
