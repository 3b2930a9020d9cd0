"""Agents whose answered calls go nowhere: people are not called for them on and on."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from dialer.domain.breaker import AGENT_PAUSE_SECONDS, DROPS_IN_A_ROW, drops_at_the_end
from dialer.domain.call import CallEvent, CallFacts, EventKind, HungUpBy
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.settle import settle
from dialer.providers.base import CallRequest, Placement, Refused
from dialer.providers.simulator import InProcessSimulator
from dialer.store import agent_health, trunk_listeners
from support.engine_steps import advance_clock, dispatch_and_place, next_dispatch, run_concurrently
from support.world import MONDAY, World

MakeWorld = Callable[..., World]

AT_ONCE = {"mean": 0.01, "min": 0.01, "max": 0.01}
A_SECOND = {"mean": 1, "min": 1, "max": 1}
ANSWERED = {"outcomes": {"answered": 1}, "setup_seconds": A_SECOND, "ring_seconds": A_SECOND}
CONFIG = """{"url": "http://127.0.0.1:1", "username": "u", "password": "env:TRUNK_X", "endpoint": "PJSIP/{number}@p",
             "context": "agents"}"""


def on_a_switch(world: World, connection: str = '{"asterisk": {"extension": "s"}}') -> World:
    """Make the trunk one to an Asterisk, as far as the ledger knows, whose network a listener hears."""
    world.sql("UPDATE trunks SET provider = 'asterisk', config = CAST(:config AS jsonb)", config=CONFIG)
    world.sql("UPDATE agents SET connection = CAST(:connection AS jsonb)", connection=connection)
    heard(world)
    return world


def heard(world: World) -> None:
    with world.db.begin() as connection:
        trunk_listeners.up(connection, world.installed.trunk_id, world.installed.trunk_id)


def call_all(world: World, batch_id: BatchId, seconds: float = 60) -> None:
    """Let this much time pass, second by second."""
    for _ in range(int(seconds)):
        heard(world)
        advance_clock(world, 1)
        world.step()


def held(world: World) -> list[Any]:
    return world.rows("SELECT drops, reason, probe_at FROM agent_health WHERE held_at IS NOT NULL")


def trouble(world: World) -> str:
    """What an operator is told of agents."""
    with world.db.begin() as connection:
        (sentence,) = agent_health.sentences(connection)
    return sentence


@pytest.mark.parametrize(
    ("talks", "drops"), [([], 0), ([0.01], 1), ([30, 0.49, 0], 2), ([0, 0, 0.5], 0), ([0, 30, 0], 1)]
)
def test_drops_count_since_the_last_conversation(talks: list[float], drops: int) -> None:
    assert drops_at_the_end(talks) == drops


def test_an_agent_whose_answered_calls_are_dropped_at_once_is_held_until_an_operator_changes_it(
    make_world: MakeWorld,
) -> None:
    world = on_a_switch(make_world(**ANSWERED, talk_seconds=AT_ONCE))
    batch_id = world.batch(100, max_concurrent_calls=2)
    call_all(world, batch_id)
    assert [(row.reason, row.probe_at) for row in held(world)] == [("answered_calls_dropped", None)]
    dropped = world.value("SELECT count(*) FROM attempts WHERE outcome = 'answered'")
    assert DROPS_IN_A_ROW <= dropped <= DROPS_IN_A_ROW + 2
    assert next_dispatch(world, batch_id)[1] == "agent_failing"
    assert "dialer agents update" in trouble(world)
    world.sql("UPDATE agents SET status = 'active'")
    assert held(world) == []
    heard(world)
    assert dispatch_and_place(world, batch_id).placed == 2


def test_calls_that_are_dropped_between_conversations_hold_nobody(make_world: MakeWorld) -> None:
    world = on_a_switch(make_world(**ANSWERED, talk_seconds={"mean": 1, "min": 0.01, "max": 30}))
    batch_id = world.batch(40, max_concurrent_calls=1)
    call_all(world, batch_id, 200)
    talks = [row.talk_seconds for row in world.rows("SELECT talk_seconds FROM attempts ORDER BY ended_at, id")]
    assert sum(seconds < 0.5 for seconds in talks) > DROPS_IN_A_ROW
    assert len(talks) == 40
    assert held(world) == []


@pytest.mark.parametrize(("by", "is_held"), [(HungUpBy.CALLER, True), (None, True), (HungUpBy.CALLEE, False)])
def test_people_who_hang_up_at_once_are_no_drops(make_world: MakeWorld, by: HungUpBy | None, is_held: bool) -> None:
    world = on_a_switch(make_world(**ANSWERED, talk_seconds={"mean": 90, "min": 90, "max": 90}))
    dispatch_and_place(world, world.batch(10, max_concurrent_calls=10))
    at, facts = MONDAY.add(seconds=5), CallFacts(hung_up_by=by)
    ends = [
        CallEvent(f"{of}:ended", of, EventKind.ENDED, at, Outcome.ANSWERED, "x", talk_seconds=0.1, facts=facts)
        for of in (call.attempt_id for call in world.network.log)
    ]
    advance_clock(world, 5)
    receive(world.db, world.installed.trunk_id, ends)
    assert settle(world.context, world.clock.now).ended == 10
    assert bool(held(world)) == is_held


def test_where_no_switch_takes_the_calls_short_ones_hold_nobody(make_world: MakeWorld) -> None:
    world = make_world(**ANSWERED, talk_seconds=AT_ONCE)
    batch_id = world.batch(30, max_concurrent_calls=10)
    call_all(world, batch_id, 30)
    assert world.progress(batch_id).completed == 30
    assert world.value("SELECT count(*) FROM agent_health") == 0


class WithoutApp(InProcessSimulator):
    """A network on which the agent's application is not connected, until it `has_app`."""

    has_app = False

    async def place(self, request: CallRequest) -> Placement:
        if not self.has_app:
            return Refused("stasis_app_not_connected", CauseClass.AGENT)
        return await super().place(request)


def test_a_missing_destination_holds_the_agent_and_not_the_trunk_and_is_asked_for_again(make_world: MakeWorld) -> None:
    world = on_a_switch(make_world(**ANSWERED, talk_seconds=A_SECOND))
    network = WithoutApp(world.network, world.clock)
    world.providers._connect = lambda _: network
    batch_id = world.batch(40, max_concurrent_calls=20)
    report = dispatch_and_place(world, batch_id)
    assert (report.refused, report.placed) == (20, 0)
    assert world.value("SELECT count(*) FROM trunk_health") == 0
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.add(seconds=AGENT_PAUSE_SECONDS), "agent_failing")
    advance_clock(world, AGENT_PAUSE_SECONDS)
    heard(world)
    assert dispatch_and_place(world, batch_id).refused == 1
    network.has_app = True
    advance_clock(world, AGENT_PAUSE_SECONDS)
    heard(world)
    assert dispatch_and_place(world, batch_id).placed == 1
    assert held(world) == []
    assert dispatch_and_place(world, batch_id).placed > 1
    assert world.value("SELECT max(attempts) FROM contacts WHERE status <> 'dialing'") == 0


@pytest.mark.parametrize(
    "connection", ['{"asterisk": {"context": "default", "exten": "s", "priority": 1}}', '{"asterisk": null}', "{}"]
)
def test_a_batch_whose_agent_the_trunk_does_not_permit_is_held(make_world: MakeWorld, connection: str) -> None:
    world = make_world()
    batch_id = world.batch(3)
    on_a_switch(world, connection)
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.add(seconds=60), "agent_not_permitted")
    assert "does not permit its connection" in trouble(world)
    destination = '{"destinations": [{"context": "default", "exten": "s"}]}'
    world.sql("UPDATE trunks SET config = config || CAST(:more AS jsonb)", more=destination)
    is_named = "default" in connection
    assert (dispatch_and_place(world, batch_id).placed > 0) == is_named


def hold(world: World) -> None:
    """Hold the agent on its trunk until a call probes it, which is due."""
    world.sql("DELETE FROM agent_health")
    world.sql(
        "INSERT INTO agent_health (agent_id, trunk_id, held_at, reason, probe_at) "
        "SELECT a.id, t.id, dialer_now(), 'test', dialer_now() FROM agents a, trunks t"
    )


@pytest.mark.parametrize("options", [{}, {"sticky_caller_id": True}, {"phone_rotation_strategy": "round_robin"}])
def test_one_call_probes_an_agent_for_all_its_batches_contacts_and_numbers(
    world: World, options: dict[str, Any]
) -> None:
    batch_ids = [world.batch(6, max_concurrent_calls=6, **options) for _ in range(3)]
    number = "lane = '|' || (SELECT id FROM phone_numbers ORDER BY id OFFSET position % 3 LIMIT 1)"
    if "sticky_caller_id" in options:
        world.sql(f"UPDATE contacts SET {number}")
    hold(world)
    reports = [dispatch(world.context, part, world.clock.now, world.rng) for part in (batch_ids, batch_ids[1:])]
    assert [report.claimed for report in reports] == [1, 0]
    assert [row.probe_at for row in held(world)] == [world.clock.now.add(seconds=AGENT_PAUSE_SECONDS)]
    assert {next_dispatch(world, batch_id)[1] for batch_id in batch_ids[1:]} == {"agent_failing"}


def test_workers_that_dispatch_at_the_same_moment_send_one_probe(world: World) -> None:
    batch_ids = [world.batch(6) for _ in range(4)]
    hold(world)
    work = [
        partial(dispatch, world.context, [batch_id], world.clock.now, Random(n)) for n, batch_id in enumerate(batch_ids)
    ]
    assert sum(report.claimed for report in run_concurrently(*work)) == 1


def test_a_probe_that_finds_no_contact_is_left_to_the_next_batch(world: World) -> None:
    empty, other = world.batch(1), world.batch(2)
    world.sql("UPDATE contacts SET expires_at = dialer_now() WHERE batch_id = :id", id=empty)
    hold(world)
    assert dispatch(world.context, [empty], world.clock.now, world.rng).claimed == 0
    assert dispatch(world.context, [other], world.clock.now, world.rng).claimed == 1
