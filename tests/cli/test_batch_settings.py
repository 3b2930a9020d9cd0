"""`dialer batch set`, `undo`, `history`, and `dialer contacts set` and `remove`."""

import json

from api.conftest import Served
from cli.conftest import Dialer
from support.world import World


def test_settings_are_changed_taken_back_and_listed(served: Served, dialer: Dialer, world: World) -> None:
    batch_id = world.batch(2, name="Spring", max_concurrent_calls=7)
    planned = json.loads(dialer("batch", "set", "Spring", "max_concurrent_calls=2", "--dry-run", "--json").out)
    assert planned["changes"] == {"max_concurrent_calls": [7, 2]}
    assert world.value("SELECT max_concurrent_calls FROM batches") == 7
    token = planned["if_match"]
    arguments = ("batch", "set", "Spring", "max_concurrent_calls=2", "end_time=17:30", "--if-match", token)
    assert "max_concurrent_calls: 2\n" in dialer(*arguments, "--reason", "lines are busy").out
    assert "has changed since" in dialer(*arguments).refusal
    assert dialer("batch", "undo", "Spring").code == 0
    changes = json.loads(dialer("batch", "history", str(batch_id), "--json").out)
    assert [(change["source"], change["reason"]) for change in changes if change["version"]][:2] == [
        ("cli", "Back to version 1"),
        ("cli", "lines are busy"),
    ]
    assert "lines are busy" in dialer("batch", "history", "Spring").out


def test_a_pause_keeps_its_reason(served: Served, dialer: Dialer, world: World) -> None:
    world.batch(1, name="Spring")
    dialer("batch", "pause", "Spring", "--reason", "holiday")
    assert world.value("SELECT status_reason FROM batches") == "holiday"
    dialer("batch", "cancel", "Spring", "--reason", "wrong list")
    assert world.value("SELECT reason FROM batch_history ORDER BY id DESC LIMIT 1") == "wrong list"


def test_a_wrong_setting_is_refused_by_its_name(served: Served, dialer: Dialer, world: World) -> None:
    world.batch(1, name="Spring")
    refused = dialer("batch", "set", "Spring", "max_concurrent_calls=0")
    assert refused.refusal.startswith("dialer: max_concurrent_calls: ")
    assert dialer("batch", "undo", "Spring").refusal == "dialer: No setting of this batch has been changed"


def test_a_contact_is_changed_and_taken_out(served: Served, dialer: Dialer, world: World) -> None:
    world.batch(2, name="Spring")
    contact_id = str(world.value("SELECT id FROM contacts LIMIT 1"))
    assert "priority: 1\n" in dialer("contacts", "set", "Spring", contact_id, "priority=1").out
    assert "nix is neither an id nor a telephone number" in dialer("contacts", "remove", "Spring", "nix").refusal
    assert dialer("contacts", "remove", "Spring", contact_id).code == 0
    assert world.value("SELECT status_reason FROM contacts WHERE status = 'cancelled'") == "removed"
    assert (
        dialer("contacts", "remove", "Spring", contact_id).refusal == "dialer: The contact is cancelled, which is final"
    )
