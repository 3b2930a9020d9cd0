"""Preview: before the start, how many contacts will be called, never or too late, and whether the batch can start."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.world import MONDAY, World

Draft = Callable[..., dict[str, Any]]


def preview(client: TestClient, batch_id: str) -> dict[str, Any]:
    """Return the preview, which is the same by both ways, and changes nothing."""
    by_get = client.get(f"/batch-calls/{batch_id}/preview")
    by_dry_run = client.post(f"/batch-calls/{batch_id}/schedule?dry_run=true")
    assert (by_get.status_code, by_dry_run.status_code) == (200, 200), by_dry_run.text
    data: dict[str, Any] = by_get.json()["data"]
    assert by_dry_run.json()["data"] == data
    return data


def test_a_draft_that_can_start_is_previewed_with_its_first_call(client: TestClient, draft: Draft) -> None:
    batch = draft(contacts=5, start_time="09:00", end_time="17:00", timezone="Europe/Berlin")
    assert preview(client, batch["id"]) == {
        "total": 5,
        "callable": 5,
        "never": [],
        "too_late": 0,
        "first_call_at": "2026-03-02T08:00:00Z",
        "ready": True,
        "problems": [],
    }
    assert client.get(f"/batch-calls/{batch['id']}").json()["data"]["status"] == "draft"


def test_suppressed_and_late_contacts_are_counted_and_all_add_up(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=10, start_time="09:00", end_time="17:00")
    expire = "UPDATE contacts SET expires_at = :at WHERE id IN (SELECT id FROM contacts ORDER BY position LIMIT :n)"
    world.sql(expire, at=MONDAY.add(minutes=30), n=2)
    world.sql(expire, at=MONDAY, n=1)
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) "
        "SELECT :workspace, phone_number FROM contacts ORDER BY position DESC LIMIT 3",
        workspace=world.installed.workspace_id,
    )
    data = preview(client, batch["id"])
    assert (data["total"], data["callable"], data["too_late"]) == (10, 5, 1)
    assert data["never"] == [{"code": "suppressed", "count": 3}, {"code": "expired", "count": 1}]
    assert data["first_call_at"] == "2026-03-02T09:00:00Z"


@pytest.mark.parametrize(
    ("limits", "callable_"),
    [
        # Two local days of two calls each.
        ({"max_calls_per_day": 2, "expires_at": "2026-03-03T23:00:00Z"}, 4),
        # Five seconds of a minute, with one slot: a call takes a second at least.
        ({"max_concurrent_calls": 1, "expires_at": "2026-03-02T08:00:05Z"}, 6),
        ({"max_concurrent_calls": 1, "expires_at": "2026-03-02T09:00:00Z"}, 10),
    ],
)
def test_contacts_for_which_no_time_is_left_are_too_late(
    client: TestClient, draft: Draft, limits: dict[str, Any], callable_: int
) -> None:
    data = preview(client, draft(contacts=10, **limits)["id"])
    assert (data["callable"], data["too_late"]) == (callable_, 10 - callable_)


def test_a_later_start_moves_the_first_call(client: TestClient, draft: Draft) -> None:
    batch = draft(contacts=1, schedule_type="scheduled", scheduled_at="2026-03-04T10:00:00Z")
    assert preview(client, batch["id"])["first_call_at"] == "2026-03-04T10:00:00Z"


def test_every_problem_is_named_with_the_code_of_the_refusal(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(contacts=0)
    world.sql("UPDATE agents SET status = 'inactive'")
    world.sql("UPDATE phone_numbers SET status = 'inactive'")
    data = preview(client, batch["id"])
    codes = [problem["code"] for problem in data["problems"]]
    assert codes == ["batch_has_no_contacts", "no_outbound_number", "agent_not_ready"]
    assert (data["ready"], data["first_call_at"]) == (False, None)
    refused = client.post(f"/batch-calls/{batch['id']}/schedule").json()["error"]
    assert (refused["code"], refused["message"]) == tuple(data["problems"][0].values())


def test_a_batch_that_is_not_a_draft_cannot_be_started_and_one_of_others_is_not_found(
    client: TestClient, draft: Draft
) -> None:
    batch = draft(contacts=2)
    client.post(f"/batch-calls/{batch['id']}/cancel", json={})
    data = preview(client, batch["id"])
    assert (data["ready"], data["problems"][0]["code"]) == (False, "batch_not_draft")
    assert data["never"] == [{"code": "batch_over", "count": 2}]
    assert client.get(f"/batch-calls/{batch['agent_id']}/preview").status_code == 404
    assert client.post(f"/batch-calls/{batch['id']}/schedule?dry_run=maybe").status_code == 422
