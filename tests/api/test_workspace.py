"""`/workspace`: what its admin sets for all its batches, and what that means for those that exist."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Draft
from dialer.engine.retention import retention
from support.world import World

KEY = {"X-Idempotency-Key": "zone"}


def change(client: TestClient, query: str = "", **fields: Any) -> Any:
    return client.patch(f"/workspace{query}", json=fields)


def test_a_batch_without_a_zone_gets_that_of_its_workspace_and_others_keep_theirs(
    client: TestClient, draft: Draft, world: World
) -> None:
    before = draft()
    assert change(client, timezone="America/New_York").json()["data"]["timezone"] == "America/New_York"
    scheduled = {"schedule_type": "scheduled", "scheduled_at": "2026-03-03T09:00"}
    after = draft(**scheduled)
    assert (after["timezone"], after["scheduled_at"]) == ("America/New_York", "2026-03-03T14:00:00Z")
    own = draft(timezone="Europe/Berlin", **scheduled)
    assert (own["timezone"], own["scheduled_at"]) == ("Europe/Berlin", "2026-03-03T08:00:00Z")
    copy = client.post(f"/batch-calls/{before['id']}/clone").json()["data"]
    assert client.get(f"/batch-calls/{before['id']}").json()["data"]["timezone"] == copy["timezone"] == "UTC"
    body = {"name": "x", "agent_id": str(world.installed.agent_id), "timezone": None}
    assert client.post("/batch-calls", json=body).json()["error"]["details"][0]["field"] == "timezone"


def test_a_request_that_is_repeated_after_a_change_of_the_zone_is_the_same_request(
    client: TestClient, world: World
) -> None:
    body = {"name": "x", "agent_id": str(world.installed.agent_id)}
    first = client.post("/batch-calls", json=body, headers=KEY)
    assert change(client, timezone="Asia/Tokyo").status_code == 200
    assert client.post("/batch-calls", json=body, headers=KEY).content == first.content


def test_retention_keeps_batches_as_long_as_their_workspace_says(
    client: TestClient, draft: Draft, world: World
) -> None:
    path = f"/batch-calls/{draft(contacts=1)['id']}"
    client.post(f"{path}/cancel")
    world.change_pages()
    assert change(client, keep_batches_days=30).json()["data"]["keep_batches_days"] == 30
    world.clock.now = world.clock.now.add(days=29)
    retention(world.context, world.clock.now, 90)
    assert client.get(path).status_code == 200
    assert change(client, keep_batches_days=28).status_code == 200
    retention(world.context, world.clock.now, 90)
    assert client.get(path).status_code == 404
    assert change(client, keep_batches_days=None).json()["data"]["keep_batches_days"] is None


def test_a_stale_if_match_is_refused_and_changes_nothing(client: TestClient) -> None:
    read = client.get("/workspace").json()["data"]
    fresh = change(client, f"?if_match={read['if_match']}", timezone="Asia/Tokyo", keep_batches_days=5).json()["data"]
    assert fresh["if_match"] != read["if_match"]
    for query, body in ((f"?if_match={read['if_match']}", {}), ("", {"if_match": read["if_match"]})):
        stale = change(client, query, timezone="UTC", **body)
        assert (stale.status_code, stale.json()["error"]["code"]) == (409, "settings_changed")
    assert client.get("/workspace").json()["data"] == fresh
    again = change(client, person_limits=[{"attempts": 1, "hours": 1}], if_match=fresh["if_match"])
    assert (again.status_code, again.json()["data"]["timezone"]) == (200, "Asia/Tokyo")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": None}, "timezone"),
        ({"keep_batches_days": 0}, "keep_batches_days"),
        ({"keep_batches_days": 36_501}, "keep_batches_days"),
        ({"keep_batches_days": True}, "keep_batches_days"),
        ({"keep_batches_days": 1.5}, "keep_batches_days"),
        ({"if_match": "x" * 101}, "if_match"),
        ({"name": "x"}, "name"),
    ],
)
def test_a_wrong_field_is_named_and_changes_nothing(client: TestClient, fields: dict[str, Any], field: str) -> None:
    before = client.get("/workspace").json()["data"]
    answer = change(client, **({"keep_batches_days": 7} | fields))
    assert (answer.status_code, [detail["field"] for detail in answer.json()["error"]["details"]]) == (422, [field])
    assert client.get("/workspace").json()["data"] == before
