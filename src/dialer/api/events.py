"""`/batch-calls/{batch_id}/events`: the event stream of a batch, as Server-Sent Events (HTML standard, section 9.2)."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from dialer.api.auth import Viewer
from dialer.api.batch_streams import BatchStreams, StreamSubscriber
from dialer.api.errors import documented
from dialer.domain.ids import BatchId
from dialer.errors import NotFound
from dialer.service import batch_views

router = APIRouter(prefix="/batch-calls/{batch_id}/events", tags=["Batch calls"])

# The key is checked only when a stream begins, so a stream is short and the client connects again.
MAX_SECONDS = 300
EXAMPLE = """id: 42
event: status
data: {"id": 42, "from": "draft", "to": "active", "reason": null, "at": "2030-01-31T09:00:00Z"}

id: 43
event: end
data: {"status": "completed", "status_reason": null}

"""


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        **documented(404),
        200: {
            "description": "Events `status`, `progress` and `end`, and comments as heartbeats.",
            "content": {"text/event-stream": {"schema": {"description": "Server-Sent Events"}, "example": EXAMPLE}},
        },
        204: {"description": "The batch is over, and `Last-Event-ID` was its last event."},
    },
)
async def follow_batch_call(
    caller: Viewer,
    batch_id: BatchId,
    request: Request,
    max_seconds: Annotated[
        int, Query(ge=1, le=MAX_SECONDS, description="The stream ends after this time.")
    ] = MAX_SECONDS,
    last_event_id: Annotated[str, Header(description="The `id` of the last event received.")] = "",
) -> Response:
    """Follow a batch: `progress` at most once a second while something changes, `status` for each change of status.

    Begins with the current progress; with `Last-Event-ID`, first with the changes of status since. `end` is the last
    event of a batch that is over, with its final status; null: the batch was deleted. A stream ends after at most five
    minutes, or when its process stops: connect again with the last id, as browsers do automatically.
    """
    streams: BatchStreams = request.app.state.batch_streams
    await run_in_threadpool(batch_views.require, caller.db, caller.workspace_id, batch_id)
    known_id = _event_id(last_event_id)
    state = await streams.read(batch_id, 0 if known_id is None else known_id)
    if state is None:
        raise NotFound("No such batch in this workspace")
    if known_id is not None and known_id > state.last_id:
        # No id of this batch; or the database was restored from a backup since.
        known_id = None
    if state.is_over and known_id == state.last_id:
        return Response(status_code=204)
    subscriber = streams.subscribe(batch_id, state.last_id if known_id is None else known_id)
    subscriber.update(state)
    stream = _stream(streams, batch_id, subscriber, max_seconds)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream(
    streams: BatchStreams, batch_id: BatchId, subscriber: StreamSubscriber, seconds: float
) -> AsyncIterator[str]:
    try:
        async for _ in streams.wait(subscriber, seconds):
            yield "".join(_events(subscriber)) or ": heartbeat\n\n"
            if subscriber.is_over:
                return
    finally:
        streams.unsubscribe(batch_id, subscriber)


def _events(subscriber: StreamSubscriber) -> list[str]:
    changes, progress = subscriber.take()
    events = [_event("status", change["id"], change) for change in changes]
    if progress is not None:
        events.append(_event("progress", subscriber.last_id, progress))
    if subscriber.is_over:
        events.append(_event("end", subscriber.last_id, subscriber.last_status))
    return events


def _event(name: str, event_id: int, data: Mapping[str, Any]) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def _event_id(header: str) -> int | None:
    """Parse `Last-Event-ID`; None where it is no id of ours."""
    is_id = header.isascii() and header.isdigit() and len(header) < 19
    return int(header) if is_id else None
