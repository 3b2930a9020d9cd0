"""Webhook endpoints: their health, forms to add and change them, their messages, and replays. For admins."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from dialer.console.fields import Chosen, wrong_fields
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.visitor import Form, Managing, SentForm, SignedInAdmin, Visitor
from dialer.domain.webhook import FAILING_AFTER, DeliveryStatus, WebhookEvent
from dialer.errors import InvalidInput
from dialer.service import resources, webhook_endpoints
from dialer.service.webhook_endpoints import (
    MAX_ENDPOINTS,
    WEBHOOK_ENDPOINT_TYPE,
    ChangedWebhookEndpoint,
    NewWebhookEndpoint,
    WebhookReplay,
)

ROOT = "/console/system/webhooks"
router = APIRouter(prefix=ROOT, include_in_schema=False, route_class=PageRoute)

MESSAGES = 50
NEW = {"id": None, "url": "", "events": list(WebhookEvent), "status": "active", "description": ""}


@router.get("")
def list_endpoints(request: Request, visitor: SignedInAdmin) -> Response:
    caller = visitor.caller
    endpoints, _ = resources.list_page(caller.db, WEBHOOK_ENDPOINT_TYPE, caller.workspace_id, {}, MAX_ENDPOINTS, 0)
    return page(request, "webhooks.html", visitor, endpoints=endpoints, failing_after=FAILING_AFTER)


@router.get("/new")
def ask_for_new(request: Request, visitor: SignedInAdmin) -> Response:
    return _form_page(request, visitor, NEW)


@router.post("/new")
def create(request: Request, visitor: Managing, form: SentForm) -> Response:
    """Make an endpoint, and show its secret this once."""
    caller, fields = visitor.caller, _fields(form)
    try:
        new = NewWebhookEndpoint.read(fields, caller.now)
        made = webhook_endpoints.create(caller.db, caller.workspace_id, new, caller.now, caller.rng)
    except InvalidInput as error:
        return _form_page(request, visitor, NEW | fields, error=error)
    return _endpoint_page(request, visitor, made["id"], secret=made["secret"])


@router.get("/{row}")
def show_endpoint(
    request: Request,
    visitor: SignedInAdmin,
    row: UUID,
    status: Chosen[DeliveryStatus] = None,
    before: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
) -> Response:
    return _endpoint_page(request, visitor, row, status, before)


@router.post("/{row}")
def change(request: Request, visitor: Managing, row: UUID, form: SentForm) -> Response:
    caller, fields = visitor.caller, _fields(form)
    try:
        changed = ChangedWebhookEndpoint.read(fields, caller.now)
        resources.change(caller.db, WEBHOOK_ENDPOINT_TYPE, caller.workspace_id, row, changed)
    except InvalidInput as error:
        return _form_page(request, visitor, fields | {"id": row}, error=error)
    return RedirectResponse(f"{ROOT}/{row}", 303, HEADERS)


@router.post("/{row}/rotate-secret")
def rotate_secret(request: Request, visitor: Managing, row: UUID) -> Response:
    """Replace the secret, and show the new one this once."""
    caller = visitor.caller
    rotated = webhook_endpoints.rotate_secret(caller.db, caller.workspace_id, row, caller.now)
    return _endpoint_page(request, visitor, row, secret=rotated["secret"])


@router.post("/{row}/replay")
def replay(request: Request, visitor: Managing, row: UUID) -> Response:
    """Send the dead letters again."""
    caller = visitor.caller
    count = webhook_endpoints.replay(caller.db, caller.workspace_id, row, WebhookReplay(), caller.now)
    return _endpoint_page(request, visitor, row, replayed=count)


@router.post("/{row}/delete")
def delete(visitor: Managing, row: UUID) -> Response:
    resources.delete(visitor.caller.db, WEBHOOK_ENDPOINT_TYPE, visitor.caller.workspace_id, row)
    return RedirectResponse(ROOT, 303, HEADERS)


def _fields(form: Form) -> dict[str, Any]:
    return {
        "url": form["url"],
        "events": form.all("events"),
        "status": form["status"] or "active",
        "description": form["description"] or None,
    }


def _form_page(
    request: Request, visitor: Visitor, values: dict[str, Any], error: InvalidInput | None = None
) -> Response:
    return page(
        request,
        "webhook_form.html",
        visitor,
        status=422 if error else 200,
        values=values,
        events=list(WebhookEvent),
        error=error,
        wrong=wrong_fields(error),
    )


def _endpoint_page(
    request: Request,
    visitor: Visitor,
    endpoint_id: UUID,
    status: DeliveryStatus | None = None,
    before: int | None = None,
    **done: Any,
) -> Response:
    caller = visitor.caller
    endpoint = resources.show(caller.db, WEBHOOK_ENDPOINT_TYPE, caller.workspace_id, endpoint_id)
    messages = webhook_endpoints.list_before(caller.db, caller.workspace_id, endpoint_id, status, before, MESSAGES + 1)
    return page(
        request,
        "webhook.html",
        visitor,
        endpoint=endpoint,
        values=endpoint,
        events=list(WebhookEvent),
        wrong={},
        failing_after=FAILING_AFTER,
        messages=messages[:MESSAGES],
        has_more=len(messages) > MESSAGES,
        chosen=status,
        before=before,
        statuses=list(DeliveryStatus),
        **{"secret": None, "replayed": None} | done,
    )
