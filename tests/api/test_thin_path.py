"""From a key to a finished batch, over HTTP alone."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from support.world import World


def test_a_batch_is_created_loaded_scheduled_and_called_to_its_end(
    client: TestClient, draft: Callable[..., dict[str, Any]], world: World
) -> None:
    batch = draft(contacts=3)
    assert (batch["status"], batch["counts"]["total"]) == ("draft", 0)

    scheduled = client.post(f"/batch-calls/{batch['id']}/schedule").json()["data"]
    assert (scheduled["status"], scheduled["counts"]["pending"]) == ("active", 3)

    world.run(lambda: client.get(f"/batch-calls/{batch['id']}").json()["data"]["status"] == "completed")
    counts = client.get(f"/batch-calls/{batch['id']}").json()["data"]["counts"]
    assert counts["completed"] + counts["failed"] == counts["total"] == 3
