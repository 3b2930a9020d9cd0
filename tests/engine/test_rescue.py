"""Rescue: what crashes and silence leave behind is repaired on the network's word, and nobody is rung twice."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pendulum
import pytest

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.slots import Lease
from dialer.domain.timeouts import CALL_SECONDS, GIVE_UP_SECONDS
from dialer.domain.trunk import Trunk
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.engine.dispatch import dispatch
from dialer.engine.events import receive
from dialer.engine.rescue import RescueReport, hang_up, rescue
from dialer.engine.retry import retry
from dialer.engine.settle import AttemptEnd, close, settle
from dialer.providers.base import Absent, CallHandle, CallRequest, LookupFailed, LookupResult, Placement, Seen
from dialer.providers.pool import ProviderPool
from dialer.store import lease_epoch, numbers
from dialer.store.database import rows
from dialer.store.leases import Leases
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    call_event,
    day_allowance,
    dispatch_and_place,
    end_call,
    held_leases,
    intercept_leases,
    live_attempts,
    lock_waiters,
    receive_and_settle,
    run_concurrently,
)
from support.world import MONDAY, World

MakeWorld = Callable[..., World]


class Died(BaseException):
    """A worker was killed here: nothing of it goes on."""


class Dying(ProviderPool):
    """The provider pool of a worker that dies just before, or just after its calls have left."""

    def __init__(self, world: World, sent: bool) -> None:
        self._carriers, self._sent = world.providers, sent

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        if self._sent:
            self._carriers.place_all(calls)
        raise Died


class Silent(ProviderPool):
    """ProviderPool whose networks say nothing about the calls they were given."""

    def __init__(self, world: World) -> None:
        self._carriers = world.providers

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        return {call.attempt_id: LookupFailed("no answer") for _, call in calls}

    def hang_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> None:
        """Nobody listens."""


class Unknowing(Silent):
    """ProviderPool whose networks say that they were never asked for any call."""

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        return {call.attempt_id: Absent() for _, call in calls}


def rescued(world: World, context: EngineContext | None = None) -> RescueReport:
    return rescue(context or world.context, world.clock.now, world.rng)


def died(world: World, batch_id: BatchId, *, sent: bool) -> None:
    """Dispatch with a worker that dies while it places the calls."""
    with pytest.raises(Died):
        dispatch_and_place(world, batch_id, context=replace(world.context, providers=Dying(world, sent)))


def slots(world: World) -> dict[str, Any]:
    return {key: value for key, value in held_leases(world).items() if ":slots:" in key}


def states(world: World) -> Counter[str]:
    return Counter(row.state for row in world.rows("SELECT state FROM attempts"))


def contacts(world: World) -> Counter[tuple[str, int]]:
    return Counter((row.status, row.attempts) for row in world.rows("SELECT status, attempts FROM contacts"))


def over(world: World) -> int:
    """How many calls are over, as the network knows."""
    return sum(call.ended_at <= world.clock.now for call in world.network.log)


def finished(world: World, batch_id: BatchId) -> None:
    """Let the world go on to the end of the batch, and judge it."""
    world.run(lambda: world.is_over(batch_id), grain=5)
    assert max(Counter(call.attempt_id for call in world.network.log).values()) == 1
    audited = audit(world.db, world.clock.now)
    assert audited.is_clean, audited.violations
    world.rescue()
    advance_clock(world, 700)
    world.rescue()
    assert held_leases(world) == {}


def test_calls_of_a_worker_that_died_before_sending_are_made_again_and_use_up_no_attempt(world: World) -> None:
    batch_id = world.batch(4)
    died(world, batch_id, sent=False)
    assert (states(world), len(world.network.log)) == ({"reserved": 4}, 0)
    advance_clock(world, 29.999)
    assert rescued(world).asked == 0
    advance_clock(world, 0.001)
    assert (rescued(world).closed, states(world), contacts(world)) == (4, {"refused": 4}, {("waiting", 0): 4})
    assert (held_leases(world), world.value("SELECT sum(attempts) FROM batch_days")) == ({}, 0)
    advance_clock(world, 15)
    assert retry(world.context, world.clock.now).requeued == 4
    assert dispatch_and_place(world, batch_id).placed == 4
    finished(world, batch_id)
    assert max(Counter(call.to_number for call in world.network.log).values()) == 1


def test_calls_of_a_worker_that_died_after_sending_go_on_and_are_never_placed_again(world: World) -> None:
    batch_id = world.batch(4)
    died(world, batch_id, sent=True)
    assert (states(world), len(world.network.log)) == ({"reserved": 4}, 4)
    advance_clock(world, 30)
    assert rescued(world).closed == over(world)
    assert (states(world)["ended"], states(world)["reserved"]) == (over(world), 0)
    finished(world, batch_id)
    assert max(Counter(call.to_number for call in world.network.log).values()) == 1
    assert len(world.network.log) == 4


def test_leases_of_a_worker_that_died_before_the_claim_are_freed_after_thirty_seconds(world: World) -> None:
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 4")
    world.rescue()
    batch_id = world.batch(4, max_concurrent_calls=4)

    def die() -> None:
        raise Died

    with pytest.raises(Died):
        dispatch_and_place(world, batch_id, context=intercept_leases(world, after=die))
    assert world.value("SELECT count(*) FROM attempts") == 0
    advance_clock(world, 29.999)
    assert rescued(world).orphans == 0
    assert dispatch_and_place(world, batch_id).claimed == 0
    advance_clock(world, 0.001)
    assert rescued(world).orphans == 4
    assert held_leases(world) == {}
    assert dispatch_and_place(world, batch_id).claimed == 4


@pytest.mark.parametrize("seconds", [10, 16, 29.999])
def test_a_request_that_may_still_arrive_is_not_given_back(make_world: MakeWorld, seconds: float) -> None:
    world = make_world(faults={"timeout_before": 1})
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    advance_clock(world, seconds)
    assert (rescued(world).asked, states(world)) == (1, {"unclear": 1})
    advance_clock(world, 30)
    assert (rescued(world).closed, states(world), contacts(world)) == (1, {"refused": 1}, {("waiting", 0): 1})


def test_an_unclear_call_that_exists_goes_on(make_world: MakeWorld) -> None:
    world = make_world(faults={"timeout_after": 1})
    batch_id = world.batch(5)
    assert dispatch_and_place(world, batch_id).unclear == 5
    advance_clock(world, 10)
    assert rescued(world).asked == 5
    assert (states(world)["ended"], states(world)["unclear"]) == (over(world), 0)
    finished(world, batch_id)
    assert len(world.network.log) == 5


def test_reports_that_were_lost_are_read_from_the_network(make_world: MakeWorld) -> None:
    world = make_world(faults={"lost": 1})
    batch_id = world.batch(5)
    finished(world, batch_id)
    called = {call.attempt_id: call.outcome for call in world.network.log}
    assert {row.id: row.outcome for row in world.rows("SELECT id, outcome FROM attempts")} == called


def test_a_call_without_any_word_holds_its_slot_until_it_can_no_longer_be_up(world: World) -> None:
    batch_id = world.batch(1, max_concurrent_calls=1, retry_failed=True, max_retry_attempts=3)
    dispatch_and_place(world, batch_id)
    context = replace(world.context, providers=Silent(world))
    for _ in range(CALL_SECONDS // 600):
        advance_clock(world, 600)
        assert rescued(world, context).closed == 0
        assert len(held_leases(world)["{dialer}:holds"]) == 1
    advance_clock(world, 30)
    assert rescued(world, context).freed == (batch_id,)
    (row,) = world.rows("SELECT state, outcome FROM attempts")
    assert tuple(row) == ("ended", "unknown")
    assert (contacts(world), held_leases(world)) == ({("failed", 1): 1}, {})


def test_a_call_that_lasts_too_long_is_hung_up_and_ends_by_its_report(make_world: MakeWorld) -> None:
    endless = {"mean": 900_000, "min": 900_000, "max": 900_000}
    world = make_world(outcomes={"answered": 1}, talk_seconds=endless)
    batch_id = world.batch(1)
    world.run(lambda: world.is_over(batch_id), grain=240)
    (call,) = world.network.log
    assert CALL_SECONDS <= (call.ended_at - call.placed_at).total_seconds() <= CALL_SECONDS + 300
    assert world.progress(batch_id).completed == 1


def test_calls_of_a_cancelled_batch_are_hung_up_only_if_that_was_asked_for(world: World) -> None:
    dispatch_and_place(world, world.batch(3))
    world.sql("UPDATE batches SET status = 'cancelled'")
    assert hang_up(world.context, world.rng) == 0
    world.sql("UPDATE batches SET status = 'cancelled', hang_up = true")
    assert hang_up(world.context, world.rng) == 3


@pytest.mark.parametrize("longest", [10, 100, 1000])
def test_a_call_is_hung_up_when_it_has_lasted_as_long_as_its_batch_lets_it(make_world: MakeWorld, longest: int) -> None:
    endless = {"mean": 900_000, "min": 900_000, "max": 900_000}
    world = make_world(outcomes={"answered": 1}, talk_seconds=endless)
    batch_id = world.batch(3, max_call_seconds=longest)
    world.run(lambda: world.is_over(batch_id), grain=1)
    for call in world.network.log:
        assert call.answered_at is not None
        assert longest <= (call.ended_at - call.answered_at).total_seconds() <= longest + 5
    assert world.progress(batch_id).completed == 3


def test_a_call_that_its_network_never_ends_is_given_up_after_five_hours(make_world: MakeWorld) -> None:
    class Deaf(Silent):
        """Networks that tell of every call, and end none."""

        def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
            return self._carriers.look_up_all(calls)

    endless = {"mean": 900_000, "min": 900_000, "max": 900_000}
    world = make_world(outcomes={"answered": 1}, talk_seconds=endless)
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    context = replace(world.context, providers=Deaf(world))
    while world.clock.now < MONDAY.add(seconds=GIVE_UP_SECONDS):
        advance_clock(world, 600)
        world.deliver()
        rescued(world, context)
        assert world.progress(batch_id).dialing == (world.clock.now <= MONDAY.add(seconds=GIVE_UP_SECONDS))
    advance_clock(world, 600)
    rescued(world, context)
    (row,) = world.rows("SELECT state, outcome, cause FROM attempts")
    assert tuple(row) == ("ended", "unknown", "still_up")
    assert (contacts(world), held_leases(world)) == ({("failed", 1): 1}, {})


def test_an_end_that_is_read_from_the_network_after_a_long_outage_is_believed(make_world: MakeWorld) -> None:
    world = make_world(outcomes={"answered": 1}, faults={"lost": 1})
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    advance_clock(world, 2 * GIVE_UP_SECONDS)
    report = rescued(world)
    assert (report.closed, report.freed, report.outcomes) == (1, (batch_id,), {"answered": 1})
    assert world.progress(batch_id).completed == 1


def test_asking_again_waits_half_a_minute_also_when_the_rescuer_dies(world: World) -> None:
    batch_id = world.batch(3)
    died(world, batch_id, sent=False)
    advance_clock(world, 30)

    class Lost(Silent):
        def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
            raise Died(len(calls))

    with pytest.raises(Died):
        rescued(world, replace(world.context, providers=Lost(world)))
    assert rescued(world).asked == 0
    advance_clock(world, 30)
    assert rescued(world).closed == 3


def test_several_rescuers_at_once_close_each_attempt_once(world: World) -> None:
    batch_id = world.batch(60, max_concurrent_calls=60)
    died(world, batch_id, sent=False)
    advance_clock(world, 30)
    reports = run_concurrently(*[partial(rescued, world)] * 4)
    assert sum(report.closed for report in reports) == 60
    assert contacts(world) == {("waiting", 0): 60}
    assert {row.refusals for row in world.rows("SELECT refusals FROM contacts")} == {1}
    assert world.value("SELECT sum(attempts) FROM batch_days") == 0


class Denying(Silent):
    """ProviderPool whose networks know of no call. Others act between the question and the answer."""

    def __init__(self, world: World, meanwhile: Callable[[], object]) -> None:
        self._carriers, self._meanwhile = world.providers, meanwhile

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        self._meanwhile()
        return {call.attempt_id: Absent() for _, call in calls}


BY_REPORT, BY_RESCUE = ("ended", "busy", "failed", 1), ("refused", None, "waiting", 0)


def reserved(world: World) -> list[CallEvent]:
    """Reserve attempts that rescue may give up now, and let the network say that they have ended all the same."""
    died(world, world.batch(20, max_concurrent_calls=20), sent=False)
    advance_clock(world, 30)
    return [call_event(of, "ended", world.clock.now, "busy") for of in live_attempts(world)]


def ends(world: World) -> Counter[Any]:
    """How attempts ended and what became of their contacts, which the day's count and the leases fit."""
    ended = world.rows(
        "SELECT a.state, a.outcome, c.status, c.attempts FROM attempts a JOIN contacts c ON c.id = a.contact_id"
    )
    counted = Counter(tuple(row) for row in ended)
    assert world.value("SELECT sum(attempts) FROM batch_days") == counted[BY_REPORT]
    assert held_leases(world) == {}
    return counted


def test_an_attempt_whose_report_is_settled_while_rescue_asks_the_network_ends_by_its_report(world: World) -> None:
    pool = Denying(world, partial(receive_and_settle, world, *reserved(world)))
    rescued(world, replace(world.context, providers=pool))
    assert ends(world) == {BY_REPORT: 20}
    assert_audit_is_clean(world)


@pytest.mark.parametrize("first", ["settle", "rescue"])
def test_an_attempt_that_is_settled_and_given_up_at_once_ends_once_by_the_first_of_both(
    world: World, first: str
) -> None:
    receive(world.db, world.installed.trunk_id, reserved(world))
    never_placed = dict.fromkeys(live_attempts(world), AttemptEnd("never_placed"))
    both: dict[str, Callable[[], object]] = {
        "settle": partial(settle, world.context, world.clock.now),
        "rescue": partial(close, world.context, never_placed, world.clock.now),
    }
    begun: list[Future[object]] = []
    with ThreadPoolExecutor(2) as pool, world.db.begin() as operator:
        # The first locks the attempts and waits for the counts; the second comes while it does.
        rows(operator, "SELECT 1 FROM batch_progress FOR UPDATE")
        for step in (first, *(both.keys() - {first})):
            begun.append(pool.submit(both[step]))
            wait_until(lambda: lock_waiters(world) == len(begun) or begun[-1].done())
        operator.commit()
    assert [step.exception() for step in begun] == [None, None]
    assert ends(world) == {BY_REPORT if first == "settle" else BY_RESCUE: 20}
    # A network that denies a call and reports its end has broken P1, and the audit says so.
    broken = {violation.rule for violation in audit(world.db, world.clock.now).violations}
    assert broken == (set() if first == "settle" else {"refused_but_reported"})


def test_what_a_network_says_of_a_call_that_a_report_has_ended_meanwhile_changes_nothing(world: World) -> None:
    settled = reserved(world)

    class Telling(Denying):
        def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
            super().look_up_all(calls)
            return {event.attempt_id: Seen("one", (event,)) for event in settled}

    world.sql("UPDATE attempts SET sent_at = created_at")
    pool = Telling(world, partial(receive_and_settle, world, *settled))
    report = rescued(world, replace(world.context, providers=pool))
    assert (report.asked, report.closed, report.outcomes) == (20, 0, {})
    assert ends(world) == {BY_REPORT: 20}


def answered(world: World, seconds: float) -> AttemptId:
    """The next call of an only batch, answered so many seconds after it was placed."""
    (batch,) = world.rows("SELECT id FROM batches")
    dispatch_and_place(world, batch.id)
    (attempt_id,) = live_attempts(world)
    advance_clock(world, seconds)
    receive_and_settle(world, call_event(attempt_id, "answered", world.clock.now))
    return attempt_id


def test_an_answered_call_whose_end_was_lost_holds_its_slot_for_twice_a_typical_conversation(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        outcomes={"answered": 1}, faults={"lost": 1}, talk_seconds={"mean": 40, "min": 40, "max": 40},
        setup_seconds={"mean": 1, "min": 1, "max": 1}, ring_seconds={"mean": 4, "min": 4, "max": 4},
    )  # fmt: skip
    batch_id = world.batch(2, max_concurrent_calls=1)
    attempt_id = answered(world, 5)
    advance_clock(world, 40)
    end_call(world, attempt_id, talk_seconds=40.0)
    second = answered(world, 5)
    rescue_at = world.value("SELECT rescue_at FROM attempts WHERE id = :id", id=second)
    assert (rescue_at - world.clock.now).total_seconds() == 80
    advance_clock(world, 79.9)
    assert rescued(world).asked == 0
    advance_clock(world, 0.1)
    assert rescued(world).freed == (batch_id,)


def test_a_long_call_is_asked_about_at_ever_longer_intervals(make_world: MakeWorld) -> None:
    long = {"mean": 7000, "min": 7000, "max": 7000}
    world = make_world(outcomes={"answered": 1}, faults={"lost": 1}, talk_seconds=long)
    batch_id = world.batch(1)
    asked = []
    dispatch_and_place(world, batch_id)
    while live_attempts(world):
        world.clock.now = pendulum.instance(world.value("SELECT rescue_at FROM attempts"))
        assert rescued(world).asked == 1
        asked.append((world.clock.now - MONDAY).total_seconds())
    pauses = [round(after - before) for before, after in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert 60 < pauses[0] < 180
    assert pauses[-1] == 600
    assert len(asked) < 18
    assert world.progress(batch_id).completed == 1


class Deaf(Leases):
    """Leases that do not hear of any end."""

    def release(self, leases: Any) -> None:
        """Lost on the way."""


def test_the_lease_of_a_call_that_ended_unheard_is_freed(world: World) -> None:
    batch_id = world.batch(2)
    dispatch_and_place(world, batch_id)
    first, second = live_attempts(world)
    receive(world.db, world.installed.trunk_id, [call_event(first, "ended", MONDAY, "busy")])
    assert settle(replace(world.context, leases=Deaf(world.redis_url)), MONDAY).ended == 1
    assert set(held_leases(world)["{dialer}:holds"]) == {str(first), str(second)}
    world.sql("UPDATE attempts SET rescue_at = rescue_at + interval '1 hour' WHERE rescue_at IS NOT NULL")
    advance_clock(world, 120)
    report = rescued(world)
    assert (report.orphans, report.restored) == (1, 0)
    assert set(held_leases(world)["{dialer}:holds"]) == {str(second)}


def test_leases_that_redis_has_lost_without_noticing_are_restored(world: World) -> None:
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 50")
    world.rescue()
    batch_id = world.batch(5)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0])
    before = slots(world)
    client: Any = world.leases._redis
    for kind in ("slots", "day"):
        for key in list(client.scan_iter(f"{{dialer}}:{kind}:*")):
            client.delete(key)
    assert rescued(world).restored == 4
    assert slots(world) == before
    assert sum(client.scard(key) for key in client.scan_iter("{dialer}:day:*")) == 5
    assert rescued(world).restored == 0


def test_an_attempt_that_is_refused_while_rescue_compares_leases_uses_up_nothing_of_the_day(world: World) -> None:
    class Refusing(Leases):
        def missing(self, leases: Sequence[Lease]) -> list[Lease]:
            close(world.context, {live_attempts(world)[0]: AttemptEnd("refused")}, world.clock.now)
            return super().missing(leases)

    world.sql("UPDATE phone_numbers SET max_calls_per_day = 50")
    world.rescue()
    dispatch(world.context, [world.batch(2)], world.clock.now, world.rng)
    leases = Refusing(world.redis_url, is_virtual=True)
    rescued(world, replace(world.context, leases=leases))
    leases.close()
    assert day_allowance(world) == 1


@pytest.mark.parametrize(("change", "end"), [("name", ("waiting", None)), ("config", ("failed", "unknown"))])
def test_a_network_that_was_never_asked_for_a_call_cannot_have_it_made_again(
    make_world: MakeWorld, change: str, end: tuple[str, str | None]
) -> None:
    world = make_world(faults={"timeout_after": 1}, talk_seconds={"mean": 600, "min": 600, "max": 600})
    assert dispatch_and_place(world, world.batch(1)).unclear == 1
    # The operator moves the trunk to another platform, since this one does not answer.
    world.sql({"name": "UPDATE trunks SET name = 'b'", "config": "UPDATE trunks SET config = '{\"seed\": 2}'"}[change])
    advance_clock(world, 35)
    rescued(world, replace(world.context, providers=Unknowing(world)))
    assert [tuple(row) for row in world.rows("SELECT status, outcome FROM contacts")] == [end]


def test_a_call_that_ends_while_rescue_compares_leases_gets_none_back(world: World) -> None:
    class Ending(Leases):
        def missing(self, leases: Sequence[Lease]) -> list[Lease]:
            end_call(world, live_attempts(world)[0])
            return super().missing(leases)

    dispatch_and_place(world, world.batch(2))
    leases = Ending(world.redis_url, is_virtual=True)
    assert rescued(world, replace(world.context, leases=leases)).restored == 0
    leases.close()
    assert set(held_leases(world)["{dialer}:holds"]) == {str(attempt_id) for attempt_id in live_attempts(world)}


def test_two_rescuers_at_once_rebuild_redis_once_with_every_lease(world: World) -> None:
    batch_id = world.batch(30, max_concurrent_calls=8)
    for _ in range(5):
        dispatch_and_place(world, batch_id)
        before = set(held_leases(world)["{dialer}:holds"])
        world.flush_redis()
        reports = run_concurrently(*[partial(rescued, world)] * 4)
        assert [report.rebuilt for report in reports].count(True) == 1
        assert set(held_leases(world)["{dialer}:holds"]) == before
        end_call(world, live_attempts(world)[0])


def test_a_rebuild_waits_for_a_claim_that_has_seen_the_old_epoch(world: World) -> None:
    batch_id = world.batch(4)
    with ThreadPoolExecutor(2) as pool:
        with world.db.begin() as operator:
            rows(operator, "SELECT 1 FROM batch_progress FOR UPDATE")
            claim = pool.submit(dispatch_and_place, world, batch_id)
            wait_until(lambda: lock_waiters(world) == 1)
            world.flush_redis()
            rebuild = pool.submit(rescued, world)
            wait_until(lambda: lock_waiters(world) == 2 or rebuild.done())
        assert rebuild.result().rebuilt
        assert claim.result().claimed == 4
    assert set(held_leases(world)["{dialer}:holds"]) == {str(of) for of in live_attempts(world)}


def test_a_new_cap_is_not_loaded_while_a_claim_may_add_a_call_that_is_not_counted(world: World) -> None:
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 5")

    def unloaded() -> int:
        with world.db.begin() as connection:
            return len(world.leases.unloaded(numbers.capped(connection), [MONDAY.date(), MONDAY.date().add(days=1)]))

    with ThreadPoolExecutor(1) as pool, world.db.begin() as claim:
        lease_epoch.share(claim)
        loading = pool.submit(rescued, world)
        wait_until(lambda: lock_waiters(world) == 1 or loading.done())
        assert unloaded() == 3
        claim.commit()
        loading.result(DEADLINE_SECONDS)
    rescued(world)
    assert unloaded() == 0


def test_the_calls_before_a_new_cap_are_counted_before_its_number_is_used_again(world: World) -> None:
    counted: list[int] = []

    class Watched(Leases):
        def mark_loaded(self, capped: Any, days: Any) -> None:
            counted.append(day_allowance(world))
            super().mark_loaded(capped, days)

    dispatch_and_place(world, world.batch(3))
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 5")
    leases = Watched(world.redis_url, is_virtual=True)
    rescued(world, replace(world.context, leases=leases))
    leases.close()
    assert counted == [3]


def test_numbers_with_a_cap_go_on_at_midnight_without_a_rescue(world: World) -> None:
    world.sql("UPDATE phone_numbers SET max_calls_per_day = 5")
    world.rescue()
    world.clock.now = MONDAY.add(days=1).start_of("day")
    assert dispatch_and_place(world, world.batch(4)).claimed == 4


@pytest.mark.parametrize("notes_permits", [True, False], ids=["this release", "the previous release"])
def test_attempts_whose_requests_have_not_left_are_given_back_whatever_their_network_can_say(
    world: World, notes_permits: bool
) -> None:
    batch_id = world.batch(4)
    assert dispatch(world.context, [batch_id], world.clock.now, world.rng).claimed == 4
    if not notes_permits:
        # Such a worker sends without a last look: whether it has is not known.
        world.sql("UPDATE attempts SET allowed_by = allowed_by - 'needs_permit'")
    context = replace(world.context, providers=Silent(world))
    advance_clock(world, 29.999)
    assert rescued(world, context).closed == 0
    advance_clock(world, 0.001)
    assert rescued(world, context).closed == (4 if notes_permits else 0)
    assert contacts(world) == {("waiting", 0) if notes_permits else ("dialing", 1): 4}


def test_a_rebuild_while_others_dispatch_exceeds_no_limit_and_loses_no_lease(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 9")
    batch_ids = [world.batch([f"+1212555{n:02}{m:02}" for m in range(60)], max_concurrent_calls=8) for n in range(3)]
    for _ in range(15):
        run_concurrently(
            world.flush_redis,
            partial(rescued, world),
            *(partial(dispatch_and_place, world, batch_id) for batch_id in batch_ids),
        )
        rescued(world)
        dispatch_and_place(world, *batch_ids)
        assert len(live_attempts(world)) == 9
        advance_clock(world, 31)
        rescued(world)
        assert set(held_leases(world)["{dialer}:holds"]) == {str(of) for of in live_attempts(world)}
        for attempt_id in live_attempts(world)[:5]:
            end_call(world, attempt_id)
    audited = audit(world.db, world.clock.now)
    assert audited.is_clean, audited.violations
