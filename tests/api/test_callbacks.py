"""`POST /batch-calls/{id}/contacts/{contact_id}/callback`."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.roles import Role
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import World

HOURS = {"start_time": "09:00", "end_time": "17:00", "working_days": [1, 2], "timezone": "Europe/Berlin"}


def path_of(client: TestClient, batch: dict[str, Any]) -> str:
    (contact,) = client.get(f"/batch-calls/{batch['id']}/contacts").json()["data"]
    return f"/batch-calls/{batch['id']}/contacts/{contact['id']}"


def reason(answer: Any) -> str:
    assert answer.status_code == 422, answer.text
    ((field, text),) = [(detail["field"], detail["reason"]) for detail in answer.json()["error"]["details"]]
    assert field == "at"
    return str(text)


@pytest.mark.parametrize("at", ["2026-03-03T10:00+01:00", "2026-03-03T10:00", "2026-03-03T09:00Z"])
def test_a_contact_waits_for_the_time_at_which_it_wants_to_be_called(client: TestClient, draft: Draft, at: str) -> None:
    batch = draft(contacts=1, **HOURS)
    path = path_of(client, batch)
    answer = client.post(f"{path}/callback", json={"at": at}, headers={"X-Idempotency-Key": "k"})
    contact = answer.json()["data"]
    assert (contact["status"], contact["waits_for"]) == ("waiting", "callback")
    assert (contact["due_at"], contact["priority"]) == ("2026-03-03T09:00:00Z", 0)
    assert client.get(path).json()["data"] == contact
    counts = client.get(f"/batch-calls/{batch['id']}").json()["data"]["counts"]
    assert (counts["pending"], counts["waiting"]) == (0, 1)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-02T08:00Z", "must lie ahead"),
        ("2026-03-02T09:00", "must lie ahead"),
        ("2026-03-03T18:00", "lies outside the calling window; calls may start again at 2026-03-09T08:00:00Z"),
        ("2026-03-04T10:00", "lies outside the calling window; calls may start again at 2026-03-09T08:00:00Z"),
        ("2026-03-03T08:59:59", "lies outside the calling window; calls may start again at 2026-03-03T08:00:00Z"),
        ("2026-03-03T16:59:55", "lies outside the calling window; calls may start again at 2026-03-09T08:00:00Z"),
        ("2026-03-10T10:00", "must be earlier than 2026-03-10T09:00:00Z, when the contact expires"),
        ("soon", "must be written as in 2030-01-31T18:00+01:00"),
        (5, "must be written as in 2030-01-31T18:00+01:00"),
    ],
)
def test_a_time_at_which_no_call_may_start_is_refused_with_the_next_one(
    client: TestClient, draft: Draft, at: object, expected: str
) -> None:
    batch = draft(contacts=1, expires_at="2026-03-10T10:00", **HOURS)
    path = path_of(client, batch)
    assert reason(client.post(f"{path}/callback", json={"at": at})) == expected
    assert client.get(path).json()["data"]["status"] == "pending"


def test_the_hours_of_a_callback_are_those_of_the_contacts_own_zone(client: TestClient, draft: Draft) -> None:
    batch = draft(respect_contact_timezone=True, **HOURS)
    new = {"contacts": [{"phone_number": "+12025550100", "timezone": "America/New_York"}]}
    client.post(f"/batch-calls/{batch['id']}/contacts", json=new)
    path = path_of(client, batch)
    refused = client.post(f"{path}/callback", json={"at": "2026-03-03T10:00+01:00"})
    assert reason(refused) == "lies outside the calling window; calls may start again at 2026-03-03T14:00:00Z"
    assert client.post(f"{path}/callback", json={"at": "2026-03-03T09:00-05:00"}).status_code == 200


def test_who_is_in_a_call_or_not_called_again_is_not_called_back(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=2)
    first, second = client.get(f"/batch-calls/{batch['id']}/contacts").json()["data"]
    body = {"at": "2026-03-03T10:00Z"}

    def code(contact: dict[str, Any]) -> str:
        answer = client.post(f"/batch-calls/{batch['id']}/contacts/{contact['id']}/callback", json=body)
        assert answer.status_code == 422
        return str(answer.json()["error"]["code"])

    client.post(f"/batch-calls/{batch['id']}/schedule")
    dispatch_and_place(world, batch["id"])
    assert code(first) == "contact_in_call"
    for attempt_id in live_attempts(world):
        end_call(world, attempt_id)
    assert code(first) == "contact_is_final"
    client.post(f"/batch-calls/{batch['id']}/cancel")
    assert code(second) == "batch_is_final"


def test_a_contact_of_another_batch_or_workspace_is_not_there(api: Api, client: TestClient, draft: Draft) -> None:
    batch, other = draft(contacts=1), draft()
    path = path_of(client, batch)
    body = {"at": "2026-03-03T10:00Z"}
    assert client.post(f"{path.replace(batch['id'], other['id'])}/callback", json=body).status_code == 404
    with api.client(workspace=api.workspace("other")) as stranger:
        assert stranger.post(f"{path}/callback", json=body).status_code == 404
    with api.client(Role.VIEWER) as viewer:
        assert viewer.post(f"{path}/callback", json=body).status_code == 403
