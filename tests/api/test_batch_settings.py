"""Changes of the settings of a batch that is not over, and its history, through HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.roles import Role
from support.world import World


@pytest.fixture
def active(draft: Draft, client: TestClient) -> Callable[..., str]:
    def start(**fields: Any) -> str:
        batch_id = str(draft(contacts=3, **fields)["id"])
        assert client.post(f"/batch-calls/{batch_id}/schedule").status_code == 200
        return batch_id

    return start


def change(client: TestClient, batch_id: str, query: str = "", **fields: Any) -> Any:
    return client.patch(f"/batch-calls/{batch_id}/settings{query}", json=fields)


def history(client: TestClient, batch_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/batch-calls/{batch_id}/history").json()["data"])


def test_settings_of_a_live_batch_are_changed_and_taken_back(client: TestClient, active: Callable[..., str]) -> None:
    batch_id = active(max_concurrent_calls=7)
    answer = change(client, batch_id, max_concurrent_calls=2, end_time="17:30", reason="lines are busy")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["data"]["max_concurrent_calls"], answer.json()["data"]["end_time"]) == (2, "17:30")
    latest, scheduled, *_ = history(client, batch_id)
    assert latest["changes"] == {"max_concurrent_calls": [7, 2], "end_time": [None, "17:30"]}
    assert (latest["kind"], latest["source"], latest["by"], latest["reason"]) == (
        "settings", "api", "key", "lines are busy",
    )  # fmt: skip
    assert (scheduled["kind"], scheduled["from_status"], scheduled["to_status"]) == ("status", "draft", "active")
    undone = client.post(f"/batch-calls/{batch_id}/settings/undo")
    assert (undone.json()["data"]["max_concurrent_calls"], undone.json()["data"]["end_time"]) == (7, None)
    again = client.post(f"/batch-calls/{batch_id}/settings/undo", json={"reason": "no"})
    assert (again.json()["data"]["max_concurrent_calls"], again.json()["data"]["end_time"]) == (2, "17:30")


def test_a_dry_run_changes_nothing_and_returns_a_token(
    client: TestClient, active: Callable[..., str], world: World
) -> None:
    batch_id = active(start_time="12:00", end_time="13:00")
    planned = change(client, batch_id, "?dry_run=true", start_time="07:00", excluded_dates=[]).json()["data"]
    assert planned["changes"] == {"start_time": ["12:00", "07:00"]}
    assert planned["impact"] == {"gain": 3, "lose": 0, "moved": 0}
    assert client.get(f"/batch-calls/{batch_id}").json()["data"]["start_time"] == "12:00"
    assert len(history(client, batch_id)) == 3
    world.sql("UPDATE batches SET priority = 1")
    for query, body in ((f"?if_match={planned['if_match']}", {}), ("", {"if_match": planned["if_match"]})):
        stale = change(client, batch_id, query, start_time="07:00", **body)
        assert (stale.status_code, stale.json()["error"]["code"]) == (409, "settings_changed")
    fresh = change(client, batch_id, "?dry_run=true", start_time="07:00").json()["data"]["if_match"]
    assert change(client, batch_id, f"?if_match={fresh}", start_time="07:00", if_match=fresh).status_code == 200


def test_a_pause_and_a_cancellation_keep_their_reasons(client: TestClient, active: Callable[..., str]) -> None:
    batch_id = active()
    paused = client.post(f"/batch-calls/{batch_id}/pause", json={"reason": "holiday"}).json()["data"]
    assert (paused["status"], paused["status_reason"]) == ("paused", "holiday")
    assert client.post(f"/batch-calls/{batch_id}/cancel", json={"reason": "wrong list"}).status_code == 200
    assert [entry["reason"] for entry in history(client, batch_id)][:2] == ["wrong list", "holiday"]


def test_a_batch_of_another_workspace_has_neither_settings_nor_history(
    api: Api, client: TestClient, active: Callable[..., str]
) -> None:
    batch_id, stranger = active(), api.client(Role.ADMIN, api.workspace("other"))
    assert change(stranger, batch_id, priority=1).status_code == 404
    assert change(stranger, batch_id, "?dry_run=true", priority=1).status_code == 404
    assert stranger.post(f"/batch-calls/{batch_id}/settings/undo").status_code == 404
    assert stranger.get(f"/batch-calls/{batch_id}/history").status_code == 404
