"""`/batch-calls/{id}/contacts`: added as JSON and as files, listed, and shown."""

import io
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Draft
from support.world import World

NOBODY = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
CSV = {"Content-Type": "text/csv"}
GOOD = "phone,name\n+12025550101,Ada\n"
PART = "--x\r\nContent-Disposition: form-data; name=file\r\n\r\n"


def add(client: TestClient, batch: dict[str, Any], *contacts: dict[str, Any]) -> Any:
    return client.post(f"/batch-calls/{batch['id']}/contacts", json={"contacts": list(contacts)})


def load(client: TestClient, batch: dict[str, Any], file: str | bytes) -> Any:
    return client.post(f"/batch-calls/{batch['id']}/contacts", content=file, headers=CSV)


def details(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [detail["field"] for detail in answer.json()["error"]["details"]]


def test_contacts_are_added_as_json_with_all_they_may_have(client: TestClient, draft: Draft) -> None:
    batch = draft(default_region="DE", timezone="Europe/Berlin")
    given = {
        "phone_number": "030 901820",
        "name": "Ada",
        "timezone": "America/New_York",
        "priority": 1,
        "external_id": "crm-1",
        "expires_at": "2026-04-01T09:00",
        "variables": {"plan": "gold", "age": 36, "vip": True, "rate": 1.5, "note": None},
    }
    assert add(client, batch, given).json()["data"] == {
        "imported": 1, "duplicates": 0, "suppressed": 0, "rejected": 0, "errors": [],
    }  # fmt: skip
    (contact,) = client.get(f"/batch-calls/{batch['id']}/contacts").json()["data"]
    expected = given | {"phone_number": "+4930901820", "expires_at": "2026-04-01T07:00:00Z", "status": "pending"}
    assert {name: contact[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("contact", "field"),
    [
        ({}, "contacts.0.phone_number"),
        ({"phone_number": 5}, "contacts.0.phone_number"),
        ({"phone_number": "+12025550101", "nmae": "x"}, "contacts.0.nmae"),
        ({"phone_number": "+12025550101", "priority": 0}, "contacts.0.priority"),
        ({"phone_number": "+12025550101", "priority": "1"}, "contacts.0.priority"),
        ({"phone_number": "+12025550101", "variables": []}, "contacts.0.variables"),
    ],
)
def test_what_has_not_the_form_of_a_contact_refuses_the_whole_body(
    client: TestClient, draft: Draft, contact: dict[str, Any], field: str
) -> None:
    batch = draft()
    assert details(add(client, batch, contact, {"phone_number": "+12025550102"})) == [field]
    assert client.get(f"/batch-calls/{batch['id']}").json()["data"]["counts"]["total"] == 0


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_body_has_1_to_10_000_contacts(client: TestClient, draft: Draft, count: int) -> None:
    assert details(add(client, draft(), *[{"phone_number": "+1"}] * count)) == ["contacts"]


def test_ten_thousand_contacts_are_one_body(client: TestClient, draft: Draft) -> None:
    contacts = [{"phone_number": f"+1202{number}"} for number in range(2_000_000, 2_010_000)]
    report = add(client, draft(), *contacts).json()["data"]
    assert report["imported"] + report["rejected"] == 10_000
    assert report["imported"] > 9_000


def test_what_cannot_be_called_is_reported_by_its_place_and_the_rest_is_stored(
    client: TestClient, draft: Draft, world: World
) -> None:
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:w, '+12025550109')",
        w=world.installed.workspace_id,
    )
    batch = draft(contacts=1)
    phones = ["+12025550199", "+12025550199", "12", "+12025550100", "+12025550109"]
    report = add(client, batch, *({"phone_number": phone} for phone in phones)).json()["data"]
    assert report == {
        "imported": 1,
        "duplicates": 2,
        "suppressed": 1,
        "rejected": 1,
        "errors": [
            {
                "row": 3,
                "phone_number": "12",
                "reason": "phone_number: has no country code and no default region is set",
            }
        ],
    }


@pytest.mark.parametrize(
    "file",
    [
        "\ufeffPhone Number;Name;Plan\n+12025550101;Ada;gold\n",
        "PHONE\tname\tPlan\n+12025550101\tAda\tgold\n",
        'phone_number,"name",Plan\r\n+12025550101,"Ada",gold\r\n',
    ],
)
def test_a_file_is_read_as_spreadsheets_write_it(client: TestClient, draft: Draft, file: str) -> None:
    batch = draft()
    assert load(client, batch, file.encode()).json()["data"]["imported"] == 1
    (contact,) = client.get(f"/batch-calls/{batch['id']}/contacts").json()["data"]
    assert (contact["phone_number"], contact["name"], contact["variables"]) == ("+12025550101", "Ada", {"Plan": "gold"})


def test_a_file_may_come_in_the_field_of_a_form(client: TestClient, draft: Draft) -> None:
    path = f"/batch-calls/{draft()['id']}/contacts"
    report = client.post(path, files={"file": ("list.csv", io.BytesIO(GOOD.encode()), "text/csv")})
    assert report.json()["data"]["imported"] == 1


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (GOOD, "text/plain", 415),
        (GOOD, "multipart/form-data", 400),
        (GOOD, "multipart/form-data; boundary=x", 400),
        ("--x\r\nContent-Disposition: form-data; name=file\r\n\r\nphone\r\n", "multipart/form-data; boundary=x", 400),
        ("--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n", "multipart/form-data; boundary=x", 422),
        (f"{PART}phone\r\n\r\n{PART}+12025550101\r\n--x--\r\n", "multipart/form-data; boundary=x", 422),
        ("--x--\r\n", "multipart/form-data; boundary=x", 400),
        ("", "text/csv", 400),
        ("name\nAda\n", "text/csv", 400),
        ("phone\n+12025550101\n\0", "text/csv", 400),
        ('phone\n+12025550102\n"open\n', "text/csv", 400),
        ("PK\x03\x04", "text/csv", 400),
        ("{", "application/json", 400),
    ],
)
def test_a_file_that_is_none_stores_nothing_and_says_why(
    client: TestClient, draft: Draft, content: str, kind: str, code: int
) -> None:
    path = f"/batch-calls/{draft()['id']}"
    answer = client.post(f"{path}/contacts", content=content, headers={"Content-Type": kind})
    assert answer.status_code == code, answer.text
    assert answer.json()["error"]["details"][0]["reason"]
    assert client.get(path).json()["data"]["counts"]["total"] == 0


def test_an_active_batch_takes_contacts_and_calls_them_and_one_that_is_over_does_not(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=1)
    path = f"/batch-calls/{batch['id']}"
    client.post(f"{path}/schedule")
    world.step()
    assert load(client, batch, GOOD.replace("101", "190")).json()["data"]["imported"] == 1
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    contacts = client.get(f"{path}/contacts").json()["data"]
    assert all(contact["attempts"] == 1 for contact in contacts)
    assert len(contacts) == 2
    for answer in (load(client, batch, GOOD), add(client, batch, {"phone_number": "+12025550101"})):
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "batch_is_final")


def test_contacts_are_listed_in_their_order_and_filtered(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(contacts=5)
    add(client, batch, {"phone_number": "+12025550150", "external_id": "x-1"})
    path = f"/batch-calls/{batch['id']}"

    def listed(**query: Any) -> tuple[list[str], int]:
        answer = client.get(f"{path}/contacts", params=query).json()
        return [contact["phone_number"][-3:] for contact in answer["data"]], answer["pagination"]["total"]

    assert listed() == (["100", "101", "102", "103", "104", "150"], 6)
    assert listed(limit=2, offset=3) == (["103", "104"], 6)
    assert listed(external_id="x-1") == (["150"], 1)
    assert listed(phone_number="+1 (202) 555-0101") == (["101"], 1)
    assert listed(status="pending") == (["100", "101", "102", "103", "104", "150"], 6)
    assert listed(status="failed") == ([], 0)
    client.post(f"{path}/schedule")
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    outcomes = [contact["outcome"] for contact in client.get(f"{path}/contacts").json()["data"]]
    for outcome in set(outcomes):
        assert listed(outcome=outcome)[1] == outcomes.count(outcome)
    bad = client.get(f"{path}/contacts", params={"phone_number": "12"})
    assert details(bad) == ["phone_number"]


def test_a_contact_is_shown_with_its_calls_also_when_they_are_archived(
    client: TestClient, draft: Draft, world: World
) -> None:
    path = f"/batch-calls/{draft(contacts=1)['id']}"
    client.post(f"{path}/schedule")
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    (contact,) = client.get(f"{path}/contacts").json()["data"]
    shown = client.get(f"{path}/contacts/{contact['id']}").json()["data"]
    assert [call["outcome"] for call in shown["calls"]] == [contact["outcome"]]
    assert {name: shown[name] for name in contact} == contact
    world.sql("INSERT INTO attempts_archive SELECT * FROM attempts")
    world.sql("DELETE FROM attempts")
    assert client.get(f"{path}/contacts/{contact['id']}").json()["data"] == shown
    assert client.get(f"{path}/calls").json()["pagination"]["total"] == 1
    assert client.get(f"{path}/contacts/{NOBODY}").status_code == 404


def test_contacts_of_a_folder_are_loaded_when_a_batch_is_made_from_it(
    client: TestClient, world: World, draft: Draft
) -> None:
    folder = client.post("/contact-folders", json={"name": "Customers", "default_region": "DE"}).json()["data"]
    path = f"/contact-folders/{folder['id']}/contacts"
    file = "phone,name,plan\n030 901820,Ada,gold\n+12025550109,Bob,\n+12025550109,Bob,\nxx,,\n"
    report = client.post(path, content=file, headers=CSV).json()["data"]
    assert [report[name] for name in ("imported", "duplicates", "suppressed", "rejected")] == [2, 1, 0, 1]
    assert client.post(path, json={"contacts": [{"phone_number": "+12025550101"}]}).json()["data"]["imported"] == 1
    assert client.get(f"/contact-folders/{folder['id']}").json()["data"]["contacts"] == 3
    client.post("/suppressions", json={"phone_number": "+12025550109"})
    for by_zone in (False, True):
        batch = draft(contact_source="folder", contact_folder_id=folder["id"], respect_contact_timezone=by_zone)
        assert batch["counts"]["pending"] == 2
        contacts = client.get(f"/batch-calls/{batch['id']}/contacts").json()["data"]
        assert [(contact["phone_number"], contact["variables"]) for contact in contacts] == [
            ("+4930901820", {"plan": "gold"}),
            ("+12025550101", {}),
        ]
    assert world.value("SELECT count(DISTINCT lane) FROM contacts") == 3
    contact = client.get(path).json()["data"][0]
    assert client.get(f"{path}/{contact['id']}").json()["data"] == contact
    changes = {"name": None, "priority": 1, "expires_at": "2030-01-31T18:00:00Z", "variables": {"plan": "silver"}}
    changed = client.patch(f"{path}/{contact['id']}", json=changes)
    assert changed.json()["data"] == contact | changes
    assert details(client.patch(f"{path}/{contact['id']}", json={"timezone": "x"})) == ["timezone"]
    assert client.get(f"{path}/{contact['id']}").json()["data"] == contact | changes
    assert client.delete(f"{path}/{contact['id']}").status_code == 204
    assert client.get(f"{path}/{contact['id']}").status_code == 404
    assert client.delete(f"/contact-folders/{folder['id']}").status_code == 204
    kept = client.get(f"/batch-calls/{batch['id']}").json()["data"]
    assert (kept["contact_folder_id"], kept["counts"]["total"]) == (None, 2)
    renamed = client.patch(f"/batch-calls/{batch['id']}", json={"name": "kept"}).json()["data"]
    assert (renamed["name"], renamed["contact_source"]) == ("kept", "folder")


def test_a_folder_that_is_not_there_makes_no_batch(client: TestClient, world: World) -> None:
    body = {"name": "x", "agent_id": str(world.installed.agent_id), "contact_source": "folder"}
    assert details(client.post("/batch-calls", json=body | {"contact_folder_id": NOBODY})) == ["contact_folder_id"]


def test_a_contact_is_changed_and_then_taken_out(client: TestClient, draft: Draft, world: World) -> None:
    path = f"/batch-calls/{draft(contacts=2, end_time='07:00')['id']}"
    client.post(f"{path}/schedule")
    first, second = client.get(f"{path}/contacts").json()["data"]
    own = f"{path}/contacts/{first['id']}"
    fields = {"priority": 1, "timezone": "Asia/Kolkata", "variables": {"plan": "gold"}, "name": None}
    changed = client.patch(own, json=fields).json()["data"]
    assert {name: changed[name] for name in fields} == fields
    assert details(client.patch(own, json={"priority": 0})) == ["priority"]
    assert client.delete(own).status_code == 204
    removed = client.get(own).json()["data"]
    assert (removed["status"], removed["status_reason"]) == ("cancelled", "removed")
    assert client.get(path).json()["data"]["counts"]["total"] == 2
    assert "cancelled,removed" in client.get(f"{path}/results.csv").text
    assert client.delete(own).json()["error"]["code"] == "contact_is_final"
    assert client.delete(f"{path}/contacts/{NOBODY}").status_code == 404
    assert client.get(f"{path}/contacts/{second['id']}").json()["data"]["status"] == "pending"
