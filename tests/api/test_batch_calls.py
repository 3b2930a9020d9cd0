"""`/batch-calls`: every field, bound and default of the contract, through the front door."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.world import MONDAY, World

Draft = Callable[..., dict[str, Any]]
NOBODY = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
LATER = MONDAY.add(days=1).isoformat()
PAST = MONDAY.subtract(days=1).isoformat()

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"name": None}, "name"),
    ({"agent_id": "5"}, "agent_id"),
    ({"phone_number_ids": [NOBODY]}, "phone_number_ids"),
    ({"phone_rotation_strategy": "best"}, "phone_rotation_strategy"),
    ({"contact_source": "fax"}, "contact_source"),
    ({"contact_source": "folder"}, "contact_folder_id"),
    ({"contact_folder_id": NOBODY}, "contact_folder_id"),
    ({"schedule_type": "scheduled"}, "scheduled_at"),
    ({"schedule_type": "scheduled", "scheduled_at": PAST}, "scheduled_at"),
    ({"scheduled_at": LATER}, "scheduled_at"),
    ({"timezone": "Berlin"}, "timezone"),
    ({"start_time": "9:00"}, "start_time"),
    ({"end_time": "24:00"}, "end_time"),
    ({"start_time": "09:00", "end_time": "09:00"}, "end_time"),
    ({"working_days": []}, "working_days"),
    ({"working_days": [0]}, "working_days.0"),
    ({"working_days": [8]}, "working_days.0"),
    ({"working_days": [1, 1]}, "working_days"),
    ({"working_days": ["1"]}, "working_days.0"),
    ({"max_concurrent_calls": 0}, "max_concurrent_calls"),
    ({"max_concurrent_calls": 101}, "max_concurrent_calls"),
    ({"max_concurrent_calls": "10"}, "max_concurrent_calls"),
    ({"max_concurrent_calls": None}, "max_concurrent_calls"),
    ({"max_calls_per_day": 0}, "max_calls_per_day"),
    ({"retry_failed": 1}, "retry_failed"),
    ({"max_retry_attempts": 4}, "max_retry_attempts"),
    ({"max_retry_attempts": -1}, "max_retry_attempts"),
    ({"retry_delays": {"answered": 5}}, "retry_delays.answered"),
    ({"expires_at": PAST}, "expires_at"),
    ({"excluded_dates": ["tomorrow"]}, "excluded_dates.0"),
    ({"priority": 11}, "priority"),
    ({"default_region": "XX"}, "default_region"),
    ({"metadata": {"x": "y" * 16384}}, "metadata"),
    ({"calling_hours": {}}, "calling_hours"),
    ({"holidays": {"country": "XX"}}, "holidays"),
    ({"holidays": {"country": "DE", "region": "XX"}}, "holidays"),
    ({"holidays": {"country": "de"}}, "holidays.country"),
    ({"holidays": {"region": "BY"}}, "holidays.country"),
    ({"calling_hours": {"8": [["09:00", "12:00"]]}}, "calling_hours"),
    ({"calling_hours": {"1": [["09:00", "12:00"]]}, "start_time": "09:00"}, "calling_hours"),
    ({"person_limits": [{"attempts": 0, "hours": 24}]}, "person_limits.0.attempts"),
    ({"nmae": "typo"}, "nmae"),
]


def details(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == "invalid_input"
    return {detail["field"]: detail["reason"] for detail in error["details"]}


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_batch_answers_what_it_was_created_from_and_its_defaults(draft: Draft, world: World) -> None:
    batch = draft(name="Spring", start_time="09:00", metadata={"a": [1]}, retry_delays={"busy": 1.5})
    expected = {
        "name": "Spring",
        "agent_id": str(world.installed.agent_id),
        "phone_number_ids": [],
        "phone_rotation_strategy": "random",
        "contact_source": "csv",
        "contact_folder_id": None,
        "schedule_type": "immediate",
        "scheduled_at": None,
        "timezone": "UTC",
        "start_time": "09:00",
        "end_time": None,
        "working_days": [1, 2, 3, 4, 5, 6, 7],
        "excluded_dates": [],
        "max_concurrent_calls": 10,
        "max_calls_per_day": None,
        "ring_timeout_seconds": None,
        "max_call_seconds": None,
        "retry_failed": False,
        "max_retry_attempts": 0,
        "retry_delays": {"busy": 1.5},
        "retry_machine": False,
        "respect_contact_timezone": False,
        "sticky_caller_id": False,
        "expires_at": None,
        "priority": 5,
        "default_region": None,
        "metadata": {"a": [1]},
        "labels": [],
        "person_limits": [],
        "calling_hours": None,
        "holidays": None,
        "status": "draft",
        "status_reason": None,
        "held_by": None,
        "counts": dict.fromkeys(
            ("total", "pending", "waiting", "dialing", "completed", "failed", "skipped", "cancelled"), 0
        ),
        "is_finishing": False,
        "calls": {"in_progress": 0, "today": 0, "attempts": 0},
        "next_dispatch_at": None,
        "drained_at": None,
        "created_at": "2026-03-02T08:00:00Z",
        "updated_at": "2026-03-02T08:00:00Z",
        "started_at": None,
        "completed_at": None,
    }
    assert batch == expected | {"id": batch["id"]}


@pytest.mark.parametrize(("fields", "field"), REFUSED, ids=[str(fields)[:50] for fields, _ in REFUSED])
def test_a_wrong_field_is_named_and_nothing_is_stored(
    client: TestClient, world: World, fields: dict[str, Any], field: str
) -> None:
    body = {"name": "test", "agent_id": str(world.installed.agent_id)} | fields
    assert list(details(client.post("/batch-calls", json=body))) == [field]
    assert client.get("/batch-calls").json()["pagination"]["total"] == 0


def test_all_wrong_fields_are_named_at_once(client: TestClient) -> None:
    assert set(details(client.post("/batch-calls", json={"priority": 0, "x": 1}))) == {
        "name", "agent_id", "priority", "x",
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": "\xff"}', b"[" * 100_000])
def test_what_is_not_json_is_a_400(client: TestClient, body: bytes) -> None:
    assert code(client.post("/batch-calls", content=body)) == (400, "unreadable_body")


def test_a_time_without_an_offset_is_read_in_the_batchs_zone(draft: Draft) -> None:
    batch = draft(schedule_type="scheduled", scheduled_at="2026-03-03T09:00", timezone="Europe/Berlin")
    assert batch["scheduled_at"] == "2026-03-03T08:00:00Z"


def test_batches_are_listed_newest_first_with_exact_pages(client: TestClient, draft: Draft, world: World) -> None:
    ids = []
    for number in range(5):
        world.clock.now = MONDAY.add(seconds=number)
        ids.append(draft(name=str(number))["id"])
    page = client.get("/batch-calls", params={"limit": 2, "offset": 2}).json()
    assert [batch["id"] for batch in page["data"]] == [ids[2], ids[1]]
    assert page["pagination"] == {"total": 5, "limit": 2, "offset": 2, "has_more": True, "next_after": ids[1]}
    last = client.get("/batch-calls", params={"offset": 4}).json()["pagination"]
    assert last == {"total": 5, "limit": 50, "offset": 4, "has_more": False, "next_after": None}
    assert not client.get("/batch-calls", params={"limit": 2, "offset": 3}).json()["pagination"]["has_more"]


def test_the_list_is_filtered_by_agent_status_and_name(client: TestClient, draft: Draft, world: World) -> None:
    named = draft(name="50% & more")
    started = draft(contacts=1)
    client.post(f"/batch-calls/{started['id']}/schedule")
    by_name = client.get("/batch-calls", params={"name": "50% & more"}).json()
    assert ([batch["id"] for batch in by_name["data"]], by_name["pagination"]["total"]) == ([named["id"]], 1)
    by_status = client.get("/batch-calls", params={"status": "active"}).json()
    assert [batch["id"] for batch in by_status["data"]] == [started["id"]]
    of_agent = client.get("/batch-calls", params={"agent_id": str(world.installed.agent_id)}).json()
    assert of_agent["pagination"]["total"] == 2
    assert client.get("/batch-calls", params={"agent_id": NOBODY}).json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"offset": -1}, {"status": "x"}, {"agent_id": "x"}, {"name": "x\0"}]
)
def test_a_wrong_query_is_named(client: TestClient, query: dict[str, Any]) -> None:
    assert list(details(client.get("/batch-calls", params=query))) == list(query)


def test_a_draft_is_changed_where_it_is_told_and_null_clears(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(start_time="09:00", end_time="17:00", max_calls_per_day=5, max_concurrent_calls=7)
    number = str(world.installed.number_ids[1])
    changes = {"name": "new", "start_time": None, "max_calls_per_day": None, "phone_number_ids": [number]}
    changed = client.patch(f"/batch-calls/{batch['id']}", json=changes).json()["data"]
    assert {name: changed[name] for name in changes} == changes
    assert (changed["end_time"], changed["max_concurrent_calls"]) == ("17:00", 7)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"end_time": "09:00"}, "end_time"),
        ({"agent_id": NOBODY}, "agent_id"),
        ({"phone_number_ids": [NOBODY]}, "phone_number_ids"),
        ({"scheduled_at": PAST}, "scheduled_at"),
        ({"schedule_type": "scheduled"}, "scheduled_at"),
        ({"status": "active"}, "status"),
        ({"max_concurrent_calls": 101}, "max_concurrent_calls"),
    ],
)
def test_a_wrong_change_is_named_and_changes_nothing(
    client: TestClient, draft: Draft, changes: dict[str, Any], field: str
) -> None:
    batch = draft(start_time="09:00")
    assert list(details(client.patch(f"/batch-calls/{batch['id']}", json=changes))) == [field]
    assert client.get(f"/batch-calls/{batch['id']}").json()["data"] == batch


def test_a_time_to_start_makes_a_draft_scheduled_and_null_makes_it_immediate(client: TestClient, draft: Draft) -> None:
    path = f"/batch-calls/{draft()['id']}"
    later = client.patch(path, json={"scheduled_at": LATER}).json()["data"]
    assert (later["schedule_type"], later["scheduled_at"]) == ("scheduled", "2026-03-03T08:00:00Z")
    now = client.patch(path, json={"scheduled_at": None}).json()["data"]
    assert (now["schedule_type"], now["scheduled_at"]) == ("immediate", None)


def test_a_draft_whose_time_has_passed_can_still_be_renamed(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(schedule_type="scheduled", scheduled_at=LATER)
    world.clock.now = MONDAY.add(days=3)
    assert client.patch(f"/batch-calls/{batch['id']}", json={"name": "late"}).json()["data"]["name"] == "late"


def test_only_the_times_that_are_given_must_lie_ahead(client: TestClient, draft: Draft, world: World) -> None:
    path = f"/batch-calls/{draft(expires_at=LATER)['id']}"
    world.clock.now = MONDAY.add(days=3)
    soon = world.clock.now.add(hours=1).isoformat()
    assert client.patch(path, json={"scheduled_at": soon}).json()["data"]["expires_at"] == "2026-03-03T08:00:00Z"
    both = client.patch(path, json={"scheduled_at": LATER, "expires_at": LATER})
    assert details(both) == {"scheduled_at": "must lie ahead", "expires_at": "must lie ahead"}


def test_how_contacts_were_loaded_cannot_change_under_them(client: TestClient, draft: Draft) -> None:
    path = f"/batch-calls/{draft(contacts=1)['id']}"
    assert code(client.patch(path, json={"sticky_caller_id": True})) == (422, "batch_has_contacts")


def test_only_a_draft_can_be_changed(client: TestClient, draft: Draft) -> None:
    path = f"/batch-calls/{draft(contacts=1)['id']}"
    client.post(f"{path}/schedule")
    answer = client.patch(path, json={"name": "x"})
    assert code(answer) == (422, "batch_not_draft")
    assert answer.json()["error"]["message"] == "Batch is active; only a draft can be changed"


def test_a_live_batch_is_not_deleted_and_a_final_one_is_with_all_it_had(
    client: TestClient, draft: Draft, world: World
) -> None:
    path = f"/batch-calls/{draft(contacts=2)['id']}"
    client.post(f"{path}/schedule")
    assert code(client.delete(path)) == (422, "batch_is_live")
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    world.sql("WITH moved AS (DELETE FROM attempts WHERE id = (SELECT id FROM attempts LIMIT 1) RETURNING *)"
              " INSERT INTO attempts_archive SELECT * FROM moved")  # fmt: skip
    assert client.delete(path).status_code == 204
    assert code(client.get(path)) == (404, "not_found")
    world.change_pages()
    assert [world.value(f"SELECT count(*) FROM {of}") for of in ("contacts", "attempts", "attempts_archive")] == [0] * 3


def test_a_cancelled_batch_is_deleted_only_when_its_calls_are_over(
    client: TestClient, draft: Draft, world: World
) -> None:
    path = f"/batch-calls/{draft(contacts=2)['id']}"
    client.post(f"{path}/schedule")
    world.step()
    assert client.post(f"{path}/cancel").json()["data"]["calls"]["in_progress"] == 2
    assert code(client.delete(path)) == (422, "batch_is_live")
    world.run(lambda: client.get(path).json()["data"]["drained_at"] is not None)
    assert client.delete(path).status_code == 204


def test_cancelling_with_hang_up_ends_the_calls_at_once_and_those_that_were_on_their_way_soon(
    client: TestClient, draft: Draft, world: World
) -> None:
    path = f"/batch-calls/{draft(contacts=3)['id']}"
    client.post(f"{path}/schedule")
    world.step()
    # One of them is still being placed when the batch is cancelled.
    world.sql("UPDATE attempts SET state = 'reserved' WHERE id = (SELECT min(id::text)::uuid FROM attempts)")
    cancelled = client.post(f"{path}/cancel", json={"in_progress": "hang_up"})
    assert cancelled.json()["data"]["status"] == "cancelled"
    world.sql("UPDATE attempts SET state = 'placed', placed_at = created_at WHERE state = 'reserved'")
    world.rescue()
    began = world.clock.now
    world.run(lambda: client.get(path).json()["data"]["drained_at"] is not None)
    assert (world.clock.now - began).total_seconds() <= 2
    assert client.get(f"{path}/audit").json()["data"]["violations"] == []


def test_calls_are_listed_newest_first_and_filtered(client: TestClient, draft: Draft, world: World) -> None:
    path = f"/batch-calls/{draft(contacts=6)['id']}"
    client.post(f"{path}/schedule")
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    answer = client.get(f"{path}/calls").json()
    calls = answer["data"]
    assert answer["pagination"]["total"] == len(calls) == 6
    assert [call["id"] for call in calls] == sorted((call["id"] for call in calls), reverse=True)
    assert {call["status"] for call in calls} == {"ended"}
    for outcome in {call["outcome"] for call in calls}:
        filtered = client.get(f"{path}/calls", params={"outcome": outcome}).json()
        assert [call["id"] for call in filtered["data"]] == [call["id"] for call in calls if call["outcome"] == outcome]
    assert client.get(f"{path}/calls", params={"status": "placed"}).json()["data"] == []


def test_the_audit_tells_what_is_broken_with_its_rows(client: TestClient, draft: Draft, world: World) -> None:
    path = f"/batch-calls/{draft(contacts=2)['id']}"
    client.post(f"{path}/schedule")
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    clean = client.get(f"{path}/audit").json()["data"]
    assert clean == {"is_clean": True, "violations": [], "attempts": 2, "contacts": 2, "batches": 1}
    world.sql("DELETE FROM attempts")
    broken = client.get(f"{path}/audit").json()["data"]
    assert not broken["is_clean"]
    assert all(violation["rows"] for violation in broken["violations"])


def test_calls_of_a_deleted_batch_go_on_to_count_for_their_number_also_when_redis_was_emptied(
    client: TestClient, draft: Draft, world: World
) -> None:
    number = str(world.installed.number_ids[0])
    client.patch(f"/phone-numbers/{number}", json={"max_calls_per_day": 3})
    world.rescue()
    first = f"/batch-calls/{draft(contacts=2, phone_number_ids=[number])['id']}"
    client.post(f"{first}/schedule")
    world.run(lambda: client.get(first).json()["data"]["status"] == "completed")
    assert client.delete(first).status_code == 204
    world.leases.void()
    world.rescue()
    second = f"/batch-calls/{draft(contacts=5, phone_number_ids=[number])['id']}"
    client.post(f"{second}/schedule")
    world.run(world.clock.now.add(minutes=30))
    assert client.get(second).json()["data"]["calls"]["attempts"] == 1


def test_batches_are_listed_by_label_and_by_when_they_were_created(
    client: TestClient, draft: Draft, world: World
) -> None:
    batches = []
    for labels in ([], ["vip", "May"], ["vip"]):
        world.clock.now = world.clock.now.add(hours=1)
        batches.append(draft(labels=labels))
    ids = [batch["id"] for batch in batches]
    assert [batch["labels"] for batch in batches] == [[], ["vip", "May"], ["vip"]]

    def listed(**query: str) -> list[str]:
        answer = client.get("/batch-calls", params=query).json()
        assert answer["pagination"]["total"] == len(answer["data"])
        return [batch["id"] for batch in answer["data"]]

    assert listed(label="vip") == [ids[2], ids[1]]
    assert listed(label="May") == [ids[1]]
    assert listed(label="may") == []
    second = batches[1]["created_at"]
    assert listed(since=second) == [ids[2], ids[1]]
    assert listed(until=second) == [ids[0]]
    assert listed(since=second, label="May", until=batches[2]["created_at"]) == [ids[1]]
    changed = client.patch(f"/batch-calls/{ids[0]}", json={"labels": ["new"]})
    assert changed.json()["data"]["labels"] == ["new"]


@pytest.mark.parametrize("labels", [["a", "a"], [""], ["x" * 51], [str(n) for n in range(21)], ["\u0000"], "vip", [1]])
def test_wrong_labels_are_refused(client: TestClient, world: World, labels: object) -> None:
    body = {"name": "x", "agent_id": str(world.installed.agent_id), "labels": labels}
    answer = client.post("/batch-calls", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["field"].startswith("labels")


def test_settings_that_have_no_effect_are_warned_about(client: TestClient, world: World) -> None:
    body = {"name": "x", "agent_id": str(world.installed.agent_id), "max_retry_attempts": 2, "timezone": "EST"}
    created = client.post("/batch-calls", json=body).json()
    assert [warning["field"] for warning in created["meta"]["warnings"]] == ["max_retry_attempts", "timezone"]
    path = f"/batch-calls/{created['data']['id']}"
    changed = client.patch(path, json={"retry_failed": True, "timezone": "America/New_York"}).json()
    assert changed["meta"]["warnings"] == []
    assert client.get("/batch-calls").json()["meta"]["warnings"] == []
