"""What the agent of a call reports over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.roles import Role
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import World


@pytest.fixture
def call(world: World) -> str:
    """The path of a call in progress."""
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    return f"/batch-calls/{batch_id}/calls/{live_attempts(world)[0]}"


def test_a_report_is_stored_shown_and_exported_and_the_same_again_changes_nothing(
    client: TestClient, world: World, call: str
) -> None:
    given = {"disposition": "wants a call in May", "opt_out": True}
    shown = [client.post(f"{call}/report", json=given).json()["data"] for _ in range(2)]
    assert shown[0] == shown[1]
    assert {field: shown[0][field] for field in given} == given
    batch = call.rpartition("/calls/")[0]
    (listed,) = client.get(f"{batch}/calls").json()["data"]
    assert listed == shown[0]
    end_call(world, live_attempts(world)[0])
    header, row = client.get(f"{batch}/results.csv").text.splitlines()
    exported = dict(zip(header.split(","), row.split(","), strict=True))
    assert (exported["disposition"], exported["opt_out"]) == ("wants a call in May", "True")
    (entry,) = client.get("/suppressions").json()["data"]
    assert (entry["phone_number"], entry["reason"]) == ("+12015550000", "opted out in a call")


def test_a_callback_is_reported_shown_and_exported(client: TestClient, world: World, call: str) -> None:
    batch = call.rpartition("/calls/")[0]
    client.post(f"{batch}/contacts", json={"contacts": [{"phone_number": "+12015550199"}]})
    given = {"callback_at": "2026-03-02T12:00:00+01:00"}
    assert client.post(f"{call}/report", json=given).json()["data"]["callback_at"] == "2026-03-02T11:00:00Z"
    end_call(world, live_attempts(world)[0])
    shown = [client.post(f"{call}/report", json=given).json()["data"] for _ in range(2)]
    assert (shown[0]["callback_at"], shown[0]["callback_refused"]) == ("2026-03-02T11:00:00Z", None)
    assert shown[0] == shown[1]
    (waiting,) = client.get(f"{batch}/contacts", params={"status": "waiting"}).json()["data"]
    assert (waiting["waits_for"], waiting["due_at"]) == ("callback", "2026-03-02T11:00:00Z")
    explained = client.get(f"{batch}/contacts/{waiting['id']}/explain").json()["data"]
    assert (explained["reason"]["code"], explained["next_at"]) == ("callback_at", "2026-03-02T11:00:00Z")
    header, row, _ = client.get(f"{batch}/results.csv").text.splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["callback_at"] == "2026-03-02T11:00:00Z"
    opted_out = client.post(f"{call}/report", json={"callback_at": "2026-03-02T13:00Z", "opt_out": True})
    assert opted_out.json()["data"]["callback_refused"] == "the person opted out"


def test_a_later_report_replaces_what_it_names_and_nothing_else(client: TestClient, world: World, call: str) -> None:
    client.post(f"{call}/report", json={"disposition": "first"})
    end_call(world, live_attempts(world)[0])
    shown = client.post(f"{call}/report", json={"opt_out": False}).json()["data"]
    assert (shown["disposition"], shown["opt_out"]) == ("first", False)
    shown = client.post(f"{call}/report", json={"disposition": "second"}).json()["data"]
    assert (shown["disposition"], shown["opt_out"]) == ("second", False)


def test_archived_calls_take_reports_too(client: TestClient, world: World, call: str) -> None:
    end_call(world, live_attempts(world)[0])
    world.sql("WITH old AS (DELETE FROM attempts RETURNING *) INSERT INTO attempts_archive SELECT * FROM old")
    assert client.post(f"{call}/report", json={"opt_out": True}).json()["data"]["opt_out"] is True
    assert client.get("/suppressions").json()["pagination"]["total"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"disposition": ""}, "disposition"),
        ({"disposition": "x" * 101}, "disposition"),
        ({"disposition": "\0"}, "disposition"),
        ({"opt_out": "yes"}, "opt_out"),
        ({"outcome": "busy"}, "outcome"),
        ({"callback_at": "soon"}, "callback_at"),
        ({"callback_at": "2026-03-02T07:59:00Z", "opt_out": False}, "callback_at"),
    ],
)
def test_a_wrong_report_is_refused_with_its_field_and_changes_nothing(
    client: TestClient, world: World, call: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(f"{call}/report", json=body)
    assert answer.status_code == 422
    assert [detail["field"] for detail in answer.json()["error"]["details"]] == [field]
    assert world.rows("SELECT disposition, opt_out, reported_outcome FROM attempts") == [(None, None, None)]


def test_the_outcome_of_a_call_that_is_over_stays(client: TestClient, world: World, call: str) -> None:
    no_agent = {"outcome": "answered_no_agent"}
    assert client.post(f"{call}/report", json=no_agent).status_code == 200
    end_call(world, live_attempts(world)[0], "answered")
    assert client.post(f"{call}/report", json=no_agent).json()["data"]["outcome"] == "answered_no_agent"
    world.sql("UPDATE attempts SET outcome = 'busy'")
    refused = client.post(f"{call}/report", json=no_agent | {"opt_out": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "call_is_over")
    assert client.get("/suppressions").json()["pagination"]["total"] == 0


def test_a_call_of_another_batch_or_workspace_is_not_found(
    api: Api, client: TestClient, draft: Draft, call: str
) -> None:
    attempt_id = call.rpartition("/")[2]
    other = draft()["id"]
    assert client.post(f"/batch-calls/{other}/calls/{attempt_id}/report", json={"opt_out": True}).status_code == 404
    with api.client(Role.ADMIN, api.workspace("other")) as stranger:
        assert stranger.post(f"{call}/report", json={"opt_out": True}).status_code == 404
