"""A batch's forecast over HTTP."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pendulum
import pytest
from fastapi.testclient import TestClient

from api.conftest import Api
from support.world import World

Draft = Callable[..., dict[str, Any]]
HALF_ANSWER = {"answer_rate": 0.5, "mean_talk_seconds": 30, "mean_ring_seconds": 10}


def forecast(client: TestClient, batch_id: str, **body: Any) -> Any:
    answer = client.post(f"/batch-calls/{batch_id}/forecast", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def refusal(client: TestClient, batch_id: str, **body: Any) -> tuple[str, str]:
    answer = client.post(f"/batch-calls/{batch_id}/forecast", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    return error["code"], error["message"]


def test_a_draft_is_forecast_without_a_side_effect(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(contacts=40, max_concurrent_calls=4)
    found = forecast(client, batch["id"], **HALF_ANSWER)
    ends = [pendulum.parse(found["ends_at"][name]) for name in ("p10", "p50", "p90")]
    assert world.clock.now < ends[0] < ends[1] < ends[2] < world.clock.now.add(hours=1)  # type: ignore[operator]
    assert found["attempts_by_day"] == [{"date": "2026-03-02", "p50": 40}] or found["attempts_by_day"][0]["p50"] > 40
    assert found["binding"][0]["code"] == "batch_slots_full"
    assert found["binding"][0]["one_more"]["setting"] == "max_concurrent_calls"
    assert found["assumed"]["answer_rate"] == {"value": 0.5, "source": "given", "calls": 0}
    assert found["calibration"] is None
    assert client.get(f"/batch-calls/{batch['id']}").json()["data"]["status"] == "draft"
    assert world.value("SELECT count(*) FROM attempts") == 0


def test_two_looks_at_one_state_give_one_answer(client: TestClient, draft: Draft) -> None:
    batch = draft(contacts=20)
    assert forecast(client, batch["id"]) == forecast(client, batch["id"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"answer_rate": 1.5}, "answer_rate"),
        ({"answer_rate": True}, "answer_rate"),
        ({"mean_talk_seconds": -1}, "mean_talk_seconds"),
        ({"outcomes": {"answered": 0.5, "busy": 0.2}}, "outcomes: must add up to 1"),
        ({"outcomes": {"unknown": 1}}, "outcomes: cannot have unknown"),
        ({"answer_rate": 0.5, "outcomes": {"busy": 1}}, "answer_rate and outcomes cannot both be given"),
        ({"answer_rte": 0.5}, "answer_rte"),
    ],
)
def test_a_wrong_body_is_refused_by_its_field(
    client: TestClient, draft: Draft, body: dict[str, Any], field: str
) -> None:
    code, message = refusal(client, draft(contacts=1)["id"], **body)
    assert code == "invalid_input"
    assert field in message


def test_a_batch_without_an_end_ahead_is_refused(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft()
    assert refusal(client, batch["id"])[0] == "batch_has_no_contacts"
    client.post(f"/batch-calls/{batch['id']}/cancel")
    assert refusal(client, batch["id"])[0] == "batch_is_final"
    batch = draft(contacts=1)
    world.sql("UPDATE phone_numbers SET status = 'inactive'")
    assert refusal(client, batch["id"])[0] == "no_outbound_number"


def test_a_batch_of_another_workspace_is_not_found(api: Api, draft: Draft) -> None:
    batch = draft(contacts=1)
    with api.client(workspace=api.workspace("other")) as other:
        assert other.post(f"/batch-calls/{batch['id']}/forecast").status_code == 404


def test_a_workspace_computes_one_forecast_at_a_time(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(contacts=1)
    state = client.app.state  # type: ignore[attr-defined]
    with state.forecasts.slot(world.installed.workspace_id):
        refused = client.post(f"/batch-calls/{batch['id']}/forecast")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert forecast(client, batch["id"])["ends_at"]["p50"]


def test_other_requests_are_answered_while_a_forecast_is_computed(api: Api, world: World) -> None:
    batch_id = world.batch(1_000, start=False, retry_failed=True, max_retry_attempts=2)
    with api.served() as served, ThreadPoolExecutor(1) as elsewhere:
        computing = elsewhere.submit(served.client.post, f"/batch-calls/{batch_id}/forecast")
        answered = 0
        while not computing.done():
            is_computing = served.app.state.forecasts.running
            assert served.client.get(f"/batch-calls/{batch_id}").status_code == 200
            answered += is_computing and not computing.done()
        assert computing.result().status_code == 200
    assert answered >= 2
