"""One person: what is held on a number is exported and erased, and nothing of anybody else."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.roles import Role
from dialer.engine.audit import audit
from dialer.service import webhook_endpoints
from dialer.service.webhook_endpoints import NewWebhookEndpoint
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import World

NUMBER = "+12015550000"
PERSON = {"phone_number": NUMBER}
LOADED = {"name": "Ada Lovelace", "external_id": "crm-1", "variables": {"city": "London"}}
# Wherever a text may be, in every table of the schema.
TEXTS = """
SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' GROUP BY c.table_name ORDER BY c.table_name
"""


def tables_with(world: World, *texts: str) -> set[str]:
    """Return the tables that contain one of these texts in any column of any row."""
    return {
        table
        for (table,) in world.rows(TEXTS)
        if any(
            world.value(f'SELECT count(*) FROM "{table}" AS t WHERE strpos(CAST(t AS text), :text) > 0', text=text)
            for text in texts
        )
    }


@pytest.fixture
def called(client: TestClient, world: World) -> dict[str, Any]:
    """A person who was called, is to be called in another batch and is in a folder; another one was called, too."""
    endpoint = NewWebhookEndpoint(url="https://example.com/hook", events=["call.ended", "contact.finished"])
    webhook_endpoints.create(world.db, world.installed.workspace_id, endpoint, world.clock.now, world.rng)
    called = world.batch(["+12015550001"])
    body = {"contacts": [PERSON | LOADED, {"phone_number": "+49"}, PERSON]}
    client.post(f"/batch-calls/{called}/contacts", json=body, headers={"X-Idempotency-Key": "k"})
    dispatch_and_place(world, called)
    calls = {row.to_number: row.id for row in world.rows("SELECT id, to_number FROM attempts")}
    path = f"/batch-calls/{called}/calls/{calls[NUMBER]}"
    client.post(f"{path}/report", json={"disposition": "Ada will think about it"})
    for attempt_id in calls.values():
        end_call(world, attempt_id, "answered")
    waiting = world.batch([NUMBER], start=False)
    folder = client.post("/contact-folders", json={"name": "May"}).json()["data"]["id"]
    client.post(f"/contact-folders/{folder}/contacts", json={"contacts": [PERSON | LOADED]})
    return {"called": called, "waiting": waiting, "path": path}


def test_everything_on_a_number_is_exported_and_nothing_of_others(
    client: TestClient, world: World, called: dict[str, Any]
) -> None:
    client.post("/suppressions", json=PERSON | {"reason": "asked"})
    held = client.post("/people/export", json=PERSON).json()["data"]
    first, second = held["contacts"]
    assert {field: first[field] for field in LOADED} == LOADED
    assert [first["batch_id"], second["batch_id"]] == [str(called["called"]), str(called["waiting"])]
    assert [(call["to_number"], call["disposition"]) for call in held["calls"]] == [(NUMBER, "Ada will think about it")]
    assert [entry["folder"] for entry in held["folder_contacts"]] == ["May"]
    assert [entry["type"] for entry in held["webhook_messages"]] == ["call.ended", "contact.finished"]
    assert held["suppression"]["reason"] == "asked"
    assert "+12015550001" not in str(held)
    nobody = client.post("/people/export", json={"phone_number": "+12015559999"}).json()["data"]
    assert (nobody["contacts"], nobody["calls"], nobody["suppression"]) == ([], [], None)


def test_an_erased_person_is_nowhere_but_in_the_suppressions_and_all_else_stays(
    client: TestClient, api: Api, world: World, called: dict[str, Any]
) -> None:
    client.post("/suppressions", json=PERSON)
    others = tables_with(world, "+12015550001")
    erased = client.post("/people/erase", json=PERSON).json()["data"]
    assert {kind: count for kind, count in erased.items() if count} == {
        "contacts": 2, "calls": 1, "folder_contacts": 1, "webhook_messages": 2,
    }  # fmt: skip
    # Workers skip the contacts of suppressed numbers, and delete this row when they have.
    assert tables_with(world, NUMBER, *map(str, LOADED.values())) == {"suppressions", "suppressed_numbers"}
    assert tables_with(world, "Ada", "crm-1") == set()
    assert tables_with(world, "+12015550001") == others
    outcomes = "SELECT status, status_reason, outcome FROM contacts WHERE phone_number LIKE 'erased:%' ORDER BY id"
    assert world.rows(outcomes) == [("completed", None, "answered"), ("cancelled", "erased", None)]
    assert audit(world.db, world.clock.now).is_clean
    again = client.post("/people/erase", json=PERSON).json()["data"]
    assert set(again.values()) == {0}
    requests = "SELECT action, masked_number, source, key_id IS NOT NULL FROM person_requests ORDER BY id"
    assert world.rows(requests) == [("erase", "+…00", "api", True)] * 2


def test_an_erased_person_is_not_called_again_by_reports_and_copies(
    client: TestClient, world: World, called: dict[str, Any]
) -> None:
    world.sql("UPDATE contacts SET outcome = 'busy', status = 'failed' WHERE finished_at IS NOT NULL")
    client.post(f"/batch-calls/{called['called']}/contacts", json={"contacts": [{"phone_number": "+12015550009"}]})
    client.post("/people/erase", json=PERSON)
    reported = client.post(f"{called['path']}/report", json={"callback_at": "2026-03-03T12:00:00Z"})
    assert (reported.status_code, reported.json()["error"]["code"]) == (422, "contact_is_final")
    assert client.post(f"{called['path']}/report", json={"opt_out": True}).status_code == 200
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=called["called"])
    copy = client.post(f"/batch-calls/{called['called']}/retry-failed", json={"outcomes": ["busy"]}).json()["data"]
    assert copy["counts"]["total"] == 1


def test_a_person_who_is_being_called_is_not_erased(client: TestClient, world: World) -> None:
    dispatch_and_place(world, world.batch([NUMBER]))
    refused = client.post("/people/erase", json=PERSON)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "person_in_call")
    assert world.value("SELECT count(*) FROM person_requests") == 0
    end_call(world, live_attempts(world)[0])
    assert client.post("/people/erase", json=PERSON).json()["data"]["contacts"] == 1


def test_only_admins_erase_and_only_in_their_workspace(
    client: TestClient, api: Api, world: World, draft: Draft, called: dict[str, Any]
) -> None:
    assert api.client(Role.OPERATOR).post("/people/erase", json=PERSON).status_code == 403
    assert api.client(Role.OPERATOR).post("/people/export", json=PERSON).status_code == 403
    stranger = api.client(workspace=api.workspace("acme"))
    assert set(stranger.post("/people/erase", json=PERSON).json()["data"].values()) == {0}
    assert stranger.post("/people/export", json=PERSON).json()["data"]["contacts"] == []
    assert "contacts" in tables_with(world, NUMBER)
    wrong = client.post("/people/erase", json={"phone_number": "nobody"})
    assert (wrong.status_code, wrong.json()["error"]["details"][0]["field"]) == (422, "phone_number")
