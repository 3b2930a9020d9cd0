"""Networks that keep no record: a call that they do not have now never was, or is over. Who heard them knows which."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.timeouts import GONE_SECONDS, HEARD_SECONDS
from dialer.domain.trunk import Trunk
from dialer.engine.context import EngineContext
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.rescue import RescueReport, rescue
from dialer.engine.settle import settle
from dialer.providers import registry
from dialer.providers.base import CallHandle, CallRequest, LookupResult, NotFoundNow, Placement, Unclear
from dialer.providers.pool import ProviderPool
from dialer.service import trunks
from dialer.store import attempts, trunk_listeners
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    call_event,
    dispatch_and_place,
    held_leases,
    live_attempts,
)
from support.world import World

NOT_HEARD = "are not heard: is a listener running?"
EAR = UUID("018f0000-0000-7000-8000-00000000000a")
OTHER_EAR = UUID("018f0000-0000-7000-8000-00000000000b")


class Forgetful(ProviderPool):
    """Networks that do not say whether they have taken a call, and later have none."""

    def __init__(self, world: World, answers: Callable[[CallRequest], Placement] | None = None) -> None:
        self._carriers, self._answers = world.providers, answers

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        if self._answers is None:
            return self._carriers.place_all(calls)
        return {request.attempt_id: self._answers(request) for _, request in calls}

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        return {call.attempt_id: NotFoundNow() for _, call in calls}

    def hang_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> None:
        """There is nothing to end."""


class Restarted(Forgetful):
    """Networks that were started a moment ago."""

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        return {call.attempt_id: NotFoundNow(has_restarted=True) for _, call in calls}


@pytest.fixture
def unclear(world: World) -> EngineContext:
    """EngineContext of a process whose network does not answer."""
    return replace(world.context, providers=Forgetful(world, lambda _: Unclear("no answer")))


def heard(world: World) -> None:
    """A listener has heard the network up to now."""
    with world.db.begin() as connection:
        trunk_listeners.up(connection, world.installed.trunk_id, EAR)


def deaf(world: World) -> None:
    with world.db.begin() as connection:
        trunk_listeners.down(connection, world.installed.trunk_id, EAR, "the connection was lost")


def rescued(world: World, context: EngineContext) -> RescueReport:
    return rescue(context, world.clock.now, world.rng)


def called(world: World, context: EngineContext) -> BatchId:
    batch_id = world.batch(1)
    assert dispatch_and_place(world, batch_id, context=context).claimed == 1
    return batch_id


def outcome(world: World) -> tuple[str, str | None, str | None]:
    (row,) = world.rows("SELECT state, outcome, cause FROM attempts")
    return row.state, row.outcome, row.cause


def test_a_call_that_was_never_heard_of_by_who_heard_all_was_never_placed_and_is_made_again(
    world: World, unclear: EngineContext
) -> None:
    heard(world)
    batch_id = called(world, unclear)
    for _ in range(2):
        advance_clock(world, 35)
        heard(world)
        assert rescued(world, unclear).asked == 1
    assert outcome(world) == ("refused", None, "never_placed")
    assert world.progress(batch_id).waiting == 1
    assert held_leases(world) == {}
    world.run(lambda: world.is_over(batch_id))
    assert_audit_is_clean(world)


def test_the_first_word_that_a_call_is_gone_decides_nothing_for_its_reports_may_be_on_their_way(
    world: World, unclear: EngineContext
) -> None:
    heard(world)
    called(world, unclear)
    advance_clock(world, 35)
    heard(world)
    assert rescued(world, unclear).closed == 0
    (attempt_id,) = live_attempts(world)
    receive(world.db, world.installed.trunk_id, [call_event(attempt_id, "ended", world.clock.now, "busy")])
    advance_clock(world, 35)
    heard(world)
    assert rescued(world, unclear).closed == 0, "its report waits to be settled"
    settle(world.context, world.clock.now)
    assert outcome(world)[:2] == ("ended", "busy")


@pytest.mark.parametrize("missed", ["before it was made", "in between", "since"])
def test_a_call_whose_reports_may_have_been_missed_is_not_made_again(
    world: World, unclear: EngineContext, missed: str
) -> None:
    if missed != "before it was made":
        heard(world)
    batch_id = called(world, unclear)
    advance_clock(world, 5)
    if missed == "in between":
        deaf(world)
    if missed != "since":
        heard(world)
    advance_clock(world, 30)
    if missed != "since":
        heard(world)
    rescued(world, unclear)
    advance_clock(world, 35)
    if missed != "since":
        heard(world)
    rescued(world, unclear)
    assert outcome(world) == ("ended", "unknown", "gone_from_network")
    assert world.progress(batch_id).failed == 1
    assert held_leases(world) == {}


@pytest.mark.parametrize(
    ("reported", "became"), [([], "unknown"), (["ringing"], "unknown"), (["answered"], "answered")]
)
def test_a_call_that_was_seen_and_is_gone_without_a_word_ends_as_what_was_seen(
    world: World, reported: list[str], became: str
) -> None:
    context = replace(world.context, providers=Forgetful(world))
    heard(world)
    called(world, context)
    (attempt_id,) = live_attempts(world)
    receive(world.db, world.installed.trunk_id, [call_event(attempt_id, kind, world.clock.now) for kind in reported])
    settle(world.context, world.clock.now)
    for _ in range(2):
        advance_clock(world, 700)
        rescued(world, context)
    assert outcome(world) == ("ended", became, "gone_from_network")


def test_a_trunk_that_is_heard_again_has_its_calls_asked_about_at_once(world: World) -> None:
    called(world, world.context)
    (before,) = world.rows("SELECT rescue_at FROM attempts")
    assert before.rescue_at > world.clock.now
    advance_clock(world, 1)
    with world.db.begin() as connection:
        assert trunk_listeners.up(connection, world.installed.trunk_id, EAR)
        assert attempts.rescue_trunk_now(connection, world.installed.trunk_id) == 1
        assert not trunk_listeners.up(connection, world.installed.trunk_id, EAR)
    assert rescued(world, world.context).asked == 1


def test_a_call_that_is_gone_when_its_trunk_is_heard_again_is_over_seconds_later(world: World) -> None:
    context = replace(world.context, providers=Forgetful(world))
    called(world, context)
    with world.db.begin() as connection:
        trunk_listeners.up(connection, world.installed.trunk_id, EAR)
        attempts.rescue_trunk_now(connection, world.installed.trunk_id)
    assert rescued(world, context).closed == 0
    advance_clock(world, GONE_SECONDS - 1)
    assert rescued(world, context).asked == 0
    advance_clock(world, 1)
    assert rescued(world, context).closed == 1
    assert outcome(world) == ("ended", "unknown", "gone_from_network")
    assert held_leases(world) == {}


@pytest.mark.parametrize("state", ["reserved", "unclear"])
def test_a_call_that_is_being_placed_is_not_asked_about_when_its_trunk_is_heard_again(world: World, state: str) -> None:
    """Its network may not have it yet (P1)."""
    dispatch(world.context, [world.batch(1)], world.clock.now, world.rng)
    world.sql("UPDATE attempts SET state = :state", state=state)
    with world.db.begin() as connection:
        assert attempts.rescue_trunk_now(connection, world.installed.trunk_id) == 0


def test_a_break_that_could_not_be_noted_counts_from_the_next_connection(world: World, unclear: EngineContext) -> None:
    heard(world)
    called(world, unclear)
    for _ in range(2):
        advance_clock(world, 35)
        with world.db.begin() as connection:
            assert trunk_listeners.up(connection, world.installed.trunk_id, EAR, is_anew=True)
        rescued(world, unclear)
    assert outcome(world) == ("ended", "unknown", "gone_from_network")


def test_where_only_reports_tell_how_a_call_ended_nobody_is_called_while_nobody_listens(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = registry.plugin("simulator")
    monkeypatch.setattr(registry, "plugin", lambda _: replace(simulator, needs_listener=True))
    trunk = (world.installed.workspace_id, world.installed.trunk_id)
    batch_id = world.batch(1)
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert [row.held_by for row in world.rows("SELECT held_by FROM batch_progress")] == ["trunk_unheard"]
    with world.db.begin() as connection:
        assert trunk_listeners.sentences(connection) == [f"The reports of trunk simulator {NOT_HEARD}"]
    assert trunks.health(world.context, *trunk) == f"its reports {NOT_HEARD}"
    heard(world)
    assert trunks.health(world.context, *trunk) is None
    # One that has gone without a word counts for as long as three of its words are overdue.
    advance_clock(world, HEARD_SECONDS + 1)
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert trunks.health(world.context, *trunk) == f"its reports {NOT_HEARD}"
    heard(world)
    assert dispatch_and_place(world, batch_id).claimed == 1


def test_the_doctor_and_the_trunk_s_check_say_which_trunk_nobody_hears_and_why(world: World) -> None:
    trunk = (world.installed.workspace_id, world.installed.trunk_id)
    heard(world)
    with world.db.begin() as connection:
        assert trunk_listeners.sentences(connection) == []
    assert trunks.health(world.context, *trunk) is None
    deaf(world)
    with world.db.begin() as connection:
        # Another listener that was killed hears nothing, though it could not say so.
        trunk_listeners.up(connection, world.installed.trunk_id, OTHER_EAR)
    assert trunks.health(world.context, *trunk) is None
    advance_clock(world, HEARD_SECONDS + 1)
    assert trunks.health(world.context, *trunk) == "its reports are not heard: the connection was lost"
    with world.db.begin() as connection:
        (sentence,) = trunk_listeners.sentences(connection)
    assert sentence == "The reports of trunk simulator are not heard: the connection was lost"
    with world.db.begin() as connection:
        trunk_listeners.forget(connection, EAR)
        trunk_listeners.forget(connection, OTHER_EAR)
        assert trunk_listeners.sentences(connection) == []


def test_a_call_that_was_placed_before_its_network_restarted_is_over_at_once(world: World) -> None:
    context = replace(world.context, providers=Restarted(world))
    heard(world)
    batch_id = world.batch(1, max_retry_attempts=0)
    dispatch_and_place(world, batch_id)
    world.sql("UPDATE attempts SET state = 'answered', answered_at = dialer_now(), rescue_at = dialer_now()")
    advance_clock(world, 1)
    assert rescued(world, context).closed == 1
    assert outcome(world) == ("ended", "answered", "gone_from_network")
    assert held_leases(world) == {}


def test_a_call_that_may_be_on_its_way_to_a_network_that_has_restarted_is_waited_for(world: World) -> None:
    context = replace(world.context, providers=Restarted(world, lambda _: Unclear("no answer")))
    heard(world)
    called(world, context)
    world.sql("UPDATE attempts SET rescue_at = dialer_now()")
    advance_clock(world, 1)
    assert rescued(world, context).closed == 0
