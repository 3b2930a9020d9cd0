"""Roles and workspaces, proved on every operation that the OpenAPI document has."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient

from api.conftest import NOBODY, Api
from api.every_operation import OPEN, dump, filled, operations, with_id
from dialer import log
from dialer.domain.roles import Role
from dialer.service import demo_setup
from dialer.service.keys import NewKey, create
from support.world import World

ADMIN = ("/v1/trunks", "/v1/keys", "/v1/webhook-endpoints", "/v1/quarantine", "/v1/people")
CHANGES_WORKSPACE = ("PATCH", "/v1/workspace")


def test_without_a_key_that_counts_everything_is_a_401(api: Api, client: TestClient, ids: dict[str, str]) -> None:
    revoked = client.post("/keys", json={"role": "admin"}).json()["data"]
    client.delete(f"/keys/{revoked['id']}")
    live = api.key()
    secret_of_another = live[: len("dialer_") + 33] + api.key()[len("dialer_") + 33 :]
    credentials = ("", "x", f"{live}x", live[:-1], secret_of_another, revoked["key"])
    headers = ("", f"Basic {live}", *(f"Bearer {given}" for given in credentials))
    for operation in operations(api):
        for header in headers:
            answer = operation.ask(client, with_id(operation, ids), headers={"Authorization": header})
            assert (answer.status_code, answer.headers.get("WWW-Authenticate")) == (401, "Bearer"), operation
            assert answer.json()["error"]["code"] == "not_authenticated"


def test_each_role_may_do_what_it_may_and_nothing_else(api: Api, ids: dict[str, str]) -> None:
    clients = {role: api.client(role) for role in Role}
    for operation in operations(api):
        needs_admin = operation.path.startswith(ADMIN) or (operation.method, operation.path) == CHANGES_WORKSPACE
        allowed = {
            Role.VIEWER: operation.method == "GET" and not needs_admin,
            Role.OPERATOR: not needs_admin,
            Role.ADMIN: True,
        }
        for role, is_allowed in allowed.items():
            if is_allowed and operation.method == "DELETE":
                continue
            answer = operation.ask(clients[role], with_id(operation, ids))
            assert answer.status_code != 401
            assert (answer.status_code == 403) is not is_allowed, (operation, role, answer.text)


def test_what_needs_no_key_needs_none(api: Api) -> None:
    with TestClient(api.app()) as client:
        for path in (*OPEN, "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200


@pytest.fixture
def stranger(api: Api, world: World) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """An admin of another workspace, which has an agent, a trunk and a number of its own."""
    workspace = api.workspace("other")
    with api.client(workspace=workspace) as client:
        trunk = client.post("/trunks", json={"name": "t", "provider": "simulator"}).json()["data"]["id"]
        agent = client.post("/agents", json={"name": "a", "connection": {"simulator": {}}}).json()["data"]["id"]
        number = {"phone_number": "+12025550177", "trunk_id": trunk, "agent_id": agent}
        own = {"TRUNK": trunk, "AGENT": agent}
        own["NUMBER"] = client.post("/phone-numbers", json=number).json()["data"]["id"]
        batch = client.post("/batch-calls", json={"name": "b", "agent_id": agent}).json()["data"]["id"]
        folder = client.post("/contact-folders", json={"name": "f"}).json()["data"]["id"]
        yield client, own | {"batch_id": batch, "folder_id": folder}


def test_an_id_of_another_workspace_is_as_good_as_none_in_every_path(
    api: Api, world: World, ids: dict[str, str], stranger: tuple[TestClient, dict[str, str]]
) -> None:
    client, own = stranger
    before = dump(world)
    walked = 0
    for operation in operations(api):
        if "{" not in operation.path:
            continue
        theirs = with_id(operation, ids) | {name: own[name] for name in ("AGENT", "TRUNK", "NUMBER")}
        nobodys = dict.fromkeys(theirs, NOBODY) | {name: own[name] for name in ("AGENT", "TRUNK", "NUMBER")}
        answers = [operation.ask(client, which) for which in (theirs, nobodys)]
        assert [answer.status_code for answer in answers] == [404, 404], operation
        assert answers[0].json()["error"] == answers[1].json()["error"], operation
        walked += 1
    assert walked > 30
    assert dump(world) == before


def test_a_child_of_another_workspace_is_not_found_under_a_parent_of_ones_own(
    ids: dict[str, str], stranger: tuple[TestClient, dict[str, str]], client: TestClient
) -> None:
    other, own = stranger
    assert other.get(f"/batch-calls/{own['batch_id']}/contacts/{ids['contact_id']}").status_code == 404
    folder_contact = client.get(f"/contact-folders/{ids['folder_id']}/contacts").json()["data"][0]["id"]
    path = f"/contact-folders/{own['folder_id']}/contacts/{folder_contact}"
    assert [other.get(path).status_code, other.delete(path).status_code] == [404, 404]


@pytest.mark.parametrize(
    ("path", "own", "foreign", "field"),
    [
        ("/batch-calls", {"name": "x"}, {"agent_id": "AGENT"}, "agent_id"),
        ("/batch-calls", {"name": "x", "agent_id": "AGENT"}, {"phone_number_ids": ["NUMBER"]}, "phone_number_ids"),
        (
            "/batch-calls",
            {"name": "x", "agent_id": "AGENT", "contact_source": "folder"},
            {"contact_folder_id": "FOLDER"},
            "contact_folder_id",
        ),
        ("/phone-numbers", {"phone_number": "+12025550178"}, {"trunk_id": "TRUNK"}, "trunk_id"),
        ("/phone-numbers", {"phone_number": "+12025550178", "trunk_id": "TRUNK"}, {"agent_id": "AGENT"}, "agent_id"),
    ],
)
def test_an_id_of_another_workspace_is_as_good_as_none_in_every_body(
    ids: dict[str, str],
    stranger: tuple[TestClient, dict[str, str]],
    path: str,
    own: dict[str, Any],
    foreign: dict[str, Any],
    field: str,
) -> None:
    client, own_ids = stranger
    reasons = []
    for which in (ids, dict.fromkeys(ids, NOBODY)):
        answer = client.post(path, json=filled(own, own_ids) | filled(foreign, which))
        assert answer.status_code == 422, answer.text
        (detail,) = answer.json()["error"]["details"]
        assert detail["field"] == field
        reasons.append(detail["reason"].replace(ids["NUMBER"], NOBODY))
    assert reasons[0] == reasons[1]


def test_ids_of_another_workspace_find_nothing_in_queries(
    ids: dict[str, str], stranger: tuple[TestClient, dict[str, str]]
) -> None:
    client, _ = stranger
    for path, query in (
        ("/batch-calls", {"agent_id": ids["AGENT"]}),
        ("/phone-numbers", {"agent_id": ids["AGENT"]}),
        ("/phone-numbers", {"trunk_id": ids["TRUNK"]}),
        ("/phone-numbers", {"phone_number": demo_setup.NUMBERS[0]}),
        ("/agents", {"name": demo_setup.AGENT}),
    ):
        assert client.get(path, params=query).json()["pagination"]["total"] == 0


def test_neither_keys_nor_secrets_nor_whole_numbers_are_in_the_logs(
    api: Api, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    level, handlers = logging.getLogger().level, logging.getLogger().handlers[:]
    configured = structlog.get_config()
    log.configure("json", "debug")
    try:
        made = create(world.db, world.installed.workspace_id, NewKey(role=Role.ADMIN), world.clock.now, world.rng)[
            "key"
        ]
        with TestClient(api.app(), raise_server_exceptions=False, base_url="http://testserver/v1") as client:
            client.headers["Authorization"] = f"Bearer {made}"
            client.get("/phone-numbers", params={"phone_number": "+12025550191"})
            client.get("/agents/+12025550191")
            client.post("/trunks", json={"name": "x", "provider": "simulator", "config": {"password": "hunter2"}})
            # A failure that nobody expects.
            world.sql("ALTER TABLE suppressions RENAME TO gone")
            try:
                world.sql("CREATE VIEW suppressions AS SELECT * FROM gone WHERE 1 / 0 = 1")
                failed = client.get("/suppressions", params={"phone_number": "+12025550191"})
            finally:
                world.sql("DROP VIEW IF EXISTS suppressions")
                world.sql("ALTER TABLE gone RENAME TO suppressions")
    finally:
        logging.getLogger().setLevel(level)
        logging.getLogger().handlers[:] = handlers
        structlog.configure(**configured)
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "internal_error")
    assert "gone" not in failed.text
    logged = capsys.readouterr().err
    assert failed.json()["meta"]["request_id"] in logged
    password = api.settings.database.partition("//")[2].partition(":")[2].partition("@")[0]
    for secret in (made, made[len("dialer_") + 33 :], "hunter2", "2025550191", password):
        assert secret not in logged
