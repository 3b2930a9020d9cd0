"""What networks report by HTTP, through the front door: proved by a signature, stored once, and refused without it."""

import base64
import json
from datetime import UTC
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from standardwebhooks import Webhook

from api.conftest import Api
from dialer import tracing
from dialer.api.webhooks import report_queue
from dialer.tracing import Tracing
from support.networks.twilio import ACCOUNT_SID, AUTH_TOKEN
from support.networks.twilio_calls import signature
from support.world import World

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()


@pytest.fixture
def trunk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """A trunk whose network reports by HTTP."""
    monkeypatch.setenv("TRUNK_PLATFORM_SECRET", SECRET)
    config = {"url": "http://127.0.0.1:9/calls", "secret": "env:TRUNK_PLATFORM_SECRET"}
    answer = client.post("/trunks", json={"name": "platform", "provider": "http", "config": config})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


def signed(body: bytes, world: World, secret: str = SECRET) -> dict[str, str]:
    at = world.clock.now.astimezone(UTC)
    signature = Webhook(secret).sign("msg_1", at, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def rung(world: World) -> bytes:
    report: dict[str, Any] = {"attempt_id": str(uuid4()), "event": "ringing", "at": world.clock.now.isoformat()}
    return json.dumps(report).encode()


def stored(world: World) -> int:
    return int(world.value("SELECT count(*) FROM inbox"))


def test_a_signed_report_is_stored_once_however_often_it_comes(client: TestClient, world: World, trunk: str) -> None:
    body = rung(world)
    for _ in range(2):
        answer = client.post(f"/providers/http/{trunk}/events", content=body, headers=signed(body, world))
        assert (answer.status_code, answer.content) == (204, b"")
    assert stored(world) == 1


@pytest.mark.parametrize("secret", [None, "whsec_" + base64.b64encode(b"another one, also long en").decode()])
def test_a_report_that_is_not_signed_by_its_trunk_is_a_403_and_is_not_stored(
    client: TestClient, world: World, trunk: str, secret: str | None
) -> None:
    body = rung(world)
    headers = signed(body, world, secret) if secret else {}
    answer = client.post(f"/providers/http/{trunk}/events", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_signed")
    assert stored(world) == 0


def test_a_report_is_a_span_of_the_trace_of_its_attempt_and_linked_to_its_request(
    client: TestClient, world: World, trunk: str
) -> None:
    exporter, body = InMemorySpanExporter(), rung(world)
    tracing.use(Tracing(SimpleSpanProcessor(exporter), "1.2", "api"))
    try:
        client.post(f"/providers/http/{trunk}/events", content=body, headers=signed(body, world))
    finally:
        tracing.use(None)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    report, request = spans["report ringing"], spans["request"]
    assert report.context
    assert report.context.trace_id == UUID(json.loads(body)["attempt_id"]).int
    assert [link.context for link in report.links] == [request.context]
    assert request.attributes
    assert request.attributes["dialer.request_id"]


def test_a_report_that_was_stored_is_acknowledged_though_settle_cannot_be_asked(
    api: Api, client: TestClient, world: World, trunk: str
) -> None:
    def ask_a_broker_that_is_away() -> None:
        raise ConnectionError

    api.app().state.report_queue = report_queue(world.db, ask_a_broker_that_is_away)
    body = rung(world)
    answer = client.post(f"/providers/http/{trunk}/events", content=body, headers=signed(body, world))
    assert (answer.status_code, stored(world)) == (204, 1)


@pytest.mark.parametrize("query", ["", "?ring=until_window_ends"])
def test_behind_a_proxy_a_report_is_signed_for_the_url_that_the_network_was_told(
    api: Api, client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setenv("TRUNK_TWILIO_AUTH_TOKEN", AUTH_TOKEN)
    config = {"account_sid": ACCOUNT_SID, "auth_token": "env:TRUNK_TWILIO_AUTH_TOKEN"}
    trunk = client.post("/trunks", json={"name": "carrier", "provider": "twilio", "config": config}).json()["data"][
        "id"
    ]
    path = f"/v1/providers/twilio/{trunk}/events/{uuid4()}{query}"
    fields = {"CallSid": "CA" + "a" * 32, "CallStatus": "ringing"}
    public = Api(world, api.settings.model_copy(update={"public_url": "https://dialer.example"}))
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": signature(f"https://dialer.example{path}", fields, AUTH_TOKEN),
    }
    with public.client() as proxied:
        answer = proxied.post(f"http://testserver{path}", content=urlencode(fields), headers=headers)
    assert (answer.status_code, stored(world)) == (204, 1)


def test_a_signed_report_that_cannot_be_read_is_a_422_that_names_the_field(
    client: TestClient, world: World, trunk: str
) -> None:
    body = rung(world).replace(b"ringing", b"whistling")
    answer = client.post(f"/providers/http/{trunk}/events", content=body, headers=signed(body, world))
    assert answer.status_code == 422
    assert "event" in answer.json()["error"]["details"][0]["field"]
    assert stored(world) == 0


def test_trunks_that_are_not_there_or_do_not_report_by_http_are_404(
    client: TestClient, world: World, trunk: str
) -> None:
    world.sql("UPDATE trunks SET config = :config WHERE provider = 'simulator'", config='{"url": "tcp://127.0.0.1:9"}')
    paths = [f"http/{uuid4()}/events", f"twilio/{trunk}/events", f"simulator/{world.installed.trunk_id}/events"]
    answers = [client.post(f"/providers/{path}", content=b"{}") for path in paths]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
