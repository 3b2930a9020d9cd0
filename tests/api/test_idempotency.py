"""`X-Idempotency-Key`: what is asked for once is done once, however often, and however roughly, the request comes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.roles import Role
from dialer.engine.retention import retention
from dialer.service import keys
from dialer.service.idempotency import run_once
from dialer.store.database import Database
from dialer.store.idempotency import Scope
from support.deadline import DEADLINE_SECONDS
from support.world import World

KEY = {"X-Idempotency-Key": "4711"}


@pytest.fixture
def body(world: World) -> dict[str, Any]:
    return {"name": "Spring", "agent_id": str(world.installed.agent_id)}


def batches(world: World) -> int:
    return int(world.value("SELECT count(*) FROM batches"))


def test_fifty_creates_at_once_with_one_key_make_one_batch_and_fifty_equal_answers(
    client: TestClient, world: World, body: dict[str, Any]
) -> None:
    barrier = Barrier(50)

    def create(_: int) -> bytes:
        barrier.wait(DEADLINE_SECONDS)
        while (answer := client.post("/batch-calls", json=body, headers=KEY)).status_code == 409:
            assert answer.json()["error"]["code"] == "idempotency_key_in_use"
            assert answer.headers["Retry-After"] == "1"
        assert answer.status_code == 201, answer.text
        return answer.content

    with ThreadPoolExecutor(50) as pool:
        answers = set(pool.map(create, range(50)))
    assert len(answers) == 1
    assert batches(world) == 1


def test_a_replay_says_so_and_is_the_same_however_the_json_is_laid_out(
    client: TestClient, body: dict[str, Any]
) -> None:
    first = client.post("/batch-calls", json=body, headers=KEY)
    again = client.post("/batch-calls", json=dict(reversed(body.items())), headers=KEY)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]


def test_a_crash_between_commit_and_answer_replays_the_answer_that_was_never_sent(
    client: TestClient, world: World, body: dict[str, Any], api: Api
) -> None:
    class Crashed(Exception):
        pass

    lost: list[bytes] = []

    class Answerless(TestClient):
        """A connection that breaks off after the server has done its work."""

        def send(self, *args: Any, **kwargs: Any) -> Any:
            lost.append(super().send(*args, **kwargs).content)
            raise Crashed

    broken = Answerless(api.app(), base_url="http://testserver/v1", headers=dict(client.headers))
    with pytest.raises(Crashed):
        broken.post("/batch-calls", json=body, headers=KEY)
    again = client.post("/batch-calls", json=body, headers=KEY)
    assert (again.content, again.headers["Idempotent-Replayed"], batches(world)) == (lost[0], "true", 1)


def test_a_crash_before_the_commit_leaves_neither_work_nor_answer(world: World) -> None:
    scope = Scope(world.installed.workspace_id, "POST /x", "4711")

    def crash(db: Database) -> str:
        keys.create(db, world.installed.workspace_id, keys.NewKey(role=Role.VIEWER), world.clock.now, world.rng)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_once(world.db, scope, b"hash", 201, crash)
    assert world.value("SELECT count(*) FROM api_keys") == world.value("SELECT count(*) FROM idempotency_keys") == 0
    assert run_once(world.db, scope, b"hash", 201, lambda _: "done").body == "done"


def test_another_body_under_the_same_key_is_refused(client: TestClient, world: World, body: dict[str, Any]) -> None:
    client.post("/batch-calls", json=body, headers=KEY)
    other = client.post("/batch-calls", json=body | {"name": "other"}, headers=KEY)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert batches(world) == 1


def test_a_key_counts_for_its_route_and_its_workspace_alone(
    api: Api, client: TestClient, world: World, body: dict[str, Any]
) -> None:
    assert client.post("/batch-calls", json=body, headers=KEY).status_code == 201
    assert client.post("/agents", json={"name": "x"}, headers=KEY).status_code == 201
    with api.client(workspace=api.workspace("other")) as other:
        answer = other.post("/agents", json={"name": "x"}, headers=KEY)
        assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)


def test_a_refusal_is_not_kept(client: TestClient, world: World, body: dict[str, Any]) -> None:
    world.sql("UPDATE agents SET status = 'inactive'")
    assert client.post("/batch-calls", json=body, headers=KEY).status_code == 422
    world.sql("UPDATE agents SET status = 'active'")
    assert client.post("/batch-calls", json=body, headers=KEY).status_code == 201


def test_a_replay_is_answered_also_when_the_request_would_be_refused_by_now(
    client: TestClient, world: World, body: dict[str, Any]
) -> None:
    body |= {"schedule_type": "scheduled", "scheduled_at": world.clock.now.add(hours=1).isoformat()}
    first = client.post("/batch-calls", json=body, headers=KEY)
    world.clock.now = world.clock.now.add(hours=2)
    assert client.post("/batch-calls", json=body, headers=KEY).content == first.content


def test_adding_contacts_and_cancelling_are_done_once_too(
    client: TestClient, draft: Callable[..., dict[str, Any]]
) -> None:
    path = f"/batch-calls/{draft()['id']}"
    contacts = {"contacts": [{"phone_number": "+12025550101"}]}
    answers = [client.post(f"{path}/contacts", json=contacts, headers=KEY).content for _ in range(2)]
    assert len(set(answers)) == 1
    cancelled = [client.post(f"{path}/cancel", json={"in_progress": "finish"}, headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in cancelled] == [200, 200]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_1_to_255_characters(client: TestClient, body: dict[str, Any], key: str) -> None:
    assert client.post("/batch-calls", json=body, headers={"X-Idempotency-Key": key}).status_code == 422


def test_answers_are_kept_for_a_day_at_least_and_then_removed(
    client: TestClient, world: World, body: dict[str, Any]
) -> None:
    client.post("/batch-calls", json=body, headers=KEY)
    world.clock.now = world.clock.now.add(hours=24)
    retention(world.context, world.clock.now, 90)
    assert client.post("/batch-calls", json=body, headers=KEY).headers["Idempotent-Replayed"] == "true"
    world.clock.now = world.clock.now.add(hours=25)
    retention(world.context, world.clock.now, 90)
    assert world.value("SELECT count(*) FROM idempotency_keys") == 0


def test_every_action_and_change_is_done_once(client: TestClient, world: World, draft: Draft) -> None:
    batch = f"/batch-calls/{draft(contacts=2)['id']}"
    contact = client.get(f"{batch}/contacts").json()["data"][0]["id"]
    agent = client.post("/agents", json={"name": "once"}).json()["data"]["id"]
    endpoint = client.post("/webhook-endpoints", json={"url": "https://example.com/x"}).json()["data"]["id"]
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", batch, {"name": "Summer"}),
        ("PATCH", f"{batch}/contacts/{contact}", {"priority": 1}),
        ("POST", f"{batch}/schedule", {}),
        ("POST", f"{batch}/pause", {}),
        ("POST", f"{batch}/resume", {}),
        ("PATCH", f"{batch}/settings", {"max_concurrent_calls": 3}),
        ("POST", f"{batch}/settings/undo", {}),
        ("PATCH", f"/agents/{agent}", {"name": "twice"}),
        ("POST", f"/webhook-endpoints/{endpoint}/rotate-secret", {}),
    ]
    for method, path, body in requests:
        first, again = (client.request(method, path, json=body, headers=KEY) for _ in range(2))
        assert (first.status_code, again.status_code) == (200, 200), (path, again.text)
        assert (again.content, again.headers.get("Idempotent-Replayed")) == (first.content, "true"), path
        other = client.request(method, path, json=body | {"name": "other"}, headers=KEY)
        assert other.json()["error"]["code"] in ("idempotency_key_reused", "invalid_input"), path
    assert client.get(batch).json()["data"]["max_concurrent_calls"] == 10


def test_a_dry_run_stores_no_response(client: TestClient, draft: Draft) -> None:
    batch = f"/batch-calls/{draft(contacts=1)['id']}"
    assert "ready" in client.post(f"{batch}/schedule?dry_run=true", headers=KEY).json()["data"]
    assert client.post(f"{batch}/schedule", headers=KEY).json()["data"]["status"] == "active"
