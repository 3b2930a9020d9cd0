"""Webhook events are written with the facts, and sent at least once, without one endpoint delaying another."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import pendulum
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from dialer.domain.webhook import WebhookEvent
from dialer.engine.retention import retention
from dialer.engine.webhooks import TAKEN_SECONDS, WebhookReport, due_webhooks, send_webhooks
from dialer.providers.egress import AddressRefused, Egress
from dialer.providers.webhook_client import WebhookClient
from dialer.service import keys, webhook_endpoints
from dialer.service.webhook_endpoints import NewWebhookEndpoint, WebhookReplay
from dialer.store.database import run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import advance_clock, dispatch_and_place, end_call, live_attempts, run_concurrently
from support.networks.http_server import Reply
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
        endpoints = due_webhooks(self.world.context, now).endpoints
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


def endpoint(world: World) -> Any:
    (row,) = world.rows("SELECT * FROM webhook_endpoints e JOIN webhook_health h ON h.endpoint_id = e.id")
    return row


def deliveries(world: World, columns: str) -> list[Any]:
    return world.rows(f"SELECT {columns} FROM webhook_deliveries ORDER BY position")


def change_status(world: World, *statuses: str) -> UUID:
    """Let a batch take these statuses, one after the other."""
    batch_id = world.batch(1, start=False)
    for status in statuses:
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=batch_id)
    return batch_id


def test_an_endpoint_gets_only_what_it_has_subscribed_to(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url, [WebhookEvent.CALL_ENDED])
    one_call(world)
    sender.send()
    assert [body["type"] for body in receiver.bodies] == ["call.ended"]
    assert [body["data"]["sequence"] for body in receiver.bodies] == [1]


def test_each_batch_is_numbered_without_gaps_in_the_order_of_its_events(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    receiver.answer = lambda _: Reply(500 if len(receiver.requests) % 3 == 0 else 204)
    batches = [world.batch(8, start=False) for _ in range(3)]
    for batch_id in batches:
        world.sql("UPDATE batches SET status = 'active' WHERE id = :id", id=batch_id)
        dispatch_and_place(world, batch_id)
        sender.send()
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id)
        sender.send()
    for batch_id in batches:
        dispatch_and_place(world, batch_id)
    while world.value("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'"):
        advance_clock(world, 60)
        sender.send()
    numbered: dict[str, list[tuple[int, int]]] = {}
    for row in world.rows("SELECT batch_id, position, sequence FROM webhook_deliveries ORDER BY position"):
        numbered.setdefault(row.batch_id, []).append((row.position, row.sequence))
    # One for each of two calls, contacts, and three of the batch itself.
    assert {batch_id: [sequence for _, sequence in rows] for batch_id, rows in numbered.items()} == {
        batch_id: list(range(1, 8 * 3 + 4)) for batch_id in batches
    }
    assert {body["data"]["sequence"] for body in receiver.bodies} == set(range(1, 8 * 3 + 4))


def test_a_contact_that_is_final_is_told_once(world: World, sender: Sender) -> None:
    sender.subscribe("https://example.com", [WebhookEvent.CONTACT_FINISHED])
    one_call(world)
    world.sql("UPDATE contacts SET name = 'Ada'")
    assert deliveries(world, "type") == [("contact.finished",)]


def test_what_is_reported_after_the_end_of_a_call_does_not_end_it_again(world: World, sender: Sender) -> None:
    sender.subscribe("https://example.com", [WebhookEvent.CALL_ENDED])
    one_call(world)
    world.sql("UPDATE attempts SET disposition = 'x'")
    assert deliveries(world, "type") == [("call.ended",)]


def test_a_refused_placement_is_no_call(world: World, sender: Sender) -> None:
    sender.subscribe("https://example.com", [WebhookEvent.CALL_STARTED, WebhookEvent.CALL_ENDED])
    dispatch_and_place(world, world.batch(1))
    world.sql("UPDATE attempts SET state = 'reserved'")
    world.sql("DELETE FROM webhook_deliveries")
    world.sql("UPDATE attempts SET state = 'refused', rescue_at = NULL, ended_at = dialer_now()")
    assert deliveries(world, "*") == []


def test_a_workspace_hears_nothing_of_others(
    make_world: Callable[..., World], world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    other = keys.ensure_workspace(world.db, "other", world.clock.now, world.rng)
    new = NewWebhookEndpoint(url=receiver.url)
    webhook_endpoints.create(world.db, other, new, world.clock.now, world.rng)
    one_call(world)
    assert deliveries(world, "*") == []


@pytest.mark.parametrize("status", [None, "inactive"])
def test_without_an_active_endpoint_no_row_is_written(world: World, sender: Sender, status: str | None) -> None:
    if status:
        sender.subscribe("https://example.com")
        world.sql("UPDATE webhook_endpoints SET status = :status", status=status)
    one_call(world)
    assert deliveries(world, "*") == []


def test_what_is_rolled_back_is_not_told(world: World, sender: Sender) -> None:
    sender.subscribe("https://example.com")
    batch_id = world.batch(1, start=False)
    with world.db.begin() as connection:
        run(connection, "UPDATE batches SET status = 'active' WHERE id = :id", id=batch_id)
        connection.rollback()
    assert deliveries(world, "*") == []


def test_contacts_that_a_bulk_change_ends_are_told(world: World, sender: Sender) -> None:
    sender.subscribe("https://example.com", [WebhookEvent.CONTACT_FINISHED])
    change_status(world, "active", "cancelled")
    world.change_pages()
    assert deliveries(world, "data ->> 'status'") == [("cancelled",)]


def test_a_crash_before_the_answer_is_recorded_sends_the_same_message_again(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    change_status(world, "active")

    class Crash(WebhookClient):
        def send_all(self, *arguments: Any) -> Any:
            sender.client.send_all(*arguments)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sender(world, Crash(LOOPBACK, world.clock)).send()
    # It is not due, and whoever was asked before to send to it finds it taken.
    assert sender.send() == []
    of = endpoint(world).id
    assert send_webhooks(world.context, sender.client, of, world.clock.now, Random(1)) == WebhookReport()
    advance_clock(world, TAKEN_SECONDS)
    assert sender.send() == [WebhookReport(delivered=1)]
    first, second = receiver.requests
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


def test_an_endpoint_is_worked_on_by_one_sender_at_a_time(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    for _ in range(30):
        change_status(world, "active")
    reports = run_concurrently(*[sender.send] * 4)
    delivered = sum(report.delivered for each in reports for report in each)
    assert (delivered, len(receiver.ids), len(set(receiver.ids))) == (30, 30, 30)


def test_a_message_that_fails_is_sent_again_with_backoff_until_it_is_a_dead_letter_after_a_day_and_can_be_replayed(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    secret = sender.subscribe(receiver.url)["secret"]
    receiver.answer = lambda _: Reply(500)
    change_status(world, "active")
    tries, started_at = 0, world.clock.now
    while deliveries(world, "status") == [("pending",)]:
        tries += len(sender.send())
        due_at = world.value("SELECT greatest(d.due_at, h.free_at) FROM webhook_deliveries d, webhook_health h")
        world.clock.now = max(pendulum.instance(due_at), world.clock.now.add(seconds=1))
    assert world.clock.now >= started_at.add(days=1)
    assert 24 <= tries <= 60
    assert deliveries(world, "status, attempts, response_status, error") == [("dead", tries, 500, "it answered 500")]
    assert sender.send() == []
    receiver.answer = lambda _: Reply(204)
    world.sql("UPDATE webhook_health SET free_at = :now", now=world.clock.now)
    of = world.installed.workspace_id
    assert webhook_endpoints.replay(world.db, of, endpoint(world).id, WebhookReplay(), world.clock.now) == 1
    assert sender.send() == [WebhookReport(delivered=1)]
    assert len(set(receiver.ids)) == 1
    assert deliveries(world, "status, attempts") == [("delivered", tries + 1)]
    Webhook(secret).verify(receiver.requests[-1].body, dict(receiver.requests[-1].headers))
    assert (endpoint(world).failures, endpoint(world).failing_since) == (0, None)


def test_a_replay_since_a_time_sends_again_what_was_delivered(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    change_status(world, "active")
    advance_clock(world, 60)
    change_status(world, "active")
    sender.send()
    what = WebhookReplay(since=world.clock.now)
    of = world.installed.workspace_id
    assert webhook_endpoints.replay(world.db, of, endpoint(world).id, what, world.clock.now) == 1
    sender.send()
    assert len(receiver.ids) == 3
    # Messages are sent at the same time, so the first two may have come in either order.
    first, second = (str(record.id) for record in deliveries(world, "id"))
    assert (sorted(receiver.ids[:2]), receiver.ids[2]) == (sorted([first, second]), second)


def test_messages_of_an_endpoint_that_cannot_be_tried_are_given_up_too(world: World, sender: Sender) -> None:
    sender.subscribe("https://example.com")
    change_status(world, "active")
    world.sql("UPDATE webhook_endpoints SET status = 'inactive'")
    advance_clock(world, 86_400)
    assert sender.send() == []
    assert deliveries(world, "status, error") == [("dead", "the endpoint could not be tried within a day")]


def test_an_endpoint_that_is_gone_is_disabled_with_a_reason_until_its_owner_sets_it_active(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    receiver.answer = lambda _: Reply(410)
    change_status(world, "active")
    sender.send()
    assert (endpoint(world).status, endpoint(world).disabled_reason) == (
        "inactive",
        "it answered 410: it wants no more messages",
    )
    change_status(world, "active")
    assert len(deliveries(world, "*")) == 1
    receiver.answer = lambda _: Reply(200)
    world.sql("UPDATE webhook_endpoints SET status = 'active'")
    advance_clock(world, 60)
    assert sender.send() == [WebhookReport(delivered=1)]
    assert endpoint(world).disabled_reason is None


def test_a_failing_endpoint_gets_one_message_at_a_time_and_is_left_alone_for_longer_each_time(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    receiver.answer = lambda _: Reply(503)
    for _ in range(20):
        change_status(world, "active")
    assert sender.send() == [WebhookReport(failed=20)]
    assert endpoint(world).free_at > world.clock.now
    assert sender.send() == []
    world.clock.now = pendulum.instance(endpoint(world).free_at)
    assert sender.send() == [WebhookReport(failed=1)]
    receiver.answer = lambda _: Reply(200)
    world.clock.now = pendulum.instance(endpoint(world).free_at)
    assert sender.send() == [WebhookReport(delivered=1)]
    assert sender.send() == [WebhookReport(delivered=19)]


HANG = Reply(None)
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x" * (2 << 20)


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (HANG, None, "no answer within 3 seconds"),
        (Reply(None, raw=b"hello\r\n\r\n"), None, "what it answered is not HTTP"),
        (Reply(None, raw=b""), None, "what it answered is not HTTP, or broke off"),
        (Reply(None, raw=ENDLESS), 200, "an answer of more than 1048576 bytes"),
        (Reply(302, headers={"location": "http://169.254.169.254/"}), 302, "it answered 302, and redirects are not"),
        (Reply(500), 500, "it answered 500"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_recorded(
    world: World,
    make_sender: Callable[..., Sender],
    receiver: WebhookReceiver,
    reply: Reply,
    status: int | None,
    reason: str,
) -> None:
    sender = make_sender(timeout_seconds=3 if reply is HANG else DEADLINE_SECONDS)
    sender.subscribe(receiver.url)
    receiver.answer = lambda _: reply
    change_status(world, "active")
    assert sender.send() == [WebhookReport(failed=1)]
    ((answered, error),) = deliveries(world, "response_status, error")
    assert (answered, error[: len(reason)]) == (status, reason)
    assert endpoint(world).last_error == error
    assert len(receiver.requests) == 1


def test_a_message_that_cannot_be_sent_stops_no_other(world: World, sender: Sender, receiver: WebhookReceiver) -> None:
    sender.subscribe(receiver.url)
    change_status(world, "active")
    world.sql("UPDATE webhook_endpoints SET secret = 'no secret'")
    assert sender.send() == [WebhookReport(failed=1)]
    assert deliveries(world, "error") == [("it could not be sent (Unavailable)",)]


def test_nothing_is_sent_to_a_private_address(
    world: World, make_sender: Callable[..., Sender], receiver: WebhookReceiver
) -> None:
    sender = make_sender(egress=Egress())
    sender.subscribe(receiver.url)
    change_status(world, "active")
    assert sender.send() == [WebhookReport(failed=1)]
    assert deliveries(world, "error") == [(str(AddressRefused()),)]
    assert receiver.requests == []


def test_a_name_that_leads_elsewhere_at_its_next_look_up_is_refused(
    world: World, make_sender: Callable[..., Sender], receiver: WebhookReceiver
) -> None:
    """Each connection looks the name up once, and leads to the address that was checked."""
    receiver.answer = lambda _: Reply(204, headers={"connection": "close"})
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    sender = make_sender(egress=replace(Egress.to(["127.0.0.1/32"]), resolve=resolve))
    sender.subscribe(receiver.url.replace("127.0.0.1", "rebinding.example"))
    for report in (WebhookReport(delivered=1), WebhookReport(failed=1)):
        change_status(world, "active")
        assert sender.send() == [report]
    assert asked == ["rebinding.example"] * 2
    assert endpoint(world).last_error == str(AddressRefused())
    assert len(receiver.requests) == 1


def test_an_endpoint_that_never_answers_delays_no_other(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    with receiving() as hanging:
        hanging.is_held = True
        sender.subscribe(hanging.url)
        sender.subscribe(receiver.url)
        change_status(world, "active")
        with ThreadPoolExecutor(2) as pool:
            sends = [
                pool.submit(send_webhooks, world.context, sender.client, each, world.clock.now, Random(1))
                for each in due_webhooks(world.context, world.clock.now).endpoints
            ]
            wait_until(lambda: any(one.done() for one in sends) and bool(hanging.requests))
            assert (len(receiver.requests), sum(one.done() for one in sends)) == (1, 1)
            hanging.is_held = False
        assert [one.result().delivered for one in sends] == [1, 1]


def test_a_client_that_is_closed_gives_up_what_it_is_sending(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda _: HANG
    sender.subscribe(receiver.url)
    change_status(world, "active")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sender.send)
        wait_until(lambda: bool(receiver.requests))
        sender.client.close()
        assert sending.result(DEADLINE_SECONDS) == [WebhookReport()]
    assert deliveries(world, "status, attempts") == [("pending", 0)]
    assert endpoint(world).failures == 0


def test_old_messages_and_those_of_deleted_endpoints_are_removed(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    sender.subscribe(receiver.url)
    change_status(world, "active")
    sender.send()
    change_status(world, "active")
    advance_clock(world, 8 * 86_400)
    retention(world.context, world.clock.now, 90, webhook_days=7)
    assert deliveries(world, "status") == [("pending",)]
    world.sql("DELETE FROM webhook_endpoints")
    retention(world.context, world.clock.now, 90)
    assert deliveries(world, "*") == []


def test_a_replaced_secret_signs_for_a_day_beside_the_new_one(
    world: World, sender: Sender, receiver: WebhookReceiver
) -> None:
    old = sender.subscribe(receiver.url)["secret"]
    of, now = world.installed.workspace_id, world.clock.now
    new = webhook_endpoints.rotate_secret(world.db, of, endpoint(world).id, now)["secret"]
    assert new != old
    change_status(world, "active")
    sender.send()
    for secret in (old, new):
        Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))
    advance_clock(world, 86_400)
    change_status(world, "active")
    sender.send()
    Webhook(new).verify(receiver.requests[1].body, dict(receiver.requests[1].headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(receiver.requests[1].body, dict(receiver.requests[1].headers))
