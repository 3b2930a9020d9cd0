"""What surrounds every request: ids, headers, errors in one form, limits, and bodies that are none."""

import os
import re
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from api.conftest import METRICS, METRICS_TOKEN, Api, Draft
from dialer import wiring
from dialer.api.app import make_app, make_routes
from dialer.api.docs import page
from dialer.api.request_context import SECURITY_HEADERS
from dialer.settings import Settings
from support.world import World


def test_a_request_has_an_id_which_is_taken_or_made(client: TestClient) -> None:
    taken = client.get("/agents", headers={"X-Request-Id": "order-66.a_B"})
    assert taken.headers["X-Request-Id"] == taken.json()["meta"]["request_id"] == "order-66.a_B"
    for bad in ("", "a b", "x" * 129, "<script>"):
        made = client.get("/agents", headers={"X-Request-Id": bad})
        assert made.headers["X-Request-Id"] == made.json()["meta"]["request_id"] != bad


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("PUT", "/v1/agents", 405, "method_not_allowed"),
        ("GET", "/v1/agents/x", 422, "invalid_input"),
        ("GET", "/v1/agents?limit=x", 422, "invalid_input"),
        ("GET", "/v1/agents?name=%00", 422, "invalid_input"),
        ("GET", "/v1/agents/%00", 422, "invalid_input"),
        ("GET", "/v1/agents?name=%ff", 200, ""),
        ("POST", "/v1/agents", 400, "unreadable_body"),
        ("GET", "/healthz", 200, ""),
        ("GET", "/readyz", 200, ""),
    ],
)
def test_every_answer_has_its_form_and_the_headers_that_protect(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, f"http://testserver{path}")
    assert answer.status_code == status, answer.text
    if code:
        body = answer.json()
        assert (set(body), body["error"]["code"]) == ({"error", "meta"}, code)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert "Server" not in answer.headers
    if status == 405:
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_the_page_of_the_documentation_needs_no_script_and_no_other_host(client: TestClient) -> None:
    page = client.get("http://testserver/docs")
    (style,) = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    assert page.headers["Content-Security-Policy"] == policy
    # An example may contain a URL; it is text.
    assert not re.findall(r"<script|https?://|\bsrc=|\bon[a-z]+=", re.sub(r"<pre>[^<]*</pre>", "", page.text))
    assert client.get("/agents").headers["Content-Security-Policy"].startswith("default-src 'none';")


def test_the_page_of_the_documentation_has_every_operation_field_and_link(client: TestClient, api: Api) -> None:
    text, document = client.get("http://testserver/docs").text, api.app().openapi()
    for path, methods in document["paths"].items():
        assert all(f"<code>{method.upper()} {path}</code>" in text for method in methods)
    for name, schema in document["components"]["schemas"].items():
        assert f"id='{name}'" in text
        assert all(f"<td>{field}<td>" in text for field in schema.get("properties", {}))
    assert set(re.findall("href='#([^']+)'", text)) <= set(re.findall("id='([^']+)'", text))


def test_what_the_document_says_is_no_html_of_the_page() -> None:
    shown = {"type": "string", "pattern": "<b>", "description": "<i>`<u>`", "default": "<s>"}
    schemas = {"<h1>": {"properties": {"<em>": shown}, "enum": ["<a>"], "example": {"<p1>": 1}, "description": "<q>"}}
    text = page({"info": {"description": "<x>"}, "tags": [], "paths": {}, "components": {"schemas": schemas}})
    assert not re.search("<(b|i|u|s|h1>&|em|a|p1|q|x)>", text.partition("Schemas")[2])


def test_no_answer_redirects_to_another_scheme(api: Api) -> None:
    """Behind a proxy that speaks TLS, the key would follow a redirect to http:// in the clear."""
    with api.client() as client:
        for path in ("/agents/", "/batch-calls/", "/trunks/"):
            answer = client.get(path, follow_redirects=False)
            assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_forwarded_headers_are_believed_from_trusted_proxies_alone(api: Api) -> None:
    app, seen = make_routes(), list[str]()

    @app.get("/seen")
    async def scheme(request: Request) -> None:
        seen.append(f"{request.url.scheme} {request.client and request.client.host}")

    def ask(**settings: Any) -> str:
        with api.served(changed=app, **settings) as served:
            url = served.url.removesuffix("/v1") + "/seen"
            served.client.get(url, headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"})
        return seen.pop()

    assert ask() == "http 127.0.0.1"
    assert ask(trusted_proxies=("10.0.0.2",)) == "http 127.0.0.1"
    assert ask(trusted_proxies=("127.0.0.0/8",)) == "https 203.0.113.9"


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic for-prometheus", f"Bearer {METRICS_TOKEN}x", "ADMIN"])
def test_the_metrics_of_the_installation_are_for_the_token_of_its_owner(api: Api, header: str | None) -> None:
    with TestClient(api.app()) as client:
        headers = {"Authorization": f"Bearer {api.key()}" if header == "ADMIN" else header} if header else {}
        answer = client.get("/metrics", headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["code"] == "not_authenticated"


@pytest.mark.parametrize("header", ["Bearer ", "Bearer", "Bearer None", ""])
def test_without_a_token_nobody_reads_the_metrics(api: Api, header: str) -> None:
    closed = Api(api.world, api.settings.model_copy(update={"metrics_token": None}))
    with TestClient(closed.app()) as client:
        assert client.get("/metrics", headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"name": "\xff"}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"x"', 422),
        (b'{"name": "x", "metadata": NaN}', 422),
        (b'{"name": "x", "metadata": {"a": NaN}}', 422),
        (b'{"name": "x", "priority": 1e999}', 422),
        (b'{"name": "x", "priority": ' + b"9" * 5000 + b"}", 400),
        (b'{"name": "\\u0000"}', 422),
        (b'{"name": "\\ud800"}', 400),
        (b'{"name": "x", "name": 5}', 422),
    ],
    ids=range(16),
)
def test_no_body_is_a_500(client: TestClient, body: bytes, status: int) -> None:
    for path in ("/batch-calls", "/agents", "/keys"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (status, 422), answer.text
        assert answer.json()["error"]["details"]


def test_a_failure_of_ours_reveals_nothing(client: TestClient, world: World) -> None:
    world.sql("ALTER TABLE suppressions RENAME TO gone")
    try:
        missing = client.get("/suppressions")
        world.sql("CREATE VIEW suppressions AS SELECT *, 1 / 0 AS broken FROM gone WHERE 1 / 0 = 1")
        broken = client.get("/suppressions")
    finally:
        world.sql("DROP VIEW IF EXISTS suppressions")
        world.sql("ALTER TABLE gone RENAME TO suppressions")
    assert (missing.status_code, missing.json()["error"]["code"]) == (503, "unavailable")
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "internal_error")
    for answer in (missing, broken):
        assert "suppressions" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_key_that_asks_too_often_is_told_when_to_come_back(api: Api) -> None:
    with api.served(rate_limit_per_minute=5) as first, api.served(rate_limit_per_minute=5) as second:
        key = {"Authorization": first.client.headers["Authorization"]}
        answers = [served.client.get("/agents", headers=key) for served in (first, second) * 4]
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 3
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        # Another key has its own count.
        assert first.client.get("/agents", headers={"Authorization": f"Bearer {api.key()}"}).status_code == 200


def test_requests_pass_uncounted_while_redis_is_away(api: Api) -> None:
    away = api.settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})
    with Api(api.world, away).client() as client:
        assert [client.get("/agents").status_code for _ in range(3)] == [200] * 3


def test_settings_show_no_password() -> None:
    settings = Settings(
        database_url="postgresql+psycopg://dialer:hunter2@x/y", redis_url="redis://:hunter2@x", api_key="hunter2"
    )
    assert "hunter2" not in repr(settings) + str(settings)


def test_a_server_that_is_away_is_a_503_in_constant_words(api: Api, draft: Draft) -> None:
    draft()
    away = "postgresql+psycopg://dialer:hunter2@127.0.0.1:9/x"
    settings = api.settings.model_copy(update={"database_url": away})
    context = wiring.context_of(settings)
    with TestClient(
        make_app(context, settings, api.world.clock, api.world.rng), raise_server_exceptions=False
    ) as client:
        key = {"Authorization": f"Bearer {api.key()}"}
        for path in ("/v1/agents", "/readyz"):
            answer = client.get(path, headers=key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
            assert answer.headers["Retry-After"] == "1"
            assert answer.json()["error"]["message"] == (
                "A server that this request needs does not answer; nothing was done; the API's log says why"
            )
        assert client.get("/healthz").status_code == 200
        assert 'dialer_up{server="postgres"} 0.0' in client.get("/metrics", headers=METRICS).text
    wiring.close(context)


@pytest.mark.parametrize(("migration", "status"), [("9998", 200), ("0001", 503)])
def test_a_process_stays_ready_after_the_migration_of_the_next_release_and_not_before_its_own(
    client: TestClient, world: World, migration: str, status: int
) -> None:
    was = world.value("SELECT version_num FROM alembic_version")
    world.sql("UPDATE alembic_version SET version_num = :migration", migration=migration)
    try:
        assert client.get("http://testserver/readyz").status_code == status
    finally:
        world.sql("UPDATE alembic_version SET version_num = :was", was=was)


def figures(text: str) -> dict[str, float]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_tell_the_figures_of_the_installation(client: TestClient, draft: Draft, world: World) -> None:
    path = f"/batch-calls/{draft(contacts=5, max_concurrent_calls=3)['id']}"
    client.post(f"{path}/schedule")
    world.step()

    def read() -> dict[str, float]:
        world.clock.now = world.clock.now.add(seconds=2)
        return figures(client.get("http://testserver/metrics", headers=METRICS).text)

    metrics = read()
    assert (metrics["dialer_slots_used"], metrics["dialer_slots_limit"]) == (3, 3)
    assert (metrics['dialer_contacts{status="dialing"}'], metrics['dialer_contacts{status="pending"}']) == (3, 2)
    assert sum(value for name, value in metrics.items() if name.startswith("dialer_calls_in_progress")) == 3
    assert metrics['dialer_up{server="postgres"}'] == metrics['dialer_up{server="redis"}'] == 1
    assert metrics['dialer_batches{status="active"}'] == 1
    assert metrics["dialer_inbox_depth"] == 0
    client.post("/suppressions", json={"phone_number": "+12025550101"})
    client.post(f"{path}/cancel")
    left = ("dialer_batches_finishing", "dialer_suppressed_numbers_left")
    assert [read()[name] for name in left] == [1, 1]
    world.change_pages()
    assert [read()[name] for name in left] == [0, 0]
    assert {'dialer_queue_depth{queue="dialer"}', 'dialer_queue_depth{queue="dialer.beat"}'} <= set(metrics)
    scheduled = 'method="POST",route="/batch-calls/{batch_id}/schedule",status="200"'
    assert metrics[f"dialer_http_request_seconds_count{{{scheduled}}}"] >= 1
    buckets = [value for name, value in metrics.items() if name.startswith("dialer_http_request_seconds_bucket{")
               and scheduled in name]  # fmt: skip
    assert buckets == sorted(buckets)


def test_no_label_of_a_metric_grows_with_what_is_asked(client: TestClient, draft: Draft, world: World) -> None:
    batch_id = draft()["id"]
    for path in (f"/batch-calls/{batch_id}", "/nowhere/1", "/nowhere/2", "/agents/x"):
        client.get(path)
    client.request("BREW", "/agents")
    text = client.get("http://testserver/metrics", headers=METRICS).text
    assert batch_id not in text
    assert "nowhere" not in text
    assert "BREW" not in text


def test_steps_of_workers_are_measured(api: Api, client: TestClient, draft: Draft, world: World) -> None:
    path = f"/batch-calls/{draft(contacts=2)['id']}"
    client.post(f"{path}/schedule")
    # In a process of its own, as a worker is.
    work = "from dialer import worker; worker.tick_task.run(); worker.dispatch_task.run([]); worker.measures.close()"
    environment = os.environ | dict(api.settings.environment())
    subprocess.run([sys.executable, "-c", work], env=environment, check=True, timeout=60, capture_output=True)
    world.clock.now = world.clock.now.add(seconds=2)
    metrics = figures(client.get("http://testserver/metrics", headers=METRICS).text)
    for step in ("tick", "dispatch"):
        assert metrics[f'dialer_step_seconds_count{{step="{step}"}}'] >= 1


def test_openapi_describes_every_operation(api: Api) -> None:
    document = api.app().openapi()
    assert document["components"]["securitySchemes"]
    names = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names.add(operation["operationId"])
            assert operation["description"], operation
            assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}
            if path.startswith("/v1/providers/"):
                assert operation["security"] == []
                assert {"403", "404", "413"} <= set(operation["responses"])
            elif path.startswith("/v1"):
                assert operation["security"]
                assert {"401", "403", "422", "429", "503"} <= set(operation["responses"]), operation["operationId"]
            if "{" in path:
                assert "404" in operation["responses"]
            if method in ("post", "patch") and "requestBody" in operation:
                assert {"400", "413"} <= set(operation["responses"])
            for response in operation["responses"].values():
                assert "X-Request-Id" in response["headers"]
    assert len(names) == sum(len(methods) for methods in document["paths"].values())
    for name, schema in document["components"]["schemas"].items():
        if (name.endswith("Create") and name != "ContactsCreate") or name == "Error":
            assert schema["example"], name
    links = document["paths"]["/v1/batch-calls"]["post"]["responses"]["201"]["links"]
    assert {"get_batch_call", "schedule_batch_call", "add_contacts", "delete_batch_call"} <= set(links)
