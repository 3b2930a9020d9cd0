"""`/webhook-endpoints`: what an admin sees and sets."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import METRICS, Api, Draft
from dialer.domain.roles import Role
from dialer.service.webhook_endpoints import MAX_ENDPOINTS
from support.world import World

URL = "https://example.com/hook"


@pytest.fixture
def endpoint(client: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = client.post("/webhook-endpoints", json={"url": URL}).json()["data"]
    return made


def test_the_secret_is_shown_once_and_the_health_always(client: TestClient, endpoint: dict[str, Any]) -> None:
    assert endpoint["secret"].startswith("whsec_")
    assert len(endpoint["events"]) == 5
    path = f"/webhook-endpoints/{endpoint['id']}"
    shown = client.get(path).json()["data"]
    assert shown == {name: value for name, value in endpoint.items() if name != "secret"}
    assert shown["health"] == {
        "pending": 0, "oldest_pending_at": None, "failures": 0, "failing_since": None, "next_try_at": None,
        "last_success_at": None, "last_failure_at": None, "last_error": None, "disabled_reason": None,
    }  # fmt: skip
    (listed,) = client.get("/webhook-endpoints", params={"url": URL}).json()["data"]
    assert listed == shown
    changed = client.patch(path, json={"events": ["call.ended"], "description": "x"}).json()["data"]
    assert (changed["events"], changed["description"], "secret" in changed) == (["call.ended"], "x", False)
    assert client.post(f"{path}/rotate-secret").json()["data"]["secret"] != endpoint["secret"]
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "example.com"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "https://user:password@example.com"}, "url"),
        ({"url": "https://example.com/#part"}, "url"),
        ({"url": "https://exa mple.com"}, "url"),
        ({"url": "https://example.com/\n"}, "url"),
        ({"url": f"https://example.com/{'x' * 2048}"}, "url"),
        ({"url": "https://example.com:99999"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["call.ended", "call.ended"]}, "events"),
        ({"url": URL, "events": ["call.rang"]}, "events.0"),
        ({"url": URL, "secret": "whsec_x"}, "secret"),
    ],
)
def test_a_wrong_endpoint_is_refused_with_its_field(client: TestClient, body: dict[str, Any], field: str) -> None:
    answer = client.post("/webhook-endpoints", json=body)
    assert answer.status_code == 422, answer.text
    assert [detail["field"] for detail in answer.json()["error"]["details"]] == [field]


def test_a_workspace_has_one_endpoint_for_a_url_and_few_in_all(client: TestClient, endpoint: dict[str, Any]) -> None:
    again = client.post("/webhook-endpoints", json={"url": URL})
    assert (again.status_code, again.json()["error"]["details"][0]["field"]) == (422, "url")
    codes = [
        client.post("/webhook-endpoints", json={"url": f"{URL}/{number}"}).status_code
        for number in range(MAX_ENDPOINTS)
    ]
    assert codes == [201] * (MAX_ENDPOINTS - 1) + [422]


def test_messages_are_listed_by_status_and_dead_letters_are_replayed(
    client: TestClient, draft: Draft, world: World, endpoint: dict[str, Any], api: Api
) -> None:
    path = f"/webhook-endpoints/{endpoint['id']}"
    batch = draft(contacts=1)
    client.post(f"/batch-calls/{batch['id']}/schedule")
    (message,) = client.get(f"{path}/deliveries", params={"status": "pending"}).json()["data"]
    assert (message["type"], message["batch_id"], message["sequence"]) == ("batch.status_changed", batch["id"], None)
    assert message["data"]["previous_status"] == "draft"
    assert client.get(f"{path}/deliveries", params={"status": "dead"}).json()["pagination"]["total"] == 0
    assert client.get(path).json()["data"]["health"]["pending"] == 1
    page = client.get("http://testserver/metrics", headers=METRICS).text
    assert "dialer_webhooks_pending 1.0" in page
    world.sql("UPDATE webhook_deliveries SET status = 'dead', finished_at = dialer_now()")
    for _ in range(2):
        again = client.post(f"{path}/replay", headers={"X-Idempotency-Key": "k"})
        assert again.json()["data"] == {"messages": 1}
    assert client.post(f"{path}/replay", json={}).json()["data"] == {"messages": 0}
    wrong = client.post(f"{path}/replay", json={"since": "yesterday"})
    assert (wrong.status_code, wrong.json()["error"]["details"][0]["field"]) == (422, "since")


def test_nobody_else_sees_an_endpoint(api: Api, client: TestClient, endpoint: dict[str, Any]) -> None:
    with api.client(Role.ADMIN, api.workspace("other")) as stranger:
        assert stranger.get("/webhook-endpoints").json()["data"] == []
        for method, path in (("GET", ""), ("GET", "/deliveries"), ("POST", "/replay"), ("POST", "/rotate-secret")):
            assert stranger.request(method, f"/webhook-endpoints/{endpoint['id']}{path}").status_code == 404
    with api.client(Role.OPERATOR) as operator:
        assert operator.get("/webhook-endpoints").status_code == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "10.0.0.5", "169.254.169.254", "[::1]", "[::ffff:10.0.0.5]"]
)
def test_an_address_that_is_not_public_is_refused_and_changes_nothing(
    client: TestClient, endpoint: dict[str, Any], host: str
) -> None:
    path, body = f"/webhook-endpoints/{endpoint['id']}", {"url": f"https://{host}:8443/hook"}
    for answer in (client.post("/webhook-endpoints", json=body), client.patch(path, json=body)):
        assert answer.status_code == 422
        (detail,) = answer.json()["error"]["details"]
        assert (detail["field"], detail["reason"]) == ("url", "leads to an address that is not public")
    assert [row["url"] for row in client.get("/webhook-endpoints").json()["data"]] == [URL]


def test_a_public_address_and_any_name_are_accepted(client: TestClient) -> None:
    for url in ("https://93.184.215.14/hook", "https://[2606:2800:21f::1]/hook", "https://hooks.internal/", URL):
        assert client.post("/webhook-endpoints", json={"url": url}).status_code == 201
