"""Rescue on a network whose records bear no id of ours: calls of other attempts are left out (P1, P5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId, uuid7
from dialer.domain.trunk import Trunk
from dialer.engine.audit import audit
from dialer.engine.rescue import RescueReport, rescue
from dialer.engine.retry import retry
from dialer.providers.base import (
    Absent,
    CallHandle,
    CallRequest,
    Candidates,
    LookupFailed,
    LookupResult,
    Placement,
    Seen,
)
from dialer.providers.pool import ProviderPool
from dialer.providers.simulator import CarrierCall
from support.engine_steps import (
    advance_clock,
    call_event,
    dispatch_and_place,
    end_call,
    live_attempts,
    receive_and_settle,
)
from support.world import World

PHONE = "+12125550001"
TALKS = {"outcomes": {"answered": 1}, "talk_seconds": {"mean": 900, "min": 900, "max": 900}}


class Died(BaseException):
    """A worker was killed here: nothing of it goes on."""


class ByNumbers(ProviderPool):
    """A network that lists its calls by their numbers and time. `meanwhile`: what happens while it is asked;
    `otherwise`: what it says where a call is not listed.
    """

    def __init__(
        self,
        world: World,
        meanwhile: Callable[[], object] = lambda: None,
        otherwise: Absent | LookupFailed | None = None,
    ) -> None:
        self._world, self._meanwhile, self._otherwise = world, meanwhile, otherwise or Absent()

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        results = {call.attempt_id: self._look_up(call) for _, call in calls}
        self._meanwhile()
        return results

    def hang_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> None:
        """Nobody is to be hung up here."""

    def _look_up(self, call: CallHandle) -> LookupResult:
        since, until = call.created_at.subtract(seconds=10), call.created_at.add(minutes=2)
        listed = [call_record for call_record in self._world.network.log if call_record.to_number == call.to_number]
        listed = [call_record for call_record in listed if since <= call_record.placed_at <= until]
        known = [call_record for call_record in listed if call_record.call_id == call.provider_call_id]
        if known:
            return self._seen(call, known[0])
        seen = tuple(self._seen(call, call_record) for call_record in listed)
        return Candidates(seen, self._otherwise) if seen else self._otherwise

    def _seen(self, call: CallHandle, listed: CarrierCall) -> Seen:
        happened = [kind for kind, _ in listed.steps() if listed.event(kind).at <= self._world.clock.now]
        return Seen(listed.call_id, tuple(self._event(call, listed.event(kind)) for kind in happened))

    def _event(self, call: CallHandle, event: CallEvent) -> CallEvent:
        return replace(event, attempt_id=call.attempt_id, key=f"{call.attempt_id}:{event.kind}")


class Dying(ProviderPool):
    """The provider pool of a worker that dies before its calls have left, or after."""

    def __init__(self, world: World, *, sent: bool) -> None:
        self._carriers, self._sent = world.providers, sent

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        if self._sent:
            self._carriers.place_all(calls)
        raise Died


@pytest.fixture
def alike(make_world: Callable[..., World]) -> World:
    """A world with one number to call from."""
    world = make_world(**TALKS)
    world.sql("UPDATE phone_numbers SET status = 'inactive' WHERE id <> :id", id=world.installed.number_ids[0])
    return world


def unsure(world: World, *, sent: bool) -> AttemptId:
    """Reserve an attempt whose worker dies before its call has left, or after; return it."""
    before = set(live_attempts(world))
    # As of a worker of the release before 0018, which lets a person be in two calls. So do two workspaces.
    world.sql("UPDATE attempts SET workspace_id = NULL")
    batch_id = world.batch([PHONE])
    with pytest.raises(Died):
        dispatch_and_place(world, batch_id, context=replace(world.context, providers=Dying(world, sent=sent)))
    (attempt_id,) = set(live_attempts(world)) - before
    return attempt_id


def rescued(world: World, meanwhile: Callable[[], object] = lambda: None, **more: LookupFailed) -> RescueReport:
    context = replace(world.context, providers=ByNumbers(world, meanwhile, **more))
    return rescue(context, world.clock.now, world.rng)


def call_by_another_program(world: World) -> None:
    """Place a call on the same account that is in no ledger."""
    now = world.clock.now
    somebody = AttemptId(uuid7(now, world.rng))
    world.network.place(CallRequest(somebody, PHONE, "+12025550100", {}, 30.0, now.add(seconds=15), None), now)


def state(world: World, attempt_id: AttemptId) -> tuple[str, str | None]:
    (row,) = world.rows("SELECT state, provider_call_id FROM attempts WHERE id = :id", id=attempt_id)
    return row.state, row.provider_call_id


def test_the_call_of_an_attempt_that_is_alone_between_its_numbers_is_its_own(alike: World) -> None:
    attempt_id = unsure(alike, sent=True)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 0
    assert state(alike, attempt_id) == ("answered", f"{attempt_id}.1")


def test_a_call_that_the_ledger_knows_as_another_attempts_is_not_taken_for_this_ones(alike: World) -> None:
    first = alike.batch([PHONE])
    dispatch_and_place(alike, first)
    (other,) = live_attempts(alike)
    attempt_id = unsure(alike, sent=False)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 1
    assert state(alike, attempt_id) == ("refused", None)
    assert state(alike, other) == ("placed", f"{other}.1")
    alike.run(lambda: alike.value("SELECT bool_and(finished_at IS NOT NULL) FROM contacts"), grain=5)
    assert len(alike.network.log) == 2
    assert audit(alike.db, alike.clock.now).is_clean


def test_where_it_may_not_be_listed_yet_the_call_of_another_proves_nothing(alike: World) -> None:
    dispatch_and_place(alike, alike.batch([PHONE]))
    attempt_id = unsure(alike, sent=False)
    advance_clock(alike, 30)
    assert rescued(alike, otherwise=LookupFailed("too early")).closed == 0
    assert state(alike, attempt_id)[0] == "reserved"


def test_the_call_of_an_attempt_of_the_same_contact_that_is_over_is_not_taken_for_its_retry(alike: World) -> None:
    batch_id = alike.batch([PHONE], retry_failed=True, max_retry_attempts=1, retry_delays={"busy": 0})
    dispatch_and_place(alike, batch_id)
    end_call(alike, live_attempts(alike)[0], "busy")
    assert retry(alike.context, alike.clock.now).requeued == 1
    with pytest.raises(Died):
        dispatch_and_place(alike, batch_id, context=replace(alike.context, providers=Dying(alike, sent=False)))
    (attempt_id,) = live_attempts(alike)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 1
    assert state(alike, attempt_id) == ("refused", None)


def test_while_another_attempt_does_not_know_its_call_either_nobody_takes_it(alike: World) -> None:
    other, attempt_id = unsure(alike, sent=True), unsure(alike, sent=False)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 0
    assert [state(alike, of) for of in (other, attempt_id)] == [("reserved", None)] * 2
    receive_and_settle(alike, call_event(other, "ringing", alike.clock.now, provider_call_id=f"{other}.1"))
    advance_clock(alike, 30)
    assert rescued(alike).closed == 1
    assert state(alike, other) == ("ringing", f"{other}.1")
    assert state(alike, attempt_id) == ("refused", None)


def test_an_attempt_whose_call_is_reported_while_the_network_is_asked_keeps_that_one(alike: World) -> None:
    call_by_another_program(alike)
    attempt_id = unsure(alike, sent=False)
    advance_clock(alike, 30)
    own = call_event(attempt_id, "ringing", alike.clock.now, provider_call_id="its own")
    assert rescued(alike, lambda: receive_and_settle(alike, own)).closed == 0
    assert state(alike, attempt_id) == ("ringing", "its own")
    assert alike.value("SELECT count(*) FROM inbox WHERE kind = 'answered'") == 0


def test_an_attempt_that_was_never_placed_makes_nothing_ambiguous(alike: World) -> None:
    refused = unsure(alike, sent=False)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 1
    attempt_id = unsure(alike, sent=True)
    advance_clock(alike, 30)
    rescued(alike)
    assert (state(alike, refused), state(alike, attempt_id)) == (("refused", None), ("answered", f"{attempt_id}.1"))


def test_several_calls_that_could_be_its_own_leave_it_open(alike: World) -> None:
    attempt_id = unsure(alike, sent=True)
    call_by_another_program(alike)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 0
    assert state(alike, attempt_id) == ("reserved", None)


def test_a_number_that_several_workspaces_call_from_is_one_number(alike: World) -> None:
    dispatch_and_place(alike, alike.batch([PHONE]))
    (other,) = live_attempts(alike)
    alike.sql("INSERT INTO workspaces (id, name) VALUES (gen_random_uuid(), 'another')")
    alike.sql(
        """
        INSERT INTO phone_numbers (id, workspace_id, phone_number, trunk_id)
        SELECT gen_random_uuid(), w.id, n.phone_number, n.trunk_id FROM phone_numbers n, workspaces w
        WHERE w.name = 'another' AND n.id = :id
        """,
        id=alike.installed.number_ids[0],
    )
    alike.sql(
        """
        UPDATE attempts SET phone_number_id = (
            SELECT n.id FROM phone_numbers n JOIN workspaces w ON w.id = n.workspace_id WHERE w.name = 'another')
        WHERE id = :id
        """,
        id=other,
    )
    attempt_id = unsure(alike, sent=False)
    advance_clock(alike, 30)
    assert rescued(alike).closed == 1
    assert state(alike, attempt_id) == ("refused", None)


def test_a_call_of_another_moment_does_not_make_it_ambiguous(alike: World) -> None:
    unsure(alike, sent=False)
    advance_clock(alike, 301)
    attempt_id = unsure(alike, sent=True)
    advance_clock(alike, 30)
    rescued(alike)
    assert state(alike, attempt_id) == ("answered", f"{attempt_id}.1")
