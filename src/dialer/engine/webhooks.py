"""Webhooks: sends the events of the outbox to the endpoints of their workspaces.

Each endpoint is worked on by itself, by one sender at a time: take it, number and read a page of what is due, send
without a transaction, record the answers. Should the sender die in between, the endpoint is free again after a while,
and the page is sent again with the same ids: a message arrives at least once.
"""

from dataclasses import dataclass
from random import Random

import structlog
from pendulum import DateTime

from dialer.domain.ids import EndpointId
from dialer.domain.webhook import (
    FAILING_AFTER,
    Answer,
    Message,
    Target,
    failures_in_a_row,
    pause_seconds,
    retry_seconds,
)
from dialer.engine.context import EngineContext
from dialer.providers.webhook_client import WebhookClient
from dialer.store import webhook_deliveries

ENDPOINTS = 100
PAGE = 200
AT_ONCE = 16
# Longer than a page may take: twice the timeout of a message, and the transactions.
TAKEN_SECONDS = 60
GIVE_UP_PAGE = 10_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WebhookReport:
    """How many messages were delivered, and how many failed. `is_full`: more may be due for this endpoint."""

    delivered: int = 0
    failed: int = 0
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class DueWebhooks:
    """`endpoints`: those that have messages to send, working ones first. `given_up`: messages whose time is over."""

    endpoints: list[EndpointId]
    given_up: int


def due_webhooks(context: EngineContext, now: DateTime) -> DueWebhooks:
    """Make messages dead letters whose time is over, and find the endpoints that have messages to send."""
    with context.db.begin() as connection:
        given_up = webhook_deliveries.give_up(connection, now, GIVE_UP_PAGE)
        endpoints = webhook_deliveries.due_endpoints(connection, now, ENDPOINTS)
    if given_up:
        log.warning("webhook messages given up after a day", count=given_up)
    return DueWebhooks(endpoints, given_up)


def send_webhooks(
    context: EngineContext, client: WebhookClient, endpoint_id: EndpointId, now: DateTime, rng: Random
) -> WebhookReport:
    """Send a page of an endpoint's messages. Safe to run twice, also at once: the second finds the endpoint taken.

    A failing endpoint gets one message at a time, and is left alone for longer each time it fails.
    """
    with context.db.begin() as connection:
        target = webhook_deliveries.take_endpoint(connection, endpoint_id, now, now.add(seconds=TAKEN_SECONDS))
        if target is None:
            return WebhookReport()
        size = PAGE if target.failures < FAILING_AFTER else 1
        messages = webhook_deliveries.take_messages(connection, endpoint_id, now, size)
    answers = client.send_all(target, messages, AT_ONCE)
    # It may have taken seconds.
    return _record(context, target, messages, answers, context.db.now(), rng)


def _record(
    context: EngineContext,
    target: Target,
    messages: list[Message],
    answers: dict[int, Answer],
    now: DateTime,
    rng: Random,
) -> WebhookReport:
    failed = [message for message in messages if (answer := answers.get(message.position)) and answer.error]
    due_at = {message.position: now.add(seconds=retry_seconds(message.attempts + 1, rng)) for message in failed}
    in_order = [answers[message.position] for message in messages if message.position in answers]
    delivered = len(in_order) - len(failed)
    failures = failures_in_a_row(target.failures, in_order)
    free_at = now.add(seconds=pause_seconds(failures, rng)) if failed else now
    with context.db.begin() as connection:
        webhook_deliveries.record_answers(connection, answers, due_at, now)
        webhook_deliveries.record_health(connection, target.id, in_order, failures, now, free_at)
        if any(answer.is_gone for answer in in_order):
            webhook_deliveries.disable(connection, target.id, "it answered 410: it wants no more messages")
    if failed:
        reason = answers[failed[-1].position].error
        log.info("webhook messages failed", endpoint_id=str(target.id), failed=len(failed), reason=reason)
    return WebhookReport(delivered, len(failed), is_full=delivered > 0 and len(messages) == PAGE)
