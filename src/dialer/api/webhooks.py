"""`/providers/…/events`: webhooks of the networks, authenticated by the network's signature instead of a key.

A webhook is answered with 2xx only after its call events are committed, together with those of other requests that
arrive at the same time. Then settle is asked to run; if that request is lost, the next tick finds the events.

Until the signature is verified the sender may be anybody: the trunk is looked up before the body is read, the body is
small, and an address that sent too many unsigned webhooks is refused before anything is done.
"""

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from dialer import wiring
from dialer.api.body import KIB, json_limits, read_whole
from dialer.api.errors import documented
from dialer.api.failure_limit import FailureLimit
from dialer.api.report_queue import ReportQueue
from dialer.api.request_context import current_request
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.trunk import Trunk
from dialer.engine import events, journal
from dialer.errors import NotFound, NotSigned
from dialer.log import Outage
from dialer.providers.base import Provider, ReportsByWebhook, WebhookRequest
from dialer.service import trunks
from dialer.store.database import Database

router = APIRouter(prefix="/providers", tags=["Providers"], responses=documented(400, 403, 404, 413))
outage = Outage("settle could not be asked", wiring.seconds)

MAX_REPORT_BYTES = 256 * KIB
ADAPTER_SECONDS = 1.0


class Adapters:
    """The adapters of the trunks that report by HTTP, kept for a second: a changed secret counts that soon.

    Args:
        db: the database.
        connect: makes the provider of a trunk.
        seconds: a monotonic clock.
    """

    def __init__(self, db: Database, connect: Callable[[Trunk], Provider], seconds: Callable[[], float]) -> None:
        self._db, self._connect, self._seconds = db, connect, seconds
        self._kept: dict[tuple[str, TrunkId], ReportsByWebhook] = {}
        self._kept_until = 0.0

    async def find(self, provider: str, trunk_id: TrunkId) -> ReportsByWebhook:
        """Return the adapter of a trunk; raises NotFound unless it reports by HTTP."""
        if self._seconds() >= self._kept_until:
            self._kept, self._kept_until = {}, self._seconds() + ADAPTER_SECONDS
        kept = self._kept
        if (provider, trunk_id) not in kept:
            kept[provider, trunk_id] = await run_in_threadpool(self._read, provider, trunk_id)
        return kept[provider, trunk_id]

    def _read(self, provider: str, trunk_id: TrunkId) -> ReportsByWebhook:
        adapter = self._connect(trunks.of_network(self._db, provider, trunk_id))
        if not isinstance(adapter, ReportsByWebhook):
            raise NotFound(f"Networks of the provider {provider} do not report by HTTP")
        return adapter


@router.post("/{provider}/{trunk_id}/events", status_code=204)
async def report_events(request: Request, provider: str, trunk_id: TrunkId) -> Response:
    """Receive call events of a trunk, in the format and with the signature of its network."""
    return await _receive(request, provider, trunk_id, None)


@router.post("/{provider}/{trunk_id}/events/{attempt_id}", status_code=204)
async def report_events_of_attempt(
    request: Request, provider: str, trunk_id: TrunkId, attempt_id: AttemptId
) -> Response:
    """Receive call events of one attempt, in the format and with the signature of the trunk's network."""
    return await _receive(request, provider, trunk_id, attempt_id)


async def _receive(request: Request, provider: str, trunk_id: TrunkId, attempt_id: AttemptId | None) -> Response:
    """Store what a network reports. Called directly: dependencies take longer than the rest of a webhook."""
    state = request.app.state
    address = request.client.host if request.client else ""
    state.unsigned_reports.check(address, str(trunk_id))
    adapter = await state.adapters.find(provider, trunk_id)
    body = await read_whole(request, json_limits(state.settings, MAX_REPORT_BYTES))
    headers = {key.lower(): value for key, value in request.headers.items()}
    try:
        reports = adapter.read_reports(WebhookRequest(_url(request), headers, body, attempt_id, current_request().now))
    except NotSigned:
        state.unsigned_reports.add(address, str(trunk_id))
        raise
    if reports:
        began_at = wiring.clock()
        await state.report_queue.store(trunk_id, reports)
        journal.received(reports, began_at, wiring.clock())
    return Response(status_code=204)


def _url(request: Request) -> str:
    """Return the URL that the network was told to call. It signed that one, not the URL behind a proxy."""
    public = request.app.state.settings.public_url
    if public is None:
        return str(request.url)
    query = request.url.query
    return f"{public}{request.url.path}{'?' if query else ''}{query}"


def unsigned_reports(per_minute: int = 60) -> FailureLimit:
    """Make the limit of unsigned webhooks from each address to each trunk."""
    return FailureLimit("Too many reports from this address were not signed", per_minute)


def report_queue(db: Database, ask_settle: Callable[[], object]) -> ReportQueue:
    """Make the queue of this process, which asks settle to run when it has stored new call events."""

    def on_new() -> None:
        try:
            ask_settle()
        except Exception as error:
            # The events are committed; the next tick starts settle.
            outage.note(error)

    return ReportQueue(partial(events.receive, db), on_new)
