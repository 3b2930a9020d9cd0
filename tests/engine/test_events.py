"""Events: a report is in the inbox once, whoever hands it in, and nothing is decided about it."""

from functools import partial
from random import Random

import pytest
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId, TrunkId, uuid7
from dialer.engine.events import receive
from support.engine_steps import call_event, dispatch_and_place, live_attempts, run_concurrently
from support.world import MONDAY, World


def names(world: World, count: int) -> list[AttemptId]:
    return [AttemptId(uuid7(MONDAY, world.rng)) for _ in range(count)]


def received(world: World, events: list[CallEvent], trunk_id: TrunkId | None = None) -> int:
    return receive(world.db, trunk_id or world.installed.trunk_id, events)


def stored(world: World) -> list[tuple[AttemptId, str]]:
    return [(row.attempt_id, row.kind) for row in world.rows("SELECT attempt_id, kind FROM inbox ORDER BY id")]


def test_a_report_that_comes_again_is_stored_once(world: World) -> None:
    (attempt_id,) = names(world, 1)
    ringing, answered = (call_event(attempt_id, kind, MONDAY) for kind in ("ringing", "answered"))
    assert received(world, [ringing, ringing]) == 1
    assert received(world, [answered, ringing]) == 1
    assert received(world, [answered]) == 0
    assert stored(world) == [(attempt_id, "ringing"), (attempt_id, "answered")]


def test_nothing_is_a_report_too_few_to_store(world: World) -> None:
    assert received(world, []) == 0


def test_two_networks_may_use_the_same_keys(world: World) -> None:
    other = TrunkId(uuid7(MONDAY, world.rng))
    world.sql(
        "INSERT INTO trunks (id, workspace_id, name, provider) VALUES (:id, :workspace, 'other', 'simulator')",
        id=other,
        workspace=world.installed.workspace_id,
    )
    first, second = (call_event(attempt_id, "ringing", MONDAY, key="1") for attempt_id in names(world, 2))
    assert received(world, [first]) == received(world, [second], other) == 1


def test_reports_handed_in_together_are_stored_in_the_course_of_their_call(world: World) -> None:
    (attempt_id,) = names(world, 1)
    ringing, answered = (call_event(attempt_id, kind, MONDAY) for kind in ("ringing", "answered"))
    ended = call_event(attempt_id, "ended", MONDAY, "answered")
    assert received(world, [ended, ringing, answered]) == 3
    assert stored(world) == [(attempt_id, "ringing"), (attempt_id, "answered"), (attempt_id, "ended")]


def test_the_same_reports_from_many_at_once_in_any_order_are_stored_once_and_nobody_waits_in_a_circle(
    world: World,
) -> None:
    for _ in range(15):
        events = [
            call_event(attempt_id, kind, MONDAY) for attempt_id in names(world, 30) for kind in ("ringing", "answered")
        ]
        orders = [Random(n).sample(events, len(events)) for n in range(4)]
        assert sum(run_concurrently(*(partial(received, world, order) for order in orders))) == len(events)


@pytest.mark.parametrize("talk_seconds", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_length_of_talk_that_cannot_be_is_passed_over_and_the_report_counts(
    world: World, talk_seconds: float
) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    received(
        world, [call_event(live_attempts(world)[0], "ended", world.clock.now, "answered", talk_seconds=talk_seconds)]
    )
    world.step()
    assert world.progress(batch_id).completed == 1
    assert world.value("SELECT talk_seconds FROM attempts") is None


def test_nothing_is_decided_when_a_report_comes_in(world: World) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    (attempt_id,) = live_attempts(world)
    at: DateTime = world.clock.now
    received(world, [call_event(attempt_id, "ended", at, "busy"), call_event(names(world, 1)[0], "ringing", at)])
    assert world.value("SELECT state FROM attempts") == "placed"
    assert world.value("SELECT count(*) FROM inbox WHERE settled_at IS NULL AND verdict IS NULL") == 2
