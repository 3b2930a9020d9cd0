"""`dialer batch explain` and `dialer batch preview`: what they print, within 80 columns."""

import json

import pytest

from api.conftest import Served
from cli.conftest import Dialer
from support.world import World, made_up_phones


@pytest.fixture
def evening(world: World) -> None:
    """A batch that is called from 18:00, of which one contact is suppressed."""
    phones = made_up_phones(3)
    world.batch(phones, name="Evening", start_time="18:00", timezone="Europe/Berlin")
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)",
        workspace=world.installed.workspace_id,
        phone=phones[2],
    )


def test_a_batch_is_explained_with_its_reasons(evening: None, served: Served, dialer: Dialer) -> None:
    result = dialer("batch", "explain", "Evening")
    assert result.code == 0
    assert result.out.splitlines() == [
        "0 of 3 contacts can be called now: 2 outside the hours of the batch (first opens",
        "18:00 Europe/Berlin), 1 suppressed",
        "Next call: 2026-03-02 17:00:00 UTC (exact)",
        "",
        "reason               contacts  first call",
        "outside_batch_hours  2         2026-03-02 17:00:00 UTC",
        "suppressed           1",
        "",
        "Engine: No worker has run a step lately",
    ]
    assert json.loads(dialer("batch", "explain", "Evening", "--json").out)["total"] == 3


def test_a_contact_is_explained_by_its_number_or_its_id(
    evening: None, served: Served, dialer: Dialer, world: World
) -> None:
    (row,) = world.rows("SELECT id, phone_number FROM contacts ORDER BY position LIMIT 1")
    by_number = dialer("batch", "explain", "Evening", "--contact", row.phone_number)
    assert by_number.out == dialer("batch", "explain", "Evening", "--contact", str(row.id)).out
    lines = by_number.out.splitlines()
    assert lines[0] == "Blocked: The calling window of the batch is closed: opens 18:00 Europe/Berlin"
    assert lines[4] == "outside_batch_hours  ineligible  wait    2026-03-02 17:00:00 UTC"
    assert max(map(len, lines)) <= 80
    assert dialer("batch", "explain", "Evening", "--contact", "+12025550199").refusal.endswith(
        "contact: the batch has no contact with the id or number +12025550199"
    )


def test_a_preview_says_who_will_be_called_and_whether_the_batch_can_start(
    served: Served, dialer: Dialer, world: World
) -> None:
    world.batch(4, name="Draft", start=False)
    ready = dialer("batch", "preview", "Draft")
    assert (ready.code, ready.out.splitlines()[-1]) == (0, "Ready to be scheduled")
    assert "will be called      4       2026-03-02 08:00:00 UTC" in ready.out
    world.sql("UPDATE agents SET status = 'inactive'")
    refused = dialer("batch", "preview", "Draft")
    assert (refused.code, refused.err) == (1, "")
    assert refused.out.splitlines()[-1] == "Not ready, agent_not_ready: The agent is not ready: status is inactive"
    assert json.loads(dialer("batch", "preview", "Draft", "--json").out)["ready"] is False
