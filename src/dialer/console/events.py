"""`/console/events`: what changes on an open page, as Server-Sent Events (HTML standard, section 9.2)."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from dialer.console.live import LivePages, OpenPage, View
from dialer.console.page import PageRoute, templates
from dialer.console.visitor import SignedIn
from dialer.domain.ids import BatchId

router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)

# The browser connects again, with what its cookie permits then.
MAX_SECONDS = 300.0
# More than a page of the list shows.
MOST_BATCHES = 100
# What a page may show of a batch.
TEMPLATES = {"row": "batch_row.html", "card": "wall_card.html", "state": "batch_state.html"}


@router.get("/events")
async def follow(
    request: Request,
    visitor: SignedIn,
    show: Literal["row", "card", "state"],
    batch: Annotated[tuple[UUID, ...], Query(max_length=MOST_BATCHES)] = (),
) -> Response:
    page = OpenPage(visitor, TEMPLATES[show], frozenset(map(BatchId, batch)), visitor.caller.now)
    stream = _stream(request.app.state.live_pages, page)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream(live: LivePages, page: OpenPage) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    async for changed in live.follow(page, MAX_SECONDS):
        yield "".join(_event(page, view) for view in changed) or ": heartbeat\n\n"
    if page.is_over and not live.is_closed:
        yield "event: end\ndata: \n\n"


def _event(page: OpenPage, view: View) -> str:
    html = templates.get_template(page.template).render(batch=view, visitor=page.visitor)
    lines = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"event: {'added' if page.is_new(view) else 'changed'}\n{lines}\n"
