"""`/console/events`: what changes on an open page, as Server-Sent Events (HTML standard, section 9.2)."""

from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from dialer.console.fields import Chosen
from dialer.console.live import LivePages, OpenPage, View
from dialer.console.page import PageRoute, templates
from dialer.console.visitor import SignedIn
from dialer.domain.ids import BatchId

router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)

# The browser connects again, with what its cookie permits then.
MAX_SECONDS = 300.0


@router.get("/events")
async def follow(request: Request, visitor: SignedIn, batch: Chosen[UUID] = None, wall: bool = False) -> Response:
    live: LivePages = request.app.state.live_pages
    template = "batch_state.html" if batch else "wall_card.html" if wall else "batch_row.html"
    page = OpenPage(visitor, template, BatchId(batch) if batch else None, visitor.caller.now)
    return StreamingResponse(_stream(live, page), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream(live: LivePages, page: OpenPage) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    async for changed in live.follow(page, MAX_SECONDS):
        yield "".join(_event(page, view) for view in changed) or ": heartbeat\n\n"
    if page.is_over and not live.is_closed:
        yield "event: end\ndata: \n\n"


def _event(page: OpenPage, view: View) -> str:
    is_new = page.batch_id is None and view["created_at"] > page.opened_at
    html = templates.get_template(page.template).render(batch=view, visitor=page.visitor)
    lines = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"event: {'added' if is_new else 'changed'}\n{lines}\n"
