"""The server decides what a role may do: every route of the console, with and without a session."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Route

from api.conftest import Api
from console.test_sessions import ORIGIN, signed_in
from dialer.console.routes import PARTS
from dialer.domain.roles import Role

NOBODY = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
OPEN = {"/console/sign-in", "/console/sign-out"}
FOR_ADMINS = (
    "/console/system/keys",
    "/console/system/trunks",
    "/console/system/webhooks",
    "/console/system/quarantine",
    "/console/system/engine",
)


def routes() -> list[tuple[str, str]]:
    """Return every method and path of the console, with ids in place of their parameters."""
    found = [
        (method, route.path)
        for part in PARTS
        for route in part.router.routes
        if isinstance(route, Route) and route.path not in OPEN and "static" not in route.path
        for method in route.methods or ()
    ]
    assert len(found) > 20
    ids = {
        "batch_id": NOBODY,
        "contact_id": NOBODY,
        "key_id": NOBODY,
        "kind": "agents",
        "row": NOBODY,
        "entry_id": "1",
        "action": "pause",
    }
    return [(method, path.format(**ids)) for method, path in found]


@pytest.fixture
def client(api: Api) -> Iterator[TestClient]:
    with TestClient(api.app(), raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def test_nothing_is_shown_or_done_without_a_session(api: Api, client: TestClient) -> None:
    for method, path in routes():
        answer = client.request(method, path, headers=ORIGIN, params={"show": "row"})
        assert "API key" in answer.text, (method, path)
        assert answer.status_code == (200 if path == "/console" else 401), (method, path)


def test_a_viewer_reads_and_changes_nothing(api: Api, client: TestClient) -> None:
    token = signed_in(client, api.key(Role.VIEWER))
    for method, path in routes():
        if path != "/console/events":
            answer = client.request(method, path, headers=ORIGIN | {"X-Form-Token": token})
            reads = (
                method == "GET"
                and not path.startswith(FOR_ADMINS)
                and not path.endswith(("/new", "/all/pause", "/settings"))
            )
            is_form_of_row = path == f"/console/system/agents/{NOBODY}"
            expected = {200, 404} if reads and not is_form_of_row else {403}
            assert answer.status_code in expected, (method, path, answer.status_code)


def test_an_operator_has_no_keys_and_no_trunks(api: Api, client: TestClient) -> None:
    token = signed_in(client, api.key(Role.OPERATOR))
    for path in FOR_ADMINS:
        assert client.get(path).status_code == 403
    for path in (*FOR_ADMINS, f"{FOR_ADMINS[1]}/new", f"{FOR_ADMINS[1]}/{NOBODY}", f"{FOR_ADMINS[1]}/{NOBODY}/check"):
        answer = client.post(path, data={"form_token": token, "role": "admin", "name": "x"}, headers=ORIGIN)
        assert answer.status_code in (403, 405), path


def test_rows_of_another_workspace_do_not_exist(api: Api, client: TestClient) -> None:
    world = api.world
    batch_id = world.batch(2)
    contact_id = world.value("SELECT id FROM contacts LIMIT 1")
    token = signed_in(client, api.key(Role.ADMIN, api.workspace("other")))
    paths = [
        f"/console/batches/{batch_id}",
        f"/console/batches/{batch_id}/figures",
        f"/console/batches/{batch_id}/contacts",
        f"/console/batches/{batch_id}/contacts/{contact_id}",
        f"/console/batches/{batch_id}/results.csv",
        f"/console/system/agents/{world.installed.agent_id}",
        f"/console/system/trunks/{world.installed.trunk_id}",
    ]
    assert {client.get(path).status_code for path in paths} == {404}
    assert str(batch_id) not in client.get("/console").text
    for action in ("start", "pause", "resume", "cancel", "delete", "list/preview"):
        answer = client.post(f"/console/batches/{batch_id}/{action}", headers=ORIGIN | {"X-Form-Token": token})
        assert answer.status_code in (404, 422), action
    client.post("/console/all/pause", data={"form_token": token}, headers=ORIGIN)
    assert world.progress(batch_id).status == "active"


def test_the_state_of_the_engine_is_for_the_workspace_of_the_owner(api: Api, client: TestClient) -> None:
    for key, is_shown in ((api.key(), True), (api.key(Role.ADMIN, api.workspace("other")), False)):
        signed_in(client, key)
        answer, part = client.get("/console/system"), client.get("/console/system/engine")
        assert (answer.status_code, "Call events to settle" in answer.text) == (200, is_shown)
        assert (part.status_code, "Call events to settle" in part.text) == (200 if is_shown else 403, is_shown)
