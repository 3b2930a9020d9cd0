"""Agents, phone numbers, trunks, folders, suppressions, keys: made, listed, changed, deleted, refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.roles import Role
from support.deadline import DEADLINE_SECONDS
from support.world import World

NOBODY = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
CSV = {"Content-Type": "text/csv"}

# Path -> what one is made from, and what is changed of it.
RESOURCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/agents": ({"name": "Ada", "connection": {"simulator": {}}}, {"name": "Bob", "status": "inactive"}),
    "/phone-numbers": ({"phone_number": "+12025550111", "trunk_id": "TRUNK"}, {"max_calls_per_day": 5}),
    "/trunks": ({"name": "t2", "provider": "simulator"}, {"calls_per_second": 2.5, "config": {"seed": 1}}),
    "/contact-folders": ({"name": "Customers"}, {"name": "Clients", "default_region": "DE"}),
    "/suppressions": ({"phone_number": "+12025550112"}, {"reason": "asked"}),
}


@pytest.fixture
def filled(world: World) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Put the ids of this world into a body."""
    ids = {"TRUNK": str(world.installed.trunk_id), "AGENT": str(world.installed.agent_id)}
    return lambda body: {
        name: ids.get(value, value) if isinstance(value, str) else value for name, value in body.items()
    }


def reasons(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {detail["field"]: detail["reason"] for detail in answer.json()["error"]["details"]}


@pytest.mark.parametrize("path", RESOURCES)
def test_one_is_made_shown_listed_changed_and_deleted(
    client: TestClient, filled: Callable[..., dict[str, Any]], world: World, path: str
) -> None:
    new, changes = (filled(body) for body in RESOURCES[path])
    before = client.get(path).json()["pagination"]["total"]
    world.clock.now = world.clock.now.add(seconds=1)
    made = client.post(path, json=new)
    assert made.status_code == 201, made.text
    resource = made.json()["data"]
    assert {name: resource[name] for name in new} == new
    assert client.get(f"{path}/{resource['id']}").json()["data"] == resource
    listed = client.get(path).json()
    assert (listed["data"][0], listed["pagination"]["total"]) == (resource, before + 1)

    world.clock.now = world.clock.now.add(minutes=1)
    changed = client.patch(f"{path}/{resource['id']}", json=changes).json()["data"]
    kept = {
        name: value
        for name, value in resource.items()
        if name not in (*changes, "updated_at", "ready", "not_ready_reasons")
    }
    assert {name: changed[name] for name in kept} == kept
    assert {name: changed[name] for name in changes} == changes
    assert changed["updated_at"] > resource["updated_at"]

    assert client.delete(f"{path}/{resource['id']}").status_code == 204
    for gone in (client.get(f"{path}/{resource['id']}"), client.patch(f"{path}/{resource['id']}", json={}),
                 client.delete(f"{path}/{resource['id']}")):  # fmt: skip
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("/agents", {"name": ""}, "name"),
        ("/agents", {"status": "away"}, "status"),
        ("/agents", {"connection": {"fax": {}}}, "connection.fax"),
        ("/agents", {"connection": {"twilio": {}}}, "connection.twilio.url"),
        ("/agents", {"connection": {"simulator": {"x": 1}}}, "connection.simulator.x"),
        ("/agents", {"nmae": "x"}, "nmae"),
        ("/phone-numbers", {"phone_number": "12"}, "phone_number"),
        ("/phone-numbers", {"trunk_id": NOBODY}, "trunk_id"),
        ("/phone-numbers", {"agent_id": NOBODY}, "agent_id"),
        ("/phone-numbers", {"max_concurrent_calls": 0}, "max_concurrent_calls"),
        ("/phone-numbers", {"max_calls_per_day": "5"}, "max_calls_per_day"),
        ("/trunks", {"provider": "carrier-pigeon"}, "provider"),
        ("/trunks", {"config": {"password": "hunter2"}}, "config.password"),
        ("/trunks", {"config": {"auth_token": "env:HOME"}}, "config.auth_token"),
        ("/trunks", {"config": {"codec": {"api_key": "hunter2"}}}, "config.codec.api_key"),
        ("/trunks", {"config": {"url": "http://x"}}, "config.url"),
        ("/trunks", {"calls_per_second": 0}, "calls_per_second"),
        ("/contact-folders", {"default_region": "XX"}, "default_region"),
        ("/suppressions", {"phone_number": "12"}, "phone_number"),
        ("/suppressions", {"reason": "x" * 256}, "reason"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_made_or_changed(
    client: TestClient, filled: Callable[..., dict[str, Any]], path: str, fields: dict[str, Any], field: str
) -> None:
    body = filled(RESOURCES[path][0])
    before = client.get(path).json()["data"]
    assert list(reasons(client.post(path, json=body | fields))) == [field]
    assert client.get(path).json()["data"] == before


@pytest.mark.parametrize("secret", ["hunter2", "env:TRUNK_PASSWORD hunter2", "env:HOME"])
def test_a_wrong_secret_never_comes_back(client: TestClient, secret: str) -> None:
    body = {"name": "x", "provider": "simulator", "config": {"password": secret}}
    answer = client.post("/trunks", json=body)
    assert "TRUNK_" in reasons(answer)["config.password"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/agents", "/trunks", "/contact-folders", "/suppressions"])
def test_of_two_that_are_made_with_one_name_at_once_one_is_refused(
    client: TestClient, filled: Callable[..., dict[str, Any]], path: str
) -> None:
    barrier = Barrier(2)

    def make(_: int) -> int:
        barrier.wait(DEADLINE_SECONDS)
        status: int = client.post(path, json=filled(RESOURCES[path][0])).status_code
        return status

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(make, range(2))) == [201, 422]
    again = reasons(client.post(path, json=filled(RESOURCES[path][0])))
    assert next(iter(again.values())).endswith("has it already")


def test_what_is_in_use_is_not_deleted_but_made_inactive(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(phone_number_ids=[str(world.installed.number_ids[0])])
    in_use = {
        f"/agents/{batch['agent_id']}": "agent_in_use",
        f"/phone-numbers/{world.installed.number_ids[0]}": "phone_number_in_use",
        f"/trunks/{world.installed.trunk_id}": "trunk_in_use",
    }
    for path, code in in_use.items():
        answer = client.delete(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
        assert client.patch(path, json={"status": "inactive"}).json()["data"]["status"] == "inactive"


def test_an_agent_says_why_it_is_not_ready(client: TestClient, world: World) -> None:
    path = f"/agents/{world.installed.agent_id}"
    assert client.get(path).json()["data"]["ready"] is True
    changed = client.patch(path, json={"status": "inactive", "connection": {}}).json()["data"]
    assert changed["ready"] is False
    assert changed["not_ready_reasons"] == [
        "status is inactive",
        "connection.simulator is missing, and trunk simulator needs it",
    ]


def test_an_agent_is_ready_only_where_its_trunk_lets_answered_calls_go(client: TestClient, world: World) -> None:
    """The trunk's admin says what there is on the switch, and the operator's agent chooses among that."""
    trunk = client.post(
        "/trunks",
        json={
            "name": "Switch",
            "provider": "freeswitch",
            "config": {"host": "10.0.0.5", "password": "env:TRUNK_P", "dial_string": "sofia/gateway/p/{number}"},
        },
    ).json()["data"]
    agent = client.post("/agents", json={"name": "Bot", "connection": {"freeswitch": {"extension": "1000"}}}).json()
    agent_path, agent_id = f"/agents/{agent['data']['id']}", agent["data"]["id"]
    number = {"phone_number": "+12025550188", "trunk_id": trunk["id"], "agent_id": agent_id}
    # No batch can use it, because there is no other trunk of this provider.
    assert client.get(agent_path).json()["data"]["ready"] is False
    assert client.post("/phone-numbers", json=number).status_code == 201

    def refused() -> tuple[str, str]:
        (reason,) = client.get(agent_path).json()["data"]["not_ready_reasons"]
        answer = client.post("/batch-calls", json={"name": "b", "agent_id": agent_id})
        assert answer.json()["error"]["code"] == "agent_not_ready"
        ((field, why),) = reasons(answer).items()
        assert reason == f"{field} {why}"
        return field, why

    def config(**more: Any) -> None:
        answer = client.patch(f"/trunks/{trunk['id']}", json={"config": {**trunk["config"], **more}})
        assert answer.status_code == 200, answer.text

    not_permitted = "is not permitted by trunk Switch: "
    assert refused() == ("connection.freeswitch.extension", f"{not_permitted}the trunk has no context")
    config(context="agents")
    assert client.get(agent_path).json()["data"]["ready"] is True
    assert client.post("/batch-calls", json={"name": "b", "agent_id": agent_id}).status_code == 201
    system = {"freeswitch": {"application": "system", "data": "reboot"}}
    assert client.patch(agent_path, json={"connection": system}).status_code == 200
    no_destination = "it is none of the trunk's destinations"
    assert refused() == ("connection.freeswitch", f"{not_permitted}{no_destination}")
    config(destinations=[system["freeswitch"]])
    assert client.get(agent_path).json()["data"]["ready"] is True
    for place in ({"extension": "1000 XML default"}, {"extension": "${x}"}, {"extension": "1", "context": "default"}):
        assert client.patch(agent_path, json={"connection": {"freeswitch": place}}).status_code == 422, place


def test_an_agent_without_numbers_is_ready_if_any_trunk_of_its_provider_permits_its_connection(
    client: TestClient,
) -> None:
    def trunk(name: str, **more: str) -> None:
        config = {"host": "10.0.0.5", "password": "env:TRUNK_P", "dial_string": "sofia/gateway/p/{number}", **more}
        made = client.post("/trunks", json={"name": name, "provider": "freeswitch", "config": config})
        assert made.status_code == 201

    def why_not() -> list[str]:
        shown = client.get(path).json()["data"]
        assert shown["ready"] is (not shown["not_ready_reasons"])
        return list(shown["not_ready_reasons"])

    body = {"name": "Bot", "connection": {"freeswitch": {"extension": "1000"}}}
    path = f"/agents/{client.post('/agents', json=body).json()['data']['id']}"
    assert why_not() == []
    trunk("Switch")
    (reason,) = why_not()
    assert "connection.freeswitch.extension is not permitted by trunk Switch" in reason
    trunk("Other", context="agents")
    assert why_not() == []


def test_a_trunk_is_checked(client: TestClient, world: World) -> None:
    path = f"/trunks/{world.installed.trunk_id}/check"
    assert client.post(path).json()["data"] == {"ok": True, "reason": None}
    assert client.post(f"/trunks/{NOBODY}/check").status_code == 404


def test_lists_are_filtered(client: TestClient, world: World) -> None:
    def total(path: str, **query: Any) -> int:
        answer = client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["pagination"]["total"])

    assert (total("/agents", name="demo"), total("/agents", name="x")) == (1, 0)
    assert (total("/agents", status="active"), total("/agents", status="inactive")) == (1, 0)
    assert (total("/phone-numbers"), total("/phone-numbers", phone_number="+12025550191")) == (3, 1)
    assert total("/phone-numbers", agent_id=str(world.installed.agent_id), trunk_id=NOBODY) == 0
    assert total("/trunks", name="simulator", status="active") == 1


def test_whatever_else_a_file_holds_its_numbers_are_suppressed(client: TestClient) -> None:
    rows = [
        "phone,Reason,priority,timezone,expires_at,name,note,note,",
        "+12025550101,asked,high,Nowhere,tomorrow," + "x" * 300 + ",a,b,c",
        "+12025550102,,,,,,,,,beyond the header",
        "+12025550103," + "r" * 300 + ",11,,,," + "n" * 20_000,
        "12,asked",
    ]
    report = client.post("/suppressions", content="\n".join(rows), headers=CSV).json()["data"]
    assert (report["imported"], [error["row"] for error in report["errors"]]) == (3, [5])
    suppressed = {
        suppression["phone_number"]: suppression["reason"] for suppression in client.get("/suppressions").json()["data"]
    }
    assert suppressed == {"+12025550101": "asked", "+12025550102": None, "+12025550103": "r" * 255}


def test_numbers_are_suppressed_by_file_and_not_called_from_then_on(
    client: TestClient, draft: Draft, world: World
) -> None:
    path = f"/batch-calls/{draft(contacts=3, max_concurrent_calls=1)['id']}"
    client.post(f"{path}/schedule")
    world.step()
    file = "phone,reason\n+12025550102,asked\n+12025550102,again\n12,\n"
    report = client.post("/suppressions", content=file, headers=CSV).json()["data"]
    assert [report[name] for name in ("imported", "duplicates", "suppressed", "rejected")] == [1, 1, 0, 1]
    assert client.get("/suppressions").json()["data"][0]["reason"] == "asked"
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    skipped = client.get(f"{path}/contacts", params={"status": "skipped"}).json()["data"]
    assert [(contact["phone_number"], contact["status_reason"], contact["attempts"]) for contact in skipped] == [
        ("+12025550102", "suppressed", 0)
    ]


def test_a_key_is_shown_once_and_worthless_as_soon_as_it_is_revoked(api: Api, client: TestClient, world: World) -> None:
    made = client.post("/keys", json={"role": "viewer", "name": "dashboard"}).json()["data"]
    with api.client() as other:
        other.headers["Authorization"] = f"Bearer {made['key']}"
        assert other.get("/batch-calls").status_code == 200
        assert client.delete(f"/keys/{made['id']}").status_code == 204
        assert other.get("/batch-calls").status_code == 401
    shown = client.get(f"/keys/{made['id']}").json()["data"]
    assert shown["revoked_at"] == "2026-03-02T08:00:00Z"
    world.clock.now = world.clock.now.add(hours=1)
    assert client.delete(f"/keys/{made['id']}").status_code == 204
    assert client.get(f"/keys/{made['id']}").json()["data"] == shown
    assert "key" not in shown
    secret = made["key"][len("dialer_") + 33 :]
    for table in ("api_keys", "idempotency_keys"):
        kept = str(world.rows(f"SELECT to_jsonb(t) FROM {table} t"))
        assert secret not in kept
        assert secret.encode().hex() not in kept
    assert client.get("/keys").json()["pagination"]["total"] == 3
    assert list(reasons(client.post("/keys", json={"role": "owner"}))) == ["role"]


def test_limits_of_a_person_are_those_of_the_keys_own_workspace(api: Api, client: TestClient, world: World) -> None:
    limits = [{"attempts": 3, "hours": 24}]
    changed = client.patch("/workspace", json={"person_limits": limits}).json()["data"]
    assert (changed["name"], changed["person_limits"], changed["premium_rate"]) == ("default", limits, False)
    for wrong in ({"person_limits": [{"attempts": 0, "hours": 24}]}, {"countries": ["DE"]}, {"premium_rate": True}):
        assert client.patch("/workspace", json=wrong).status_code == 422
    assert client.get("/workspace").json()["data"] == changed
    with api.client(Role.VIEWER, api.workspace("other")) as other:
        assert other.get("/workspace").json()["data"]["person_limits"] == []


def test_a_list_is_read_page_by_page_after_the_last_entry(client: TestClient, draft: Draft) -> None:
    batches = [draft(contacts=5 if name == "a" else 0, name=name)["id"] for name in "abc"]
    folder = client.post("/contact-folders", json={"name": "f"}).json()["data"]["id"]
    contacts = [{"phone_number": f"+1202555{line:04}"} for line in range(100, 105)]
    client.post(f"/contact-folders/{folder}/contacts", json={"contacts": contacts})
    for name in "abc":
        client.post("/agents", json={"name": name})
        client.post("/keys", json={"role": "viewer", "name": name})
    paths = ["/batch-calls", "/agents", "/keys", f"/batch-calls/{batches[0]}/contacts"]
    paths.append(f"/contact-folders/{folder}/contacts")
    for path in paths:
        whole = client.get(path).json()
        assert (whole["pagination"]["has_more"], whole["pagination"]["next_after"]) == (False, None)
        read: list[Any] = []
        after: str | None = ""
        while after is not None:
            page = client.get(path, params={"limit": 2} | ({"after": after} if after else {})).json()
            assert page["pagination"]["total"] == len(whole["data"]) >= 3, path
            read, after = read + page["data"], page["pagination"]["next_after"]
        assert read == whole["data"], path
    others = client.get(f"/batch-calls/{draft(contacts=1)['id']}/contacts").json()["data"][0]["id"]
    for path in ("/agents", f"/batch-calls/{batches[0]}/contacts", f"/contact-folders/{folder}/contacts"):
        answer = client.get(path, params={"after": others})
        assert answer.json()["error"]["details"] == [{"field": "after", "reason": "is no entry of this list"}]
