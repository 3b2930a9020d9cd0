"""What operators are refused every day leaves no error in the log of Postgres."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Draft
from dialer.store.database import run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import lock_waiters
from support.world import World


@pytest.fixture
def errors(tmp_path_factory: pytest.TempPathFactory, world: World) -> Any:
    """Return what reads the errors that Postgres has logged since the test began."""
    logs = list(tmp_path_factory.getbasetemp().glob("servers0/log/postgres.log"))
    if not logs:
        pytest.skip("the log of this Postgres is not here")
    (log,) = logs
    before = len(log.read_text())

    def read() -> list[str]:
        return [line for line in log.read_text()[before:].splitlines() if "ERROR" in line]

    with pytest.raises(Exception, match="DivisionByZero"):
        world.sql("SELECT 1 / 0")
    assert read()
    before = len(log.read_text())
    return read


def test_refusals_of_every_day_leave_no_error_in_the_log_of_postgres(
    client: TestClient, draft: Draft, world: World, errors: Any
) -> None:
    installed = world.installed
    agents, trunks = [
        [client.post(path, json={"name": name} | more).json()["data"]["id"] for name in ("first", "second")]
        for path, more in (
            ("/agents", {"connection": {"simulator": {}}}),
            ("/trunks", {"provider": "simulator", "config": {"url": "tcp://127.0.0.1:9"}}),
        )
    ]
    batch = draft(contacts=2)["id"]
    over = draft(contacts=1)["id"]
    assert client.post(f"/batch-calls/{over}/cancel").status_code == 200
    number = client.get("/phone-numbers").json()["data"][0]
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/agents", {"name": "first", "connection": {}}),
        ("POST", "/trunks", {"name": "first", "provider": "simulator", "config": {"url": "tcp://127.0.0.1:9"}}),
        ("POST", "/phone-numbers", {"phone_number": number["phone_number"], "trunk_id": trunks[0]}),
        ("PATCH", f"/agents/{agents[1]}", {"name": "first"}),
        ("PATCH", f"/trunks/{trunks[1]}", {"name": "first"}),
        ("DELETE", f"/agents/{installed.agent_id}", None),
        ("DELETE", f"/trunks/{installed.trunk_id}", None),
        ("PATCH", f"/batch-calls/{batch}", {"respect_contact_timezone": True}),
        ("POST", f"/batch-calls/{over}/contacts", {"contacts": [{"phone_number": "+12025550101"}]}),
        ("POST", f"/batch-calls/{over}/pause", None),
        ("POST", f"/batch-calls/{over}/schedule", None),
    ]
    for method, path, body in asked:
        answer = client.request(method, path, json=body)
        assert answer.status_code == 422, (method, path, answer.text)
    assert client.patch(f"/agents/{agents[1]}", json={"name": "second"}).status_code == 200
    for path in (f"/agents/{agents[0]}", f"/trunks/{trunks[0]}"):
        assert client.delete(path).status_code == 204
        assert client.delete(path).status_code == 404
    assert errors() == []


def test_contacts_for_a_batch_that_is_being_deleted_leave_no_error_in_the_log_of_postgres(
    client: TestClient, draft: Draft, world: World, errors: Any
) -> None:
    batch_id = draft(contacts=1)["id"]
    body = {"contacts": [{"phone_number": "+12025550101"}]}
    with ThreadPoolExecutor(1) as pool:
        with world.db.begin() as other:
            run(other, "DELETE FROM contacts WHERE batch_id = :id", id=batch_id)
            run(other, "DELETE FROM batches WHERE id = :id", id=batch_id)
            answer = pool.submit(client.post, f"/batch-calls/{batch_id}/contacts", json=body)
            wait_until(lambda: lock_waiters(world) == 1)
        assert answer.result(DEADLINE_SECONDS).status_code == 404
    assert errors() == []
