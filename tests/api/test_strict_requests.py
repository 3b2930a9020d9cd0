"""What a request may not have, HEAD and OPTIONS, and web pages of other origins."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from support.deadline import wait_until

ORIGIN = {"Origin": "https://app.example.com"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{\n  "name": "x",\n  nobody: 1}', "is not JSON: line 3 column 3"),
        (b"", "is not JSON: line 1 column 0"),
        (b"{", "is not JSON: line 1 column 1"),
        (b'{"name": "\\ud800"}', "has half of a surrogate pair: line 1 column 17"),
        (b'{"name": ' + b"[" * 100_000, "is nested too deeply: line 1 column 210"),
        (b'{"name": ' + b"9" * 5_000, "has a number with too many digits: line 1 column 4311"),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_the_position(client: TestClient, body: bytes, reason: str) -> None:
    answer = client.post("/agents", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unreadable_body")
    assert answer.json()["error"]["details"] == [{"field": "body", "reason": reason}]


@pytest.mark.parametrize(
    ("header", "value"),
    [("Content-Encoding", "gzip"), ("Content-Type", "application/x-www-form-urlencoded"), ("Content-Type", "text/csv")],
)
def test_a_body_of_another_type_or_encoding_is_a_415(client: TestClient, header: str, value: str) -> None:
    headers = {"Content-Type": "application/json"} | {header: value}
    answer = client.post("/agents", content=b'{"name": "x"}', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert answer.json()["error"]["details"][0]["field"] == header


def test_a_type_with_parameters_is_accepted(client: TestClient) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "identity"}
    assert client.post("/agents", content=b'{"name": "x"}', headers=headers).status_code == 201


def test_an_unknown_query_parameter_is_refused_by_name(client: TestClient, draft: Draft) -> None:
    for path in ("/agents", f"/batch-calls/{draft()['id']}/contacts"):
        answer = client.get(path, params={"stauts": "active", "limit": 1})
        assert answer.status_code == 422
        reason = "is no parameter of this operation; did you mean status?"
        assert answer.json()["error"]["details"] == [{"field": "stauts", "reason": reason}]


def test_without_a_key_an_unknown_parameter_is_a_401(api: Api) -> None:
    with TestClient(api.app()) as client:
        assert client.get("/v1/agents?stauts=active").status_code == 401


@pytest.mark.parametrize("action", ["schedule", "resume"])
def test_an_action_without_fields_refuses_fields(client: TestClient, draft: Draft, action: str) -> None:
    path = f"/batch-calls/{draft(contacts=1)['id']}"
    answer = client.post(f"{path}/{action}", json={"dry_run": True})
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (422, "dry_run")
    assert client.get(path).json()["data"]["status"] == "draft"
    # An empty object has no field.
    status = client.post(f"{path}/{action}", json={}).status_code
    assert status == (200 if action == "schedule" else 422)


def test_head_answers_as_get_without_a_body(client: TestClient, draft: Draft) -> None:
    batch = f"/batch-calls/{draft(contacts=3)['id']}"
    for path in ("/agents", batch, f"{batch}/results.csv", f"{batch}/events", "http://testserver/healthz", "/nowhere"):
        head = client.head(path)
        assert head.content == b""
        if not path.endswith("events"):
            get = client.get(path)
            assert (head.status_code, head.headers["Content-Type"]) == (get.status_code, get.headers["Content-Type"])
            assert head.headers.get("Content-Length") == get.headers.get("Content-Length")
    assert client.head("/agents", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_head_ends_at_once_over_http(api: Api, draft: Draft) -> None:
    path = f"/batch-calls/{draft(contacts=3)['id']}"
    with api.served() as served:
        for end in ("", "/results.csv", "/events"):
            head = served.client.head(f"{path}{end}")
            assert (head.status_code, head.content) == (200, b"")
        wait_until(lambda: not served.app.state.batch_streams.open_streams)


def test_options_lists_the_methods_of_a_path(client: TestClient, draft: Draft) -> None:
    answer = client.options(f"/batch-calls/{draft()['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert client.options("/nowhere").status_code == 404


@pytest.fixture
def browser(api: Api) -> Iterator[TestClient]:
    allowing = Api(api.world, api.settings.model_copy(update={"cors_origins": ("https://app.example.com",)}))
    with allowing.client() as client:
        yield client


def test_a_page_of_an_allowed_origin_may_use_the_api(browser: TestClient) -> None:
    wanted = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = browser.options("/agents", headers=ORIGIN | wanted)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN["Origin"])
    answer = browser.get("/agents", headers=ORIGIN)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_other_origins_and_other_paths_are_not_allowed(browser: TestClient, client: TestClient) -> None:
    refused = browser.get("/agents", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert "Access-Control-Allow-Origin" not in browser.get("http://testserver/healthz", headers=ORIGIN).headers


def test_without_the_setting_no_origin_is_allowed(client: TestClient) -> None:
    assert "Access-Control-Allow-Origin" not in client.get("/agents", headers=ORIGIN).headers


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/agents?limit=-1", "limit"),
        ("/agents?limit=%D9%A5", "limit"),
        ("/agents?limit=1&limit=2", "limit"),
        ("/batch-calls?status=draft&status=active", "status"),
        ("/agents?name=%00", "name"),
        ("/agents?after=nix", "after"),
        ("/batch-calls?since=2026-02-30T10:00", "since"),
        ("/batch-calls/%2e%2e", "batch_id"),
        ("/calls?phone_number=%00", "phone_number"),
    ],
)
def test_a_hostile_parameter_is_refused_by_name(client: TestClient, path: str, field: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, [detail["field"] for detail in answer.json()["error"]["details"]]) == (422, [field])


def test_an_idempotency_key_that_cannot_be_stored_is_refused(client: TestClient) -> None:
    answer = client.post("/agents", json={"name": "x"}, headers={"X-Idempotency-Key": "a\0b"})
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (422, "x-idempotency-key")
