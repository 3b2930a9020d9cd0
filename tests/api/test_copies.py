"""Clones of a batch, and drafts of the contacts that it has not reached."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from support.engine_steps import advance_clock, dispatch_and_place, end_call, live_attempts
from support.world import World

# What a copy gets by itself.
OWN = {
    "id", "name", "status", "status_reason", "held_by", "counts", "calls", "is_finishing", "next_dispatch_at",
    "drained_at", "created_at", "updated_at", "started_at", "completed_at", "contact_source", "contact_folder_id",
}  # fmt: skip
OUTCOMES = ("answered", "busy", "no_answer", "machine", "invalid_number", "rejected")


def settings_of(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in OWN}


def called(client: TestClient, draft: Draft, world: World, **options: Any) -> str:
    """A batch of which a contact has ended with each of OUTCOMES, in this order."""
    batch = draft(contacts=len(OUTCOMES), **options)
    client.post(f"/batch-calls/{batch['id']}/schedule")
    dispatch_and_place(world, batch["id"])
    attempts = world.rows("SELECT id FROM attempts ORDER BY to_number")
    for row, outcome in zip(attempts, OUTCOMES, strict=True):
        end_call(world, row.id, outcome)
    return str(batch["id"])


def contacts_of(client: TestClient, batch_id: str) -> list[dict[str, Any]]:
    contacts: list[dict[str, Any]] = client.get(f"/batch-calls/{batch_id}/contacts").json()["data"]
    return contacts


def test_a_clone_has_the_settings_of_the_batch_and_no_contacts(client: TestClient, draft: Draft) -> None:
    options = {
        "name": "May",
        "timezone": "Europe/Berlin",
        "calling_hours": {"1": [["09:00", "12:00"], ["13:00", "18:00"]]},
        "holidays": {"country": "DE", "region": "BY"},
        "max_calls_per_day": 7,
        "retry_delays": {"busy": 3},
        "person_limits": [{"attempts": 3, "hours": 24}],
        "metadata": {"team": "blue"},
    }
    batch = draft(contacts=2, **options)
    answer = client.post(f"/batch-calls/{batch['id']}/clone")
    assert answer.status_code == 201
    clone = answer.json()["data"]
    assert settings_of(clone) == settings_of(batch)
    assert (clone["name"], clone["status"], clone["counts"]["total"]) == ("May (copy)", "draft", 0)
    named = client.post(f"/batch-calls/{batch['id']}/clone", json={"name": "June"})
    assert named.json()["data"]["name"] == "June"


def test_times_that_have_passed_are_not_copied(client: TestClient, draft: Draft, world: World) -> None:
    soon, later = world.clock.now.add(hours=1).isoformat(), world.clock.now.add(days=9).isoformat()
    batch = draft(schedule_type="scheduled", scheduled_at=soon, expires_at=later)
    path = f"/batch-calls/{batch['id']}/clone"
    assert settings_of(client.post(path).json()["data"]) == settings_of(batch)
    advance_clock(world, 7200)
    clone = client.post(path).json()["data"]
    assert (clone["schedule_type"], clone["scheduled_at"]) == ("immediate", None)
    assert clone["expires_at"] == batch["expires_at"]
    advance_clock(world, 9 * 86_400)
    assert client.post(path).json()["data"]["expires_at"] is None


def test_a_long_name_is_cut_for_the_copy(client: TestClient, draft: Draft) -> None:
    batch = draft(name="x" * 255)
    assert client.post(f"/batch-calls/{batch['id']}/clone").json()["data"]["name"] == "x" * 248 + " (copy)"


def test_contacts_that_were_not_reached_are_called_by_a_new_draft(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch_id = called(client, draft, world)
    answer = client.post(f"/batch-calls/{batch_id}/retry-failed")
    assert answer.status_code == 201, answer.text
    retry = answer.json()["data"]
    before = {contact["outcome"]: contact["phone_number"] for contact in contacts_of(client, batch_id)}
    contacts = contacts_of(client, retry["id"])
    assert [contact["phone_number"] for contact in contacts] == [
        before[outcome] for outcome in ("busy", "no_answer", "machine", "rejected")
    ]
    assert {(contact["status"], contact["attempts"]) for contact in contacts} == {("pending", 0)}
    assert (retry["name"], retry["status"]) == ("test (retry)", "draft")
    assert client.post(f"/batch-calls/{retry['id']}/schedule").status_code == 200
    dispatch_and_place(world, retry["id"])
    assert len(live_attempts(world)) == 4


def test_the_outcomes_are_chosen_and_everything_of_a_contact_is_taken_over(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft()
    path = f"/batch-calls/{batch['id']}"
    ada = {
        "phone_number": "+12025550199", "name": "Ada", "timezone": "America/New_York", "priority": 2,
        "external_id": "a-1", "variables": {"plan": "gold", "visits": 3},
    }  # fmt: skip
    client.post(f"{path}/contacts", json={"contacts": [ada]})
    client.post(f"{path}/schedule")
    dispatch_and_place(world, batch["id"])
    end_call(world, live_attempts(world)[0], "invalid_number")
    nobody = client.post(f"{path}/retry-failed")
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (422, "batch_has_no_contacts")
    assert world.value("SELECT count(*) FROM batches") == 1
    retry = client.post(f"{path}/retry-failed", json={"outcomes": ["invalid_number"], "name": "again"}).json()["data"]
    (contact,) = contacts_of(client, retry["id"])
    assert {name: contact[name] for name in ada} == ada


def test_who_must_not_be_called_is_left_out(client: TestClient, draft: Draft, world: World) -> None:
    batch_id = called(client, draft, world)
    numbers = {contact["outcome"]: contact["phone_number"] for contact in contacts_of(client, batch_id)}
    client.post("/suppressions", json={"phone_number": numbers["busy"]})
    world.sql("UPDATE contacts SET expires_at = dialer_now() WHERE outcome = 'no_answer'")
    retry = client.post(f"/batch-calls/{batch_id}/retry-failed").json()["data"]
    assert [contact["phone_number"] for contact in contacts_of(client, retry["id"])] == [
        numbers["machine"], numbers["rejected"],
    ]  # fmt: skip


def test_contacts_that_are_still_to_be_called_again_are_left_to_their_batch(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch_id = called(client, draft, world, retry_failed=True, retry_machine=True, max_retry_attempts=1)
    assert client.post(f"/batch-calls/{batch_id}/retry-failed").json()["error"]["code"] == "batch_has_no_contacts"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"outcomes": []}, "outcomes"),
        ({"outcomes": ["answered"]}, "outcomes.0"),
        ({"outcomes": ["busy", "busy"]}, "outcomes"),
        ({"outcomes": ["nonsense"]}, "outcomes.0"),
        ({"name": ""}, "name"),
        ({"contacts": 3}, "contacts"),
    ],
)
def test_a_wrong_body_is_refused_with_its_field(
    client: TestClient, draft: Draft, world: World, body: dict[str, Any], field: str
) -> None:
    batch = draft(contacts=1)
    answer = client.post(f"/batch-calls/{batch['id']}/retry-failed", json=body)
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (422, field)
    assert world.value("SELECT count(*) FROM batches") == 1


@pytest.mark.parametrize("action", ["clone", "retry-failed"])
def test_the_same_idempotency_key_makes_one_draft(client: TestClient, draft: Draft, world: World, action: str) -> None:
    batch_id = called(client, draft, world)
    answers = [
        client.post(f"/batch-calls/{batch_id}/{action}", json={}, headers={"X-Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert world.value("SELECT count(*) FROM batches") == 2


@pytest.mark.parametrize("action", ["clone", "retry-failed"])
def test_a_batch_of_another_workspace_is_not_there(client: TestClient, draft: Draft, api: Api, action: str) -> None:
    batch = draft(contacts=1)
    with api.client(workspace=api.workspace("others")) as others:
        assert others.post(f"/batch-calls/{batch['id']}/{action}").status_code == 404


def test_a_number_that_is_out_of_use_is_named_before_anything_is_stored(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch_id = called(client, draft, world)
    world.sql("UPDATE phone_numbers SET status = 'inactive'")
    answer = client.post(f"/batch-calls/{batch_id}/clone")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_outbound_number")
