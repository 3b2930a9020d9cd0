"""Webhook events are written with the facts, and sent at least once, without one endpoint delaying another."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from uuid import UUID

import pendulum
import pytest
from standardwebhooks import Webhook

from dialer.domain.webhook import WebhookEvent
from dialer.engine.webhooks import WebhookReport, due_endpoints, send_webhooks
from dialer.providers.egress import Egress
from dialer.providers.webhook_client import WebhookClient
from dialer.service import webhook_endpoints
from dialer.service.webhook_endpoints import NewWebhookEndpoint
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.webhook_receiver import WebhookReceiver, receiving
from support.world import World

LOOPBACK = Egress.to(["127.0.0.0/8"])
ALL = list(WebhookEvent)


class Sender:
    """Sends what is due at the clock of a world. `client`: its connections."""

    def __init__(self, world: World, client: WebhookClient) -> None:
        self.world, self.client = world, client

    def subscribe(self, url: str, events: list[WebhookEvent] = ALL) -> dict[str, Any]:
        new = NewWebhookEndpoint(url=url, events=events)
        world = self.world
        return webhook_endpoints.create(world.db, world.installed.workspace_id, new, world.clock.now, world.rng)

    def send(self) -> list[WebhookReport]:
        now = self.world.clock.now
        endpoints = due_endpoints(self.world.context, now)
        return [send_webhooks(self.world.context, self.client, each, now, Random(1)) for each in endpoints]


@pytest.fixture
def make_sender(world: World) -> Iterator[Callable[..., Sender]]:
    clients: list[WebhookClient] = []

    def make(egress: Egress = LOOPBACK, timeout_seconds: float = 5.0) -> Sender:
        clients.append(WebhookClient(egress, lambda: pendulum.now("UTC"), timeout_seconds))
        return Sender(world, clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def sender(make_sender: Callable[..., Sender]) -> Sender:
    return make_sender()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with receiving() as receiver:
        yield receiver


def one_call(world: World) -> UUID:
    """Call the only contact of a batch, which answers, and let the batch end."""
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    (attempt_id,) = live_attempts(world)
    end_call(world, attempt_id)
    dispatch_and_place(world, batch_id)
    return batch_id


def test_a_call_is_told_from_its_start_to_the_end_of_its_batch(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    secret = sender.subscribe(receiver.url)["secret"]
    batch_id = one_call(world)
    assert sender.send() == [WebhookReport(delivered=6)]
    told = sorted(receiver.bodies, key=lambda body: body["data"]["sequence"])
    assert [(body["data"]["sequence"], body["type"]) for body in told] == [
        (1, "batch.status_changed"),
        (2, "call.started"),
        (3, "call.ended"),
        (4, "contact.finished"),
        (5, "batch.status_changed"),
        (6, "batch.completed"),
    ]
    assert {body["data"]["batch_id"] for body in told} == {str(batch_id)}
    assert (told[2]["data"]["outcome"], told[2]["data"]["phone_number"]) == ("answered", "+12015550000")
    assert len(set(receiver.ids)) == 6
    for request in receiver.requests:
        Webhook(secret).verify(request.body, dict(request.headers))
    assert sender.send() == []
