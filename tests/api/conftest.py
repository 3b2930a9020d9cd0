"""The API in this process: real Postgres and Redis behind it, and a client that holds a key."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Event, Thread
from typing import Any

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from dialer import log
from dialer.api.app import equip, make_routes
from dialer.api.server import Server, server_config
from dialer.domain.ids import WorkspaceId
from dialer.domain.roles import Role
from dialer.engine.context import EngineContext
from dialer.service import keys
from dialer.service.keys import NewKey
from dialer.settings import Settings
from dialer.store import quarantine
from support.deadline import DEADLINE_SECONDS, wait_until
from support.world import World

NOBODY = "019cad8f-ac00-7d8e-91b7-584a2265b1f5"
METRICS_TOKEN = "for-prometheus"
METRICS = {"Authorization": f"Bearer {METRICS_TOKEN}"}
Draft = Callable[..., dict[str, Any]]


routes = cache(make_routes)
# Applications that no server uses now. Each serves one test after the other: making the routes takes a while.
idle: list[FastAPI] = []


@dataclass(frozen=True)
class Api:
    """The API of a World, whose clock it shares."""

    world: World
    settings: Settings

    def client(self, role: Role = Role.ADMIN, workspace: WorkspaceId | None = None) -> TestClient:
        """A client with a new key of this role, by default in the World's own workspace."""
        client = TestClient(self.app(), raise_server_exceptions=False, base_url="http://testserver/v1")
        client.headers["Authorization"] = f"Bearer {self.key(role, workspace)}"
        return client

    def app(self) -> FastAPI:
        """The application with this World's context. Its routes are shared: making them takes a while."""
        equip(routes(), self.world.context, self.settings, self.world.clock, self.world.rng)
        return routes()

    def key(self, role: Role = Role.ADMIN, workspace: WorkspaceId | None = None) -> str:
        of = workspace or self.world.installed.workspace_id
        made = keys.create(self.world.db, of, NewKey(role=role), self.world.clock.now, self.world.rng)
        return str(made["key"])

    def workspace(self, name: str) -> WorkspaceId:
        return keys.ensure_workspace(self.world.db, name, self.world.clock.now, self.world.rng)

    @contextmanager
    def served(
        self, *, context: EngineContext | None = None, port: int = 0, changed: FastAPI | None = None, **settings: Any
    ) -> Iterator["Served"]:
        """Serve the API by a real server on a free port of loopback. `changed`: one with routes of the test."""
        with_these = self.settings.model_copy(update=settings)
        app = changed or (idle.pop() if idle else make_routes())
        equip(app, context or self.world.context, with_these, self.world.clock, self.world.rng)
        with socket.create_server(("127.0.0.1", port)) as listening:
            server = Server(server_config(app, with_these, stop_seconds=5), Event())
            thread = Thread(target=server.run, args=([listening],))
            thread.start()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
            headers = {"Authorization": f"Bearer {self.key()}"}
            with httpx2.Client(base_url=url, headers=headers, timeout=DEADLINE_SECONDS) as client:
                try:
                    yield Served(url, client, app)
                finally:
                    server.should_exit = True
                    thread.join(DEADLINE_SECONDS)
                    assert not thread.is_alive()
        if changed is None:
            idle.append(app)


@dataclass(frozen=True)
class Served:
    """An API that is served, and a client that holds an admin's key."""

    url: str
    client: httpx2.Client
    app: FastAPI

    def until_streams(self, count: int) -> None:
        """Wait until so many listen to events."""
        wait_until(lambda: self.app.state.batch_streams.open_streams >= count)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Log as a process does: what structlog does by itself shows every local of a traceback, and takes its time."""
    log.configure("console", "error")
    yield
    structlog.reset_defaults()


@pytest.fixture
def api(world: World) -> Api:
    return Api(
        world,
        Settings(database_url=world.database_url, redis_url=world.redis_url, metrics_token=SecretStr(METRICS_TOKEN)),
    )


@pytest.fixture
def client(api: Api) -> Iterator[TestClient]:
    with api.client() as client:
        yield client


@pytest.fixture
def draft(client: TestClient, world: World) -> Callable[..., dict[str, Any]]:
    """Create a draft through the API: `draft(name="x", contacts=3)`."""

    def create(*, contacts: int = 0, **fields: Any) -> dict[str, Any]:
        body = {"name": "test", "agent_id": str(world.installed.agent_id), "working_days": [1, 2, 3, 4, 5, 6, 7]}
        answer = client.post("/batch-calls", json=body | fields)
        assert answer.status_code == 201, answer.text
        batch: dict[str, Any] = answer.json()["data"]
        if contacts:
            file = "phone\n" + "\n".join(f"+1202555{line:04}" for line in range(100, 100 + contacts))
            report = client.post(
                f"/batch-calls/{batch['id']}/contacts", content=file, headers={"Content-Type": "text/csv"}
            )
            assert report.json()["data"]["imported"] == contacts, report.text
        return batch

    return create


@pytest.fixture
def ids(client: TestClient, draft: Draft, world: World) -> dict[str, str]:
    """One of everything there is, by the names of path parameters, and by those in every_operation.BODIES."""
    folder = client.post("/contact-folders", json={"name": "f"}).json()["data"]["id"]
    client.post(f"/contact-folders/{folder}/contacts", json={"contacts": [{"phone_number": "+12025550101"}]})
    batch = draft(contacts=1)["id"]
    with world.db.begin() as connection:
        quarantine.note(connection, "batch", batch, ValueError())
    return {
        "batch_id": batch,
        "contact_id": client.get(f"/batch-calls/{batch}/contacts").json()["data"][0]["id"],
        # Calls of other workspaces: tests/api/test_call_reports.py.
        "attempt_id": NOBODY,
        "folder_id": folder,
        "entry_id": str(world.value("SELECT id FROM quarantine")),
        "key_id": client.post("/keys", json={"role": "viewer"}).json()["data"]["id"],
        "AGENT": str(world.installed.agent_id),
        "TRUNK": str(world.installed.trunk_id),
        "NUMBER": str(world.installed.number_ids[0]),
        "FOLDER": folder,
        "ENDPOINT": client.post("/webhook-endpoints", json={"url": "https://example.com"}).json()["data"]["id"],
        "SUPPRESSION": client.post("/suppressions", json={"phone_number": "+12025550198"}).json()["data"]["id"],
    }
