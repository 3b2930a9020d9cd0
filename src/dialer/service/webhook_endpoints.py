"""Webhook endpoints: where a workspace wants to hear what happens; their secrets, their messages, and replays.

Secrets are made here and shown when they are made. They are stored as they are, because every message is signed with
them.
"""

import base64
import secrets
from collections.abc import Callable
from random import Random
from typing import Annotated, Any
from uuid import UUID

import pendulum
from pendulum import DateTime
from pydantic import AfterValidator, ConfigDict, Field

from dialer.domain.ids import EndpointId, WorkspaceId
from dialer.domain.validation import wrong_field
from dialer.domain.webhook import DeliveryStatus, WebhookEvent
from dialer.errors import InvalidInput, StateConflict
from dialer.providers.http_client import split_url
from dialer.service import resources
from dialer.service.fields import UNIQUE, Changes, InputModel, Moment, Status, each_once, storable
from dialer.service.resources import ResourceType, View
from dialer.store import webhook_deliveries
from dialer.store.database import Database
from dialer.store.resources import WEBHOOK_ENDPOINTS

MAX_ENDPOINTS = 20
# How long the previous secret signs too, after it was replaced.
OVERLAP_HOURS = 24
SECRET_BYTES = 32


def _url(text: str) -> str:
    parts = split_url(text)
    if parts is None or not text.isascii() or not text.isprintable() or " " in text:
        raise wrong_field("must be a URL that begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise wrong_field("must not contain a user name or password; messages are signed instead")
    if parts.fragment:
        raise wrong_field("must not contain a fragment")
    return text


Url = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_url)]
Events = Annotated[list[WebhookEvent], Field(min_length=1, json_schema_extra=UNIQUE), AfterValidator(each_once)]
Description = Annotated[str, Field(max_length=255), AfterValidator(storable)]


class NewWebhookEndpoint(InputModel):
    """An endpoint to be created. `events`: by default all."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"url": "https://example.com/dialer", "events": ["call.ended"]}}
    )

    url: Url
    events: Events = list(WebhookEvent)
    status: Status = "active"
    description: Description | None = None


class ChangedWebhookEndpoint(Changes):
    """The fields of an endpoint to be changed."""

    url: Url = ""
    events: Events = []
    status: Status = "active"
    description: Description | None = None


class WebhookReplay(InputModel):
    """What is to be sent again: all messages since a time (without an offset: UTC), or if absent the dead letters."""

    since: Moment | None = None


def _any_host(_: str) -> bool:
    return True


def endpoint_type(permits: Callable[[str], bool] = _any_host, secret: str = "") -> ResourceType:
    """Return the resource type of webhook endpoints.

    Args:
        permits: says whether messages may be sent to a host. Names are resolved and checked when a message is sent.
        secret: that new ones get.

    Returns:
        The type.
    """

    def check(view: View) -> None:
        parts = split_url(view["url"])
        if parts is None or not permits(parts.hostname or ""):
            raise InvalidInput.of("url", "leads to an address that is not public")

    return ResourceType(
        WEBHOOK_ENDPOINTS,
        NewWebhookEndpoint,
        ChangedWebhookEndpoint,
        {},
        check=check,
        add_defaults=lambda view: view | {"secret": secret},
    )


WEBHOOK_ENDPOINT_TYPE = endpoint_type()


def new_secret() -> str:
    """Make a secret as Standard Webhooks writes them, from the random source of the operating system."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def create(
    db: Database,
    workspace_id: WorkspaceId,
    new: NewWebhookEndpoint,
    now: DateTime,
    rng: Random,
    permits: Callable[[str], bool] = _any_host,
) -> View:
    """Create an endpoint.

    Args:
        db: the database.
        workspace_id: the workspace whose events it gets.
        new: the fields.
        now: the current time.
        rng: source of random numbers, for the id; the secret comes from the operating system.
        permits: says whether messages may be sent to a host.

    Returns:
        The row, with its `secret`, which is not shown again.

    Raises:
        InvalidInput: the workspace has an endpoint with this URL, or it leads to an address that is not public.
        StateConflict: it has as many endpoints as it may.
    """
    secret = new_secret()
    with db.begin() as connection:
        within = db.within(connection)
        _, total = resources.list_page(within, WEBHOOK_ENDPOINT_TYPE, workspace_id, {}, 1, 0)
        if total >= MAX_ENDPOINTS:
            raise StateConflict(
                f"A workspace has at most {MAX_ENDPOINTS} webhook endpoints", code="too_many_webhook_endpoints"
            )
        resource = endpoint_type(permits, secret)
        return resources.create(within, resource, workspace_id, new, now, rng) | {"secret": secret}


def rotate_secret(db: Database, workspace_id: WorkspaceId, endpoint_id: UUID, now: DateTime) -> View:
    """Replace the secret of an endpoint. For a day, messages are signed with the previous one too.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        endpoint_id: the endpoint.
        now: the current time.

    Returns:
        The row, with its new `secret`, which is not shown again.

    Raises:
        NotFound: this workspace has no such endpoint.
    """
    secret = new_secret()
    with db.begin() as connection:
        row = resources.show(db.within(connection), WEBHOOK_ENDPOINT_TYPE, workspace_id, endpoint_id)
        webhook_deliveries.rotate_secret(connection, endpoint_id, secret, now.add(hours=OVERLAP_HOURS))
    return row | {"secret": secret}


def list_deliveries(
    db: Database,
    workspace_id: WorkspaceId,
    endpoint_id: UUID,
    status: DeliveryStatus | None,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of an endpoint's messages, newest first.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        endpoint_id: the endpoint.
        status: only messages in this state.
        limit: the size of the page.
        offset: how many messages come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `webhook_deliveries.DELIVERIES.sorts`; None: its default.

    Returns:
        The messages, and how many match in all.

    Raises:
        NotFound: this workspace has no such endpoint.
    """
    with db.begin() as connection:
        resources.show(db.within(connection), WEBHOOK_ENDPOINT_TYPE, workspace_id, endpoint_id)
        messages, total = webhook_deliveries.page(
            connection, EndpointId(endpoint_id), status, limit, offset, after, sort
        )
        return [dict(row._mapping) for row in messages], total


def list_before(
    db: Database,
    workspace_id: WorkspaceId,
    endpoint_id: UUID,
    status: DeliveryStatus | None,
    before: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Read an endpoint's messages from a position on, newest first. Nothing is counted.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        endpoint_id: the endpoint.
        status: only messages in this state.
        before: the position of the last message of the page before; None: the first page.
        limit: the size of the page.

    Returns:
        The messages, each with its `position`.

    Raises:
        NotFound: this workspace has no such endpoint.
    """
    with db.begin() as connection:
        resources.show(db.within(connection), WEBHOOK_ENDPOINT_TYPE, workspace_id, endpoint_id)
        messages = webhook_deliveries.before(connection, EndpointId(endpoint_id), status, before, limit)
        return [dict(row._mapping) for row in messages]


def replay(db: Database, workspace_id: WorkspaceId, endpoint_id: UUID, what: WebhookReplay, now: DateTime) -> int:
    """Send messages of an endpoint again, with the same ids. Calling this twice is safe.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        endpoint_id: the endpoint.
        what: which messages.
        now: the current time.

    Returns:
        How many messages are due again.

    Raises:
        NotFound: this workspace has no such endpoint.
    """
    since = None if what.since is None else pendulum.instance(what.since, "UTC")
    with db.begin() as connection:
        resources.show(db.within(connection), WEBHOOK_ENDPOINT_TYPE, workspace_id, endpoint_id)
        return webhook_deliveries.replay(connection, EndpointId(endpoint_id), since, now)
