"""Explain: why a contact or a batch is not being called now, and when it will be."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from dialer.domain.gates.codes import GateCode
from support.world import MONDAY, World, made_up_phones

Draft = Callable[..., dict[str, Any]]


def explained(client: TestClient, batch_id: str, contact_id: str = "") -> dict[str, Any]:
    path = f"/batch-calls/{batch_id}" + (f"/contacts/{contact_id}" if contact_id else "")
    answer = client.get(f"{path}/explain")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def first_contact(client: TestClient, batch_id: str) -> str:
    contact_id: str = client.get(f"/batch-calls/{batch_id}/contacts").json()["data"][0]["id"]
    return contact_id


def test_a_contact_outside_the_hours_is_explained_with_the_moment_at_which_they_open(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=3, start_time="14:00", end_time="18:00", timezone="Europe/Paris")
    client.post(f"/batch-calls/{batch['id']}/schedule")
    contact = explained(client, batch["id"], first_contact(client, batch["id"]))
    assert contact["verdict"] == "blocked"
    assert contact["reason"] == {
        "code": "outside_batch_hours",
        "class": "ineligible",
        "passes": False,
        "not_before": "2026-03-02T13:00:00Z",
        "facts": {"timezones": ["Europe/Paris"]},
        "advice": "wait",
        "message": "The calling window of the batch is closed: opens 14:00 Europe/Paris",
    }
    assert (contact["next_at"], contact["next_at_certainty"]) == ("2026-03-02T13:00:00Z", "exact")
    assert contact["evaluated_at"] == "2026-03-02T08:00:00Z"
    assert contact["settings_version"] == 2
    codes = [gate["code"] for gate in contact["gates"]]
    assert codes == [code for code in GateCode if code not in ("no_worker", "import_running")]
    assert [gate["code"] for gate in contact["gates"] if not gate["passes"]] == ["outside_batch_hours"]


def test_a_batch_is_explained_with_a_denominator_and_counts_that_add_up(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=10, start_time="14:00", end_time="18:00", timezone="Europe/Paris")
    client.post(f"/batch-calls/{batch['id']}/schedule")
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) "
        "SELECT :workspace, phone_number FROM contacts ORDER BY position LIMIT 3",
        workspace=world.installed.workspace_id,
    )
    data = explained(client, batch["id"])
    assert data["summary"] == (
        "0 of 10 contacts can be called now: "
        "7 outside the hours of the batch (first opens 14:00 Europe/Paris), 3 suppressed"
    )
    assert [(reason["code"], reason["count"]) for reason in data["reasons"]] == [
        ("outside_batch_hours", 7),
        ("suppressed", 3),
    ]
    assert (data["total"], data["callable"], data["verdict"]) == (10, 0, "blocked")
    assert (data["reason"]["code"], data["next_at"]) == ("outside_batch_hours", "2026-03-02T13:00:00Z")
    assert data["engine"] == [{"code": "no_worker", "message": "No worker has run a step lately"}]
    world.step()
    world.clock.now = MONDAY.at(13)
    assert explained(client, batch["id"])["callable"] == 7


def test_what_does_not_exist_in_this_workspace_is_not_explained(client: TestClient, draft: Draft, world: World) -> None:
    batch, other = draft(contacts=1)["id"], draft(contacts=0)["id"]
    contact_id = first_contact(client, batch)
    for path in (f"{other}/contacts/{contact_id}", contact_id, f"{batch}/contacts/{batch}"):
        answer = client.get(f"/batch-calls/{path}/explain")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_call_that_may_exist_is_said_to_be_unresolved_and_when_it_was_last_looked_up(
    client: TestClient, world: World
) -> None:
    batch_id = world.batch(1)
    world.dispatch([batch_id])
    world.sql("UPDATE attempts SET state = 'unclear', rescue_at = :at", at=MONDAY.add(seconds=10))
    contact_id = first_contact(client, str(batch_id))
    contact = explained(client, str(batch_id), contact_id)
    assert (contact["verdict"], contact["reason"]["code"]) == ("unresolved", "attempt_unresolved")
    assert (contact["next_at"], contact["next_at_certainty"]) == (None, "unknown")
    world.sql("UPDATE attempts SET looked_up_at = :at", at=MONDAY)
    facts = explained(client, str(batch_id), contact_id)["reason"]["facts"]
    assert (facts["looked_up_at"], facts["network_is_asked_at"]) == ("2026-03-02T08:00:00Z", "2026-03-02T08:00:10Z")
    assert [reason["code"] for reason in explained(client, str(batch_id))["reasons"]] == ["attempt_unresolved"]


def test_a_trunk_that_is_full_is_explained_with_the_batches_that_have_its_calls(
    client: TestClient, world: World
) -> None:
    other = world.batch(made_up_phones(2, first=100), name="other")
    world.dispatch([other])
    world.sql("UPDATE trunks SET max_concurrent_calls = 2")
    batch_id = world.batch(1)
    reason = explained(client, str(batch_id), first_contact(client, str(batch_id)))["reason"]
    assert (reason["code"], reason["advice"]) == ("trunk_slots_full", "wait")
    assert (reason["facts"]["used"], reason["facts"]["limit"]) == (2, 2)
    assert reason["facts"]["held_by"] == [{"batch_id": str(other), "name": "other", "calls": 2}]


def test_a_paused_batch_names_the_key_that_paused_it_and_in_sql_the_user(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=1)
    client.post(f"/batch-calls/{batch['id']}/schedule")
    client.post(f"/batch-calls/{batch['id']}/pause")
    world.sql("UPDATE api_keys SET name = 'night shift'")
    reason = explained(client, batch["id"])["reason"]
    assert (reason["code"], reason["facts"]["by"]) == ("batch_paused", "night shift")
    world.sql("UPDATE batches SET status = 'active'")
    world.sql("UPDATE batches SET status = 'paused'")
    facts = explained(client, batch["id"], first_contact(client, batch["id"]))["reason"]["facts"]
    assert facts["by"] == world.value("SELECT session_user")


def test_the_contacts_behind_each_reason_are_those_that_were_counted(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=40, max_concurrent_calls=2, retry_failed=True, max_retry_attempts=1)
    path = f"/batch-calls/{batch['id']}"
    client.post(f"{path}/schedule")
    world.dispatch([batch["id"]])
    for first, change in (
        (8, "status = 'waiting', attempts = 1, outcome = 'busy'"),
        (12, "status = 'waiting', waits_for = 'callback'"),
        (16, "status = 'completed', outcome = 'answered', finished_at = dialer_now()"),
        (20, "status = 'failed', outcome = 'invalid_number', finished_at = dialer_now()"),
        (24, "status = 'skipped', status_reason = 'expired', finished_at = dialer_now()"),
        (28, "expires_at = dialer_now()"),
        (32, "attempts = 2"),
    ):
        world.sql(
            f"UPDATE contacts SET due_at = dialer_now() + interval '1 hour' * (position % 2), {change} "
            f"WHERE position BETWEEN {first} AND {first + 3} AND status = 'pending'"
        )
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) "
        "SELECT :workspace, phone_number FROM contacts WHERE position > 35",
        workspace=world.installed.workspace_id,
    )
    # Two of those that wait for a free call may be called.
    world.sql("UPDATE batches SET max_concurrent_calls = 4")
    of_batch = explained(client, batch["id"])
    assert of_batch["callable"] == 2
    reasons = [*of_batch["reasons"], {"code": "none", "count": of_batch["callable"]}]
    listed: dict[str, list[str]] = {}
    for reason in reasons:
        answer = client.get(f"{path}/contacts", params={"reason": reason["code"], "limit": 100})
        listed[reason["code"]] = [contact["id"] for contact in answer.json()["data"]]
        assert answer.json()["pagination"]["total"] == len(listed[reason["code"]]) == reason["count"], reason
        rows = client.get(f"{path}/results.csv", params={"reason": reason["code"]}).text.splitlines()[1:]
        assert [row.partition(",")[0] for row in rows] == listed[reason["code"]]
    assert {"batch_slots_full", "retry_not_due", "callback_at", "suppressed", "expired", "attempts_used"} < set(listed)
    ids = [contact_id for of_reason in listed.values() for contact_id in of_reason]
    assert len(ids) == len(set(ids)) == 40
    for contact_id in listed["none"]:
        assert explained(client, batch["id"], contact_id)["verdict"] == "callable"
    pending = client.get(f"{path}/contacts", params={"reason": "expired", "status": "pending"}).json()["data"]
    assert {contact["id"] for contact in pending} < set(listed["expired"])
    world.sql("UPDATE batch_progress SET total = total + 50000, pending = pending + 50000")
    too_large = client.get(f"{path}/contacts", params={"reason": "expired"})
    assert (too_large.status_code, "at most 50,000 contacts" in too_large.text) == (422, True)
