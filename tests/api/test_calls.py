"""`/calls`: over all batches and the archive, by key, and only those of the caller's workspace."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from support.engine_steps import advance_clock, dispatch_and_place, end_call
from support.world import World


@pytest.fixture
def calls(client: TestClient, draft: Draft, world: World) -> list[dict[str, Any]]:
    """Two batches of three contacts; the calls of the first are over and archived. Newest first."""
    for number, outcome in enumerate(("busy", None)):
        batch = draft(contacts=3, name=f"batch {number}")
        client.post(f"/batch-calls/{batch['id']}/schedule")
        dispatch_and_place(world, batch["id"])
        for row in world.rows("SELECT id FROM attempts ORDER BY id") if outcome else ():
            end_call(world, row.id, "busy")
        advance_clock(world, 60)
    world.sql("INSERT INTO attempts_archive SELECT * FROM attempts WHERE state = 'ended'")
    world.sql("DELETE FROM attempts WHERE state = 'ended'")
    ids = world.rows("SELECT id FROM batches")
    pages = [client.get(f"/batch-calls/{row.id}/calls").json()["data"] for row in ids]
    return sorted((call for page in pages for call in page), key=lambda call: str(call["id"]), reverse=True)


def listed(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    """Follow the pages to the end."""
    entries: list[dict[str, Any]] = []
    after = None
    while True:
        answer = client.get("/calls", params=query | ({"after": after} if after else {}))
        assert answer.status_code == 200, answer.text
        entries += answer.json()["data"]
        after = answer.json()["pagination"]["next_after"]
        if after is None:
            return entries


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 100])
def test_pages_of_any_size_return_each_call_once_newest_first(
    client: TestClient, calls: list[dict[str, Any]], limit: int
) -> None:
    assert len(calls) == 6
    assert listed(client, limit=limit) == calls


def test_each_filter_is_that_of_a_plain_search(client: TestClient, calls: list[dict[str, Any]]) -> None:
    number, trunk = calls[0]["to_number"], client.get("/trunks").json()["data"][0]["id"]
    assert listed(client, phone_number=number) == [call for call in calls if call["to_number"] == number] != []
    assert listed(client, outcome="busy") == [call for call in calls if call["outcome"] == "busy"] != []
    assert listed(client, status="placed") == [call for call in calls if call["status"] == "placed"] != []
    assert listed(client, status=["placed", "ended"]) == listed(client, trunk_id=trunk) == calls
    outbound = calls[0]["from_number"]
    assert listed(client, from_number=outbound) == [call for call in calls if call["from_number"] == outbound] != []
    assert listed(client, from_number=number) == []
    batch = calls[0]["batch_id"]
    assert listed(client, batch_id=batch) == [call for call in calls if call["batch_id"] == batch] != []
    assert listed(client, trunk_id=calls[0]["id"]) == []
    between = calls[0]["created_at"]
    assert listed(client, since=between) == calls[:3]
    assert listed(client, until=between) == calls[3:]
    for long_ago, far in (("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), ("1970-01-01T00:00Z", "9998-12-31T00:00Z")):
        assert listed(client, since=long_ago, until=far) == calls
        assert listed(client, since=far) == listed(client, until=long_ago) == []
    assert listed(client, since=between, phone_number=number, limit=1) == calls[:1]


def test_one_call_is_read_by_its_id(client: TestClient, calls: list[dict[str, Any]]) -> None:
    for call in (calls[0], calls[-1]):
        assert client.get(f"/calls/{call['id']}").json()["data"] == call | {"reports": []}
    assert client.get(f"/calls/{calls[0]['batch_id']}").status_code == 404


def test_the_calls_of_other_workspaces_are_not_there(client: TestClient, calls: list[dict[str, Any]], api: Api) -> None:
    with api.client(workspace=api.workspace("others")) as others:
        assert listed(others) == listed(others, phone_number=calls[0]["to_number"]) == []
        assert others.get(f"/calls/{calls[0]['id']}").status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"phone_number": "555"}, "phone_number"),
        ({"since": "0001-01-01T00:00+14:00"}, "since"),
        ({"until": "soon"}, "until"),
        ({"until": "0.5"}, "until"),
        ({"after": "x"}, "after"),
        ({"batch_id": "x"}, "batch_id"),
        ({"limit": 101}, "limit"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_name(client: TestClient, query: dict[str, Any], field: str) -> None:
    answer = client.get("/calls", params=query)
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (422, field)
