"""What the admin of a workspace may not reach: secrets of other workspaces and of the machine's owner."""

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api
from dialer.domain.ids import TrunkId
from dialer.domain.trunk import Trunk
from dialer.errors import Unavailable
from dialer.providers.egress import AddressRefused, resolve_host
from dialer.providers.pool import ProviderPool
from dialer.store import numbers
from dialer.wiring import connecting
from support.networks.asterisk import trunk
from support.resolvers import no_such_host

ROOT = Path(__file__).parents[2]
OWNED = ("TRUNK_ACME_TOKEN@acme",)
# Set and of another workspace, set and of nobody, set and of the default workspace, not set at all.
NOT_MINE = ("TRUNK_ACME_TOKEN", "PATH", "TRUNK_OWN", "DIALER_DATABASE_URL", "TRUNK_NEVER_SET", "NEVER_SET")


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRUNK_ACME_TOKEN", "TRUNK_OWN", "DIALER_DATABASE_URL"):
        monkeypatch.setenv(name, "the-carriers-password")


@pytest.fixture
def mallory(api: Api) -> Iterator[TestClient]:
    """The admin of another workspace of an installation whose owner has given `acme` a secret."""
    with guest(api, "mallory") as client:
        yield client


def guest(api: Api, workspace: str) -> TestClient:
    owned = Api(api.world, api.settings.model_copy(update={"secret_env": OWNED}))
    return owned.client(workspace=api.workspace(workspace))


def config(variable: str, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = trunk(1, host="198.51.100.7")["config"]
    return values | {"password": f"env:{variable}"} | more


def create(client: TestClient, variable: str, **more: Any) -> Any:
    return client.post("/trunks", json={"name": variable, "provider": "asterisk", "config": config(variable, **more)})


def test_another_workspaces_variable_is_refused_in_the_same_words_whether_it_is_set_or_not(mallory: TestClient) -> None:
    answers = [create(mallory, variable) for variable in NOT_MINE]
    assert {answer.status_code for answer in answers} == {422}
    assert len({str(answer.json()["error"]) for answer in answers}) == 1
    assert not any(name in answer.text for name, answer in zip(NOT_MINE, answers, strict=True))


def test_a_trunk_cannot_be_changed_to_another_workspaces_variable(api: Api) -> None:
    with guest(api, "acme") as acme:
        made = create(acme, "TRUNK_ACME_TOKEN").json()["data"]
        assert made["config"]["password"] == "env:TRUNK_ACME_TOKEN"
        changed = acme.patch(f"/trunks/{made['id']}", json={"config": config("TRUNK_OWN")})
    assert changed.status_code == 422


def test_processes_that_connect_refuse_it_too_where_it_was_stored_before(api: Api) -> None:
    """The trunk's workspace is looked at where it connects, whatever the API has let in; the words are constant."""
    with guest(api, "acme") as acme:
        row = create(acme, "TRUNK_ACME_TOKEN").json()["data"]
    api.world.sql("UPDATE trunks SET config = replace(CAST(config AS text), 'ACME_TOKEN', 'OWN')::jsonb")
    with api.world.db.begin() as connection:
        stored = numbers.trunk(connection, TrunkId(UUID(row["id"])))
    assert stored is not None
    pool = ProviderPool(connecting(api.settings.model_copy(update={"secret_env": OWNED})), api.world.clock)
    try:
        messages = {pool.health(replace(stored, config=config(name))) for name in NOT_MINE[1:]}
        assert messages == {pool.health(stored)}
    finally:
        pool.close()


async def test_a_trunk_of_no_workspace_reads_no_variable(api: Api) -> None:
    connect = connecting(api.settings)
    with pytest.raises(Unavailable, match="gives to this workspace"):
        connect(Trunk(TrunkId(api.world.installed.trunk_id), "asterisk", config("TRUNK_OWN")))
    provider = connect(Trunk(TrunkId(api.world.installed.trunk_id), "asterisk", config("TRUNK_OWN"), "default"))
    await provider.close()


def test_the_check_of_a_trunk_is_no_port_scanner(api: Api) -> None:
    """An open port, a closed one, another machine's and a name that does not exist are told in the same words."""
    settings = api.settings.model_copy(update={"secret_env": OWNED})

    async def resolve(host: str, port: int) -> list[str]:
        return await (no_such_host if host == "no-such-host.invalid" else resolve_host)(host, port)

    pool = ProviderPool(connecting(settings, resolve), api.world.clock)
    api.world.context = replace(api.world.context, providers=pool)
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening, guest(api, "acme") as acme:
            hosts = [f"127.0.0.1:{port}" for port in (listening.getsockname()[1], 1)]
            answers = {check(acme, host) for host in (*hosts, "10.9.8.7:22", "[::1]:1", "no-such-host.invalid:80")}
            assert answers == {f"http://HOST/ari: Asterisk does not answer: {AddressRefused()}"}
            listening.setblocking(False)
            with pytest.raises(BlockingIOError):
                listening.accept()
    finally:
        pool.close()


def check(client: TestClient, host: str) -> str:
    body = {"name": host, "provider": "asterisk", "config": config("TRUNK_ACME_TOKEN", url=f"http://{host}")}
    trunk_id = client.post("/trunks", json=body).json()["data"]["id"]
    answer = client.post(f"/trunks/{trunk_id}/check").json()["data"]
    assert answer["ok"] is False
    return str(answer["reason"]).partition("; ")[0].replace(host, "HOST")


def test_no_operation_reaches_what_is_the_machine_owners(api: Api) -> None:
    """What a workspace may call is no field of a body; other workspaces and settings have no path."""
    document = api.app().openapi()
    owned = re.compile(r"workspaces|workspace/|(?<!\{batch_id\}/)setting|environment")
    assert not [path for path in document["paths"] if owned.search(path)]
    bodies = {
        name: schema
        for name, schema in document["components"]["schemas"].items()
        if name.endswith(("Create", "Update"))
    }
    assert len(bodies) > 10
    forbidden = {"workspace_id", "workspace", "countries", "premium_rate"}
    assert {name for name, schema in bodies.items() if forbidden & set(schema.get("properties", {}))} == set()


def test_every_boundary_of_the_security_page_is_walked_by_a_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    (table,) = re.findall(r"## The boundaries\n+(.*?)\n\n##", page, re.DOTALL)
    rows = table.splitlines()[2:]
    assert len(rows) > 12
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), name
