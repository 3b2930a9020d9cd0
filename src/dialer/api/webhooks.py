"""`/providers/…/events`: what networks report by HTTP. Proved by the network's signature instead of a key.

A report is answered with 2xx only after it is committed. Then settle is asked to look; should that be lost, the next
tick sees it.
"""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request, Response

from dialer.api.body import read_body
from dialer.api.errors import documented
from dialer.api.exchange import here
from dialer.domain.ids import AttemptId, TrunkId
from dialer.engine import events
from dialer.errors import NotFound
from dialer.providers.base import Posted, ReportsByWebhook
from dialer.service import trunks

router = APIRouter(prefix="/providers", tags=["Providers"], responses=documented(403, 404, 413))
log = structlog.get_logger()


@router.post("/{provider}/{trunk_id}/events", status_code=204)
def report_events(
    request: Request, provider: str, trunk_id: TrunkId, body: Annotated[bytes, Depends(read_body)]
) -> Response:
    """Report on calls, as the trunk's network signs and words it."""
    return _receive(request, provider, trunk_id, None, body)


@router.post("/{provider}/{trunk_id}/events/{attempt_id}", status_code=204)
def report_events_of_attempt(
    request: Request,
    provider: str,
    trunk_id: TrunkId,
    attempt_id: AttemptId,
    body: Annotated[bytes, Depends(read_body)],
) -> Response:
    """Report on the call of one attempt, as the trunk's network signs and words it."""
    return _receive(request, provider, trunk_id, attempt_id, body)


def _receive(request: Request, name: str, trunk_id: TrunkId, attempt_id: AttemptId | None, body: bytes) -> Response:
    state = request.app.state
    trunk = trunks.of_network(state.parts.db, name, trunk_id)
    provider = state.connect(trunk)
    if not isinstance(provider, ReportsByWebhook):
        raise NotFound(f"Networks of the provider {name} do not report by HTTP")
    headers = {key.lower(): value for key, value in request.headers.items()}
    reports = provider.read_reports(Posted(_url(request), headers, body, attempt_id, here().now))
    if reports and events.receive(state.parts.db, trunk_id, reports):
        _ask_settle(request)
    return Response(status_code=204)


def _url(request: Request) -> str:
    """The URL that the network was told to call: what a proxy made of it is not what was signed."""
    public = request.app.state.settings.public_url
    if public is None:
        return str(request.url)
    query = request.url.query
    return f"{public}{request.url.path}{'?' if query else ''}{query}"


def _ask_settle(request: Request) -> None:
    try:
        request.app.state.ask_settle()
    except Exception as error:
        # The reports are safe; the next tick asks settle to look.
        log.warning("settle could not be asked", reason=str(error))
