"""Lists: in which order, page by page, and what a page costs."""

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.store import pages
from support.recorded_statements import recorded_statements, sort_keys
from support.world import World

# Calls over all batches are found batch by batch: at most a page of each is sorted.
SORTED_BY_BATCH = "/calls"


def sorts(api: Api) -> dict[str, list[str]]:
    """The values of `sort` by the path of each list that has one."""
    return {
        path.removeprefix("/v1"): parameter["schema"]["enum"]
        for path, methods in api.app().openapi()["paths"].items()
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["name"] == "sort"
    }


@pytest.fixture
def ids(client: TestClient, draft: Draft, world: World) -> Mapping[str, str]:
    """Fill every list with entries of several ages; the parameters of their paths."""
    for name in "bac":
        world.clock.now = world.clock.now.add(minutes=1)
        batch = draft(name=name, contacts=3)
        client.post("/agents", json={"name": name})
        client.post("/trunks", json={"name": name, "provider": "simulator"})
        folder = client.post("/contact-folders", json={"name": name}).json()["data"]
        endpoint = client.post("/webhook-endpoints", json={"url": f"https://example.com/{name}"}).json()["data"]
        client.post("/keys", json={"role": "viewer", "name": name})
    numbers = [f"+120255501{last:02}" for last in (7, 5, 6, 9)]
    for number in numbers:
        world.clock.now = world.clock.now.add(minutes=1)
        client.post("/suppressions", json={"phone_number": number})
    contacts = {"contacts": [{"phone_number": number} for number in numbers]}
    client.post(f"/contact-folders/{folder['id']}/contacts", json=contacts)
    path = f"/batch-calls/{batch['id']}"
    client.post(f"{path}/schedule")
    client.patch(f"{path}/settings", json={"priority": 1})
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    return {"batch_id": batch["id"], "folder_id": folder["id"], "id": endpoint["id"]}


def test_a_list_is_read_page_by_page_in_each_order_that_it_offers(
    api: Api, client: TestClient, ids: Mapping[str, str]
) -> None:
    assert len(sorts(api)) == 14
    for template, choices in sorts(api).items():
        path = template.format(**ids)
        wholes = {sort: client.get(path, params={"sort": sort}).json()["data"] for sort in choices}
        for sort, whole in wholes.items():
            assert len(whole) >= 3, path
            field = sort.removeprefix("-")
            values = [entry[field] for entry in whole]
            assert values == sorted(values, reverse=sort != field), (path, sort)
            assert wholes[f"-{field}"] == wholes[field][::-1], (path, sort)
            read: list[Any] = []
            after: str | int | None = None
            while len(read) < len(whole):
                query: dict[str, str | int] = {"sort": sort, "limit": 2}
                page = client.get(path, params=query | ({} if after is None else {"after": after})).json()
                read, after = read + page["data"], page["pagination"]["next_after"]
            assert (read, after) == (whole, None), (path, sort)


def test_no_page_sorts_what_is_stored(api: Api, client: TestClient, world: World, ids: Mapping[str, str]) -> None:
    for template, choices in sorts(api).items():
        path = template.format(**ids)
        for sort in choices if path != SORTED_BY_BATCH else ():
            first = client.get(path, params={"sort": sort, "limit": 1}).json()
            query = {"sort": sort, "limit": 1, "after": first["pagination"]["next_after"]}

            def read(path: str = path, query: Mapping[str, Any] = query) -> None:
                assert client.get(path, params=query).status_code == 200

            statements = [s for s in recorded_statements(world.db, read) if "ORDER BY" in s.sql and "LIMIT" in s.sql]
            assert statements, path
            with world.db.begin() as connection:
                assert [key for statement in statements for key in sort_keys(connection, statement)] == [], (path, sort)


@pytest.mark.parametrize("sort", ["nmae", "status", "--name", "name,created_at", "NAME", "", "name; DROP TABLE x"])
def test_an_order_that_is_not_offered_is_refused_with_the_choices(client: TestClient, sort: str) -> None:
    answer = client.get("/batch-calls", params={"sort": sort})
    (detail,) = answer.json()["error"]["details"]
    assert (answer.status_code, detail["field"]) == (422, "sort")
    assert detail["reason"] == "must be created_at, -created_at, name or -name"


def test_a_total_is_counted_up_to_a_bound(world: World) -> None:
    with world.db.begin() as connection:
        assert pages.count(connection, "FROM generate_series(1, 250000)") == pages.MAX_COUNTED
        assert pages.count(connection, "FROM generate_series(1, 7)") == 7


def test_a_folder_knows_how_many_contacts_it_has(client: TestClient, world: World) -> None:
    path = f"/contact-folders/{client.post('/contact-folders', json={'name': 'f'}).json()['data']['id']}"

    def counts() -> tuple[int, int]:
        listed = client.get(f"{path}/contacts").json()
        counted = client.get(path).json()["data"]["contacts"]
        assert listed["pagination"]["total"] == len(listed["data"])
        return counted, len(listed["data"])

    changed_at = client.get(path).json()["data"]["updated_at"]
    world.clock.now = world.clock.now.add(minutes=1)
    contacts = [{"phone_number": f"+1202555{line:04}"} for line in range(100, 105)]
    for _ in range(2):
        client.post(f"{path}/contacts", json={"contacts": contacts})
        assert counts() == (5, 5)
    first, *_ = client.get(f"{path}/contacts").json()["data"]
    client.delete(f"{path}/contacts/{first['id']}")
    assert counts() == (4, 4)
    assert client.post("/people/erase", json={"phone_number": "+12025550101"}).status_code == 200
    assert counts() == (3, 3)
    assert client.get(path).json()["data"]["updated_at"] == changed_at
    assert client.delete(path).status_code == 204
