"""`dialer batch update`, `delete`, `clone`, `retry-failed`, `pause --all`, and `dialer calls`."""

import json
import re

from api.conftest import Served
from cli.conftest import Dialer
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import World


def test_a_draft_is_changed_and_deleted_by_its_name(served: Served, dialer: Dialer, world: World) -> None:
    world.batch(1, name="Spring", start=False)
    assert "max_concurrent_calls: 3\n" in dialer("batch", "update", "Spring", "max_concurrent_calls=3").out
    assert dialer("batch", "delete", "Spring").out.endswith(" is deleted.\n")
    assert world.value("SELECT count(*) FROM batches") == 0
    world.batch(1, name="Summer")
    assert "Batch is active; only a draft can be changed" in dialer("batch", "update", "Summer", "name=x").refusal


def test_what_failed_is_called_again_by_a_draft_of_its_own(served: Served, dialer: Dialer, world: World) -> None:
    batch_id = world.batch(2, name="Spring", max_concurrent_calls=2)
    dispatch_and_place(world, batch_id)
    for attempt_id, outcome in zip(live_attempts(world), ("busy", "answered"), strict=True):
        end_call(world, attempt_id, outcome)
    assert dialer("batch", "clone", "Spring", "--name", "June").out.endswith("(June) has 0 contacts.\n")
    assert dialer("batch", "retry-failed", "Spring").out.endswith("(Spring (retry)) has 1 contact.\n")
    assert "no contact" in dialer("batch", "retry-failed", "Spring", "--outcome", "rejected").refusal.lower()
    busy = json.loads(dialer("calls", "list", "--outcome", "busy", "--json").out)
    (call,) = json.loads(
        dialer("calls", "list", "--batch", "Spring", "--status", "ended", "--limit", "1", "--json").out
    )
    assert (len(busy), call["status"]) == (1, "ended")
    life = dialer("calls", "show", busy[0]["id"][-8:]).out
    assert re.search(r"  reserved\n.*  placed\n.*  ended  \(reported .*, applied\)\n\n  outcome +busy\n", life), life


def test_everything_is_paused_by_one_command(served: Served, dialer: Dialer, world: World) -> None:
    for number in range(3):
        world.batch(1, name=f"batch {number}", start=number > 0)
    assert dialer("batch", "pause", "--all", "--reason", "fire drill").out == "Paused 2 batches.\n"
    assert world.value("SELECT count(*) FROM batches WHERE status_reason = 'fire drill'") == 2
    assert dialer("batch", "pause", "--all").out == "Paused 0 batches.\n"
    assert dialer("batch", "pause").code == dialer("batch", "pause", "x", "--all").code == 2


def test_a_change_without_effect_is_warned_about(served: Served, dialer: Dialer, world: World) -> None:
    world.batch(1, name="Spring", start=False)
    changed = dialer("batch", "update", "Spring", "max_retry_attempts=2", "--json")
    assert json.loads(changed.out)["max_retry_attempts"] == 2
    assert changed.err == "Warning: max_retry_attempts has no effect while retry_failed is false\n"
