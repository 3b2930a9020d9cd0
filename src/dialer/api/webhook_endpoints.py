"""`/webhook-endpoints`: where this workspace wants to hear what happens. Only for admins."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel

from dialer.api.auth import Admin, Caller
from dialer.api.body import Body, NoFields, body_of
from dialer.api.envelope import Answer, Listing, PageRequest, answer, listing, page_of
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.api.resources import add_routes, list_page
from dialer.domain.timezones import times_in_utc
from dialer.domain.webhook import DeliveryStatus, WebhookEvent
from dialer.service import webhook_endpoints
from dialer.service.fields import InputModel, Status, Storable
from dialer.service.resources import ResourceType
from dialer.service.webhook_endpoints import WEBHOOK_ENDPOINT_TYPE, NewWebhookEndpoint, WebhookReplay
from dialer.store.database import Database
from dialer.store.webhook_deliveries import DELIVERIES
from dialer.wiring import webhook_egress

router = APIRouter(prefix="/webhook-endpoints", tags=["Webhook endpoints"])


class WebhookHealth(BaseModel):
    """`failures`: messages in a row that failed, since `failing_since`. `next_try_at`: a failing endpoint is left alone
    until then. `disabled_reason`: why Dialer has set the endpoint inactive.
    """

    pending: int
    oldest_pending_at: datetime | None
    failures: int
    failing_since: datetime | None
    next_try_at: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None
    disabled_reason: str | None


class WebhookEndpoint(BaseModel):
    """Events are recorded for it while its status is active. Its secret is shown when it is made, and never again."""

    id: UUID
    url: str
    events: list[WebhookEvent]
    status: Status
    description: str | None
    health: WebhookHealth
    created_at: datetime
    updated_at: datetime


class WebhookEndpointWithSecret(WebhookEndpoint):
    """`secret`: shown only in this response. Messages are signed with it, as Standard Webhooks says."""

    secret: str


class WebhookDelivery(BaseModel):
    """A message. `id`: its webhook-id. `sequence`: its number in its batch for this endpoint; null before the first
    try. `due_at`: when it is sent next. `error`: why the last try failed.
    """

    id: UUID
    type: WebhookEvent
    batch_id: UUID
    sequence: int | None
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    due_at: datetime | None
    last_attempt_at: datetime | None
    response_status: int | None
    error: str | None
    finished_at: datetime | None
    data: Annotated[dict[str, Any], AfterValidator(times_in_utc)]


class WebhookReplayResult(BaseModel):
    """`messages`: how many are due again."""

    messages: int


@router.get("")
def list_webhook_endpoints(
    caller: Admin,
    page: Annotated[PageRequest, page_of(WEBHOOK_ENDPOINT_TYPE.table.listed)],
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    url: Annotated[Storable | None, Query(description="Only the one with this URL.", max_length=2048)] = None,
) -> Listing[WebhookEndpoint]:
    """List the webhook endpoints, by default newest first, with their health."""
    return list_page(caller, WEBHOOK_ENDPOINT_TYPE, WebhookEndpoint, page, {"status": status, "url": url})


@router.post("", status_code=201, response_model=Answer[WebhookEndpointWithSecret], responses=documented(400, 409, 413))
def create_webhook_endpoint(
    caller: Admin, body: Annotated[Body[NewWebhookEndpoint], body_of(NewWebhookEndpoint)], idempotency: Idempotency
) -> Response:
    """Create a webhook endpoint. Its secret is shown only in this response."""

    def create(db: Database, new: NewWebhookEndpoint) -> Answer[WebhookEndpointWithSecret]:
        permits = webhook_egress(caller.settings).permits_host
        created = webhook_endpoints.create(db, caller.workspace_id, new, caller.now, caller.rng, permits)
        return answer(WebhookEndpointWithSecret, created)

    return idempotency.run(caller, body, create)


def _type_of(caller: Caller) -> ResourceType:
    return webhook_endpoints.endpoint_type(webhook_egress(caller.settings).permits_host)


add_routes(router, WEBHOOK_ENDPOINT_TYPE, WebhookEndpoint, Admin, Admin, type_of=_type_of, has_create=False)


@router.post(
    "/{id}/rotate-secret", response_model=Answer[WebhookEndpointWithSecret], responses=documented(400, 404, 409, 413)
)
def rotate_webhook_secret(caller: Admin, id: UUID, body: NoFields, idempotency: Idempotency) -> Response:
    """Replace the secret. Messages are signed with the previous one too, for a day."""

    def rotate(db: Database, _: InputModel) -> Answer[WebhookEndpointWithSecret]:
        return answer(
            WebhookEndpointWithSecret, webhook_endpoints.rotate_secret(db, caller.workspace_id, id, caller.now)
        )

    return idempotency.run(caller, body, rotate, status=200)


@router.get("/{id}/deliveries", responses=documented(404))
def list_webhook_deliveries(
    caller: Admin,
    id: UUID,
    page: Annotated[PageRequest, page_of(DELIVERIES)],
    status: Annotated[DeliveryStatus | None, Query(description="Only those in this status.")] = None,
) -> Listing[WebhookDelivery]:
    """List the messages of an endpoint, by default newest first."""
    messages, total = webhook_endpoints.list_deliveries(
        caller.db, caller.workspace_id, id, status, page.fetched, page.offset, page.after, page.sort
    )
    return listing(WebhookDelivery, messages, total, page)


@router.post("/{id}/replay", response_model=Answer[WebhookReplayResult], responses=documented(400, 404, 409, 413))
def replay_webhook_deliveries(
    caller: Admin,
    id: UUID,
    body: Annotated[Body[WebhookReplay], body_of(WebhookReplay, optional=True)],
    idempotency: Idempotency,
) -> Response:
    """Send messages again, with the same ids: the dead letters, or all since a time."""

    def replay(db: Database, what: WebhookReplay) -> Answer[WebhookReplayResult]:
        count = webhook_endpoints.replay(db, caller.workspace_id, id, what, caller.now)
        return answer(WebhookReplayResult, WebhookReplayResult(messages=count))

    return idempotency.run(caller, body, replay, status=200)
