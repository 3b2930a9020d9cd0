"""`dialer quarantine`: what is kept there is listed with its error, and tried again when an operator says so."""

import json
from typing import Any

import pendulum
import pytest

from cli.conftest import Dialer
from dialer.engine.settle import settle
from dialer.store import quarantine
from support.engine_steps import call_event, dispatch_and_place, live_attempts, next_dispatch
from support.world import World

pytestmark = pytest.mark.usefixtures("in_cluster")


def kept(world: World, event: Any) -> None:
    """A report that could not even be stored, for longer than others failed."""
    for seconds in (0, 30, 30, 30, 30):
        world.clock.now = world.clock.now.add(seconds=seconds)
        with world.db.begin() as connection:
            quarantine.count_refused(connection, world.installed.trunk_id, event, UnicodeError("broken"))
    world.sql("UPDATE quarantine SET payload = :payload", payload=quarantine._payload(event))


def closed(world: World) -> int:
    """A report in the inbox that was put into quarantine; its id there."""
    world.sql(
        """
        INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, outcome, settled_at, verdict, tries,
                           failing_since, error_kind, error)
        SELECT trunk_id, 'k', id, 'ended', dialer_now(), 'busy', dialer_now(), 'quarantined', 6, dialer_now(), '22003',
               'out of range' FROM attempts ORDER BY id LIMIT 1
        """
    )
    (row,) = world.rows("SELECT id FROM inbox")
    with world.db.begin() as connection:
        quarantine.keep_settled(connection, [row.id])
    return int(row.id)


def test_an_empty_quarantine_is_an_empty_list(dialer: Dialer, world: World) -> None:
    assert json.loads(dialer("quarantine", "list", "--json").out) == []
    assert dialer("quarantine", "list").out.split() == [
        *("id", "kind", "subject", "call", "tries", "since", "type", "error")
    ]
    assert dialer("quarantine", "retry", "--all").out == "0 of 0 are retried.\n"


def test_what_is_in_quarantine_is_listed_and_reports_go_back_into_the_inbox(dialer: Dialer, world: World) -> None:
    dispatch_and_place(world, world.batch(2))
    quarantined, other = live_attempts(world)
    row_id = closed(world)
    kept(world, call_event(other, "ended", world.clock.now, "no_answer", key="n", cause="lost \u2028 and found"))
    first, second = json.loads(dialer("quarantine", "list", "--json").out)
    assert (first["kind"], first["subject"], first["attempt_id"]) == ("report", str(row_id), str(quarantined))
    assert (first["tries"], first["error_kind"], first["error"]) == (6, "22003", "out of range")
    assert (second["attempt_id"], second["report"]["outcome"], second["tries"]) == (str(other), "no_answer", 5)
    assert "out of range" in dialer("quarantine", "list").out
    assert dialer("quarantine", "retry", str(first["id"])).out == "1 of 1 are retried.\n"
    world.clock.now = pendulum.now("UTC").add(minutes=1)  # the command goes by the real time
    assert settle(world.context, world.clock.now).ended == 1
    result = dialer("quarantine", "retry", "--all", "--json")
    assert json.loads(result.out) == {"tried": [second["id"]], "failed": {}}
    assert settle(world.context, world.clock.now).ended == 1
    assert {row.outcome for row in world.rows("SELECT outcome FROM attempts")} == {"busy", "no_answer"}
    assert json.loads(dialer("quarantine", "list", "--json").out) == []


def test_a_batch_and_an_attempt_are_due_at_once_and_what_was_not_kept_stays(dialer: Dialer, world: World) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    (attempt_id,) = live_attempts(world)
    world.sql("UPDATE batch_progress SET next_dispatch_at = NULL")
    with world.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, ValueError("x"))
        quarantine.note(connection, "attempt", attempt_id, ValueError("y"), attempt_id)
        quarantine.note(connection, "report", "a trunk and a key", ValueError("z"))
    entries = json.loads(dialer("quarantine", "list", "--json").out)
    lost = next(entry["id"] for entry in entries if entry["kind"] == "report")
    result = dialer("quarantine", "retry", "--all")
    assert (result.code, result.out, result.err) == (
        1,
        "2 of 3 are retried.\n",
        f"{lost} stays: no report was kept with it\n",
    )
    assert next_dispatch(world, batch_id)[0] is not None
    assert world.value("SELECT rescue_at <= now() AND rescue_at > now() - interval '1 minute' FROM attempts")
    assert [entry["kind"] for entry in json.loads(dialer("quarantine", "list", "--json").out)] == ["report"]


def test_an_id_that_is_not_there_is_refused(dialer: Dialer, world: World) -> None:
    assert dialer("quarantine", "retry", "77").refusal == "dialer: Nothing in quarantine has the id 77"
