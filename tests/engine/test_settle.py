"""Settle: whatever order reports come in, an attempt ends once, its contact moves on, and its slot is passed on."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import pytest

from dialer.domain.attempt import PlacedCall
from dialer.domain.ids import AttemptId, BatchId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.engine.audit import audit
from dialer.engine.events import receive
from dialer.engine.settle import PAGE, AttemptEnd, SettleReport, close, settle
from dialer.engine.tick import tick
from dialer.errors import Unavailable
from dialer.store.attempts import mark_placed
from dialer.store.database import run
from dialer.store.leases import Leases
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import (
    advance_clock,
    call_event,
    dispatch_and_place,
    end_call,
    held_leases,
    live_attempts,
    lock_waiters,
    receive_and_settle,
    run_concurrently,
)
from support.world import MONDAY, World, made_up_phones


def dialed(world: World, count: int = 1, **options: Any) -> tuple[BatchId, list[AttemptId]]:
    """A batch of this many contacts, all of them being called."""
    batch_id = world.batch(count, max_concurrent_calls=count, **options)
    dispatch_and_place(world, batch_id)
    return batch_id, live_attempts(world)


def verdicts(world: World) -> list[str]:
    return [row.verdict for row in world.rows("SELECT verdict FROM inbox ORDER BY id")]


def attempt(world: World) -> Any:
    (row,) = world.rows("SELECT * FROM attempts")
    return row


def contact(world: World) -> Any:
    (row,) = world.rows("SELECT * FROM contacts")
    return row


def forget_placing(world: World, attempt_id: AttemptId) -> None:
    """As if no answer had come from the network."""
    world.sql("UPDATE attempts SET state = 'unclear' WHERE id = :id", id=attempt_id)


COURSES = {
    "answered": (("ringing", 2), ("answered", 6), ("ended", 20)),
    "busy": (("ringing", 2), ("ended", 4)),
    "no_answer": (("ringing", 2), ("ended", 40)),
}
ORDERS = [(outcome, order) for outcome, course in COURSES.items() for order in permutations(course)]


@pytest.mark.parametrize(("outcome", "order"), ORDERS)
@pytest.mark.parametrize("twice", [False, True])
def test_reports_in_any_order_once_or_twice_end_the_same(
    world: World, outcome: str, order: tuple[tuple[str, int], ...], twice: bool
) -> None:
    batch_id, (attempt_id,) = dialed(world)
    advance_clock(world, 60)
    for kind, seconds in order:
        values: dict[str, Any] = (
            {"outcome": outcome, "talk_seconds": 14.0 if outcome == "answered" else None} if kind == "ended" else {}
        )
        event = call_event(attempt_id, kind, MONDAY.add(seconds=seconds), **values)
        for copy in range(1 + twice):
            receive_and_settle(world, replace(event, key=f"{event.key}:{copy}"))
    row, person = attempt(world), contact(world)
    assert (row.state, row.outcome, row.ended_at) == ("ended", outcome, MONDAY.add(seconds=dict(order)["ended"]))
    if outcome == "answered":
        assert (row.answered_at, row.talk_seconds) == (MONDAY.add(seconds=6), 14)
    assert (person.status, person.outcome) == ("completed" if outcome == "answered" else "failed", outcome)
    assert Counter(verdicts(world))["late"] + Counter(verdicts(world))["applied"] == len(order) * (1 + twice)
    assert held_leases(world) == {}
    assert tick(world.context, world.clock.now).due == (batch_id,)


@pytest.mark.parametrize("one_page", [False, True])
@pytest.mark.parametrize("order", [*permutations(("answered", "machine", "ended"))])
def test_a_machine_that_is_detected_during_the_call_is_its_outcome(
    world: World, order: tuple[str, ...], one_page: bool
) -> None:
    _, (attempt_id,) = dialed(world)
    advance_clock(world, 60)
    events = {
        "answered": call_event(attempt_id, "answered", MONDAY.add(seconds=6)),
        "machine": call_event(attempt_id, "answered", MONDAY.add(seconds=8), "machine", key=f"{attempt_id}:machine"),
        "ended": call_event(attempt_id, "ended", MONDAY.add(seconds=20), "answered", talk_seconds=14.0),
    }
    if one_page:
        for step in order:
            receive(world.db, world.installed.trunk_id, [events[step]])
        settle(world.context, world.clock.now)
    else:
        for step in order:
            receive_and_settle(world, events[step])
    is_in_time = order.index("machine") < order.index("ended")
    assert attempt(world).outcome == contact(world).outcome == ("machine" if is_in_time else "answered")
    assert audit(world.db, world.clock.now).is_clean


@pytest.mark.parametrize("kind", ["ringing", "answered", "ended"])
def test_a_call_whose_report_is_faster_than_the_networks_answer_was_placed_when_it_was_sent(
    world: World, kind: str
) -> None:
    _, (attempt_id,) = dialed(world)
    world.sql("UPDATE attempts SET state = 'reserved', placed_at = NULL, provider_call_id = NULL")
    advance_clock(world, 3)
    receive_and_settle(world, call_event(attempt_id, kind, world.clock.now, "busy" if kind == "ended" else None))
    assert attempt(world).placed_at == MONDAY
    with world.db.begin() as connection:
        assert not mark_placed(connection, [PlacedCall(attempt_id, "later")])
    assert (attempt(world).state, attempt(world).placed_at) == (kind, attempt(world).sent_at) == (kind, MONDAY)
    assert attempt(world).provider_call_id == "later"


def test_a_call_that_its_network_never_confirmed_was_not_placed(world: World) -> None:
    _, (attempt_id,) = dialed(world)
    world.sql("UPDATE attempts SET state = 'unclear', placed_at = NULL, provider_call_id = NULL")
    close(world.context, {attempt_id: AttemptEnd("given_up", Outcome.FAILED)}, world.clock.now)
    assert (attempt(world).state, attempt(world).placed_at) == ("ended", None)


def test_reports_get_their_verdict_whatever_they_are_about(world: World) -> None:
    _, (attempt_id,) = dialed(world)
    forget_placing(world, attempt_id)
    close(world.context, {attempt_id: AttemptEnd("never_placed")}, world.clock.now)
    stranger = AttemptId(uuid7(MONDAY, world.rng))
    receive_and_settle(world, call_event(stranger, "ringing", MONDAY), call_event(attempt_id, "ringing", MONDAY))
    receive_and_settle(world, call_event(attempt_id, "ended", MONDAY, "answered"))
    assert sorted(verdicts(world)) == ["contradiction", "contradiction", "unknown_attempt"]
    assert attempt(world).state == "refused"


def test_reports_after_the_end_change_nothing(world: World) -> None:
    _, (attempt_id,) = dialed(world)
    end_call(world, attempt_id, "busy")
    before = attempt(world), contact(world)
    advance_clock(world, 5)
    report_of_end = end_call(world, attempt_id, "answered", key="again")
    assert (report_of_end.ended, report_of_end.freed) == (0, ())
    assert verdicts(world) == ["applied", "late"]
    assert (attempt(world), contact(world)) == before


@pytest.mark.parametrize("kind", ["placed", "ringing", "answered"])
def test_a_call_that_was_seen_cannot_be_closed_as_never_placed(world: World, kind: str) -> None:
    _, (attempt_id,) = dialed(world)
    if kind != "placed":
        receive_and_settle(world, call_event(attempt_id, kind, MONDAY))
    assert close(world.context, {attempt_id: AttemptEnd("never_placed")}, world.clock.now).ended == 0
    assert (attempt(world).state, contact(world).status) == (kind, "dialing")


def test_nothing_to_settle_is_settled_at_once(world: World) -> None:
    assert settle(world.context, world.clock.now) == SettleReport(0, 0, ())


def test_a_full_page_says_that_there_may_be_more(world: World) -> None:
    (attempt_id,) = (AttemptId(uuid7(MONDAY, world.rng)),)
    events = [call_event(attempt_id, "ringing", MONDAY, key=str(n)) for n in range(PAGE + 1)]
    receive(world.db, world.installed.trunk_id, events)
    first, second = settle(world.context, world.clock.now), settle(world.context, world.clock.now)
    assert (first.reports, first.is_full) == (PAGE, True)
    assert (second.reports, second.is_full) == (1, False)


def test_several_settles_at_once_settle_each_report_once(world: World) -> None:
    batch_id, attempt_ids = dialed(world, 100)
    more_id, more = (batch := world.batch(made_up_phones(50, first=100), max_concurrent_calls=50)), []
    dispatch_and_place(world, batch)
    more = [of for of in live_attempts(world) if of not in set(attempt_ids)]
    for n in range(8):
        # Eight pages of strangers among the reports that count, so that every settle finds some of these.
        strangers = [call_event(AttemptId(uuid7(MONDAY, world.rng)), "ringing", MONDAY) for _ in range(PAGE - 20)]
        ends = [call_event(of, "ended", MONDAY, "busy") for of in [*attempt_ids, *more][n::8]]
        receive(world.db, world.installed.trunk_id, [*strangers, *ends])
    reports = [
        report for _ in range(3) for report in run_concurrently(*[partial(settle, world.context, world.clock.now)] * 4)
    ]
    assert sum(report.ended for report in reports) == 150
    assert sum(report.reports for report in reports) == 8 * (PAGE - 20) + 150
    assert world.progress(batch_id).failed + world.progress(more_id).failed == 150
    assert held_leases(world) == {}
    assert audit(world.db, world.clock.now).is_clean


def test_reports_of_one_attempt_settled_at_once_end_it_once(world: World) -> None:
    for _ in range(5):
        batch_id, _ = dialed(world, 40)
        attempt_ids = live_attempts(world)
        for kind in ("ringing", "answered"):
            receive(world.db, world.installed.trunk_id, [call_event(of, kind, MONDAY) for of in attempt_ids])
        ends = [call_event(of, "ended", MONDAY, "answered") for of in attempt_ids]
        run_concurrently(
            partial(receive_and_settle, world, *ends),
            partial(receive_and_settle, world, *reversed(ends)),
            partial(settle, world.context, world.clock.now),
            partial(
                close, world.context, dict.fromkeys(attempt_ids, AttemptEnd("gone", Outcome.ANSWERED)), world.clock.now
            ),
        )
        while settle(world.context, world.clock.now).reports:
            pass
        assert world.progress(batch_id).completed == 40
        assert held_leases(world) == {}
    assert world.value("SELECT count(*) FROM attempts WHERE rescue_at IS NOT NULL") == 0


def test_a_retry_is_due_after_its_delay_and_inside_the_window(world: World) -> None:
    _, attempt_ids = dialed(
        world, 4, retry_failed=True, max_retry_attempts=1, start_time="08:00", end_time="09:00", working_days=[1, 2]
    )
    world.clock.now = MONDAY.add(minutes=5)
    for attempt_id, outcome in zip(attempt_ids, ("busy", "failed", "no_answer", "rejected"), strict=True):
        end_call(world, attempt_id, outcome)
    due = {row.outcome: row.due_at for row in world.rows("SELECT outcome, due_at FROM contacts")}
    tomorrow = MONDAY.add(days=1)
    assert due == {
        "busy": MONDAY.add(minutes=15),
        "failed": MONDAY.add(minutes=10),
        "no_answer": tomorrow,
        "rejected": tomorrow,
    }


def test_a_retry_is_due_inside_the_window_of_the_contacts_own_zone(world: World) -> None:
    hours: dict[str, Any] = {"start_time": "08:00", "end_time": "17:00", "timezone": "Europe/Berlin"}
    batch_id = world.batch(
        ["+4930901820"], respect_contact_timezone=True, retry_failed=True, max_retry_attempts=1, **hours
    )
    dispatch_and_place(world, batch_id)
    (attempt_id,) = live_attempts(world)
    world.sql("UPDATE contacts SET lane = 'Asia/Tokyo'")
    end_call(world, attempt_id, "busy")
    assert contact(world).due_at == MONDAY.at(23)  # eight in Tokyo, next day


def test_a_zone_that_this_system_does_not_know_does_not_stop_the_reports(world: World) -> None:
    _, (attempt_id,) = dialed(world, retry_failed=True, max_retry_attempts=1)
    world.sql("UPDATE contacts SET lane = 'Mars/Olympus'")
    end_call(world, attempt_id, "busy")
    assert (contact(world).status, contact(world).due_at) == ("waiting", MONDAY.add(minutes=10))


def test_nobody_is_called_again_in_a_batch_that_was_cancelled(world: World) -> None:
    batch_id, (first, second) = dialed(world, 2, retry_failed=True, max_retry_attempts=3)
    world.sql("UPDATE batches SET status = 'cancelled'")
    end_call(world, first, "busy")
    assert world.progress(batch_id).drained_at is None
    advance_clock(world, 9)
    forget_placing(world, second)
    close(world.context, {second: AttemptEnd("never_placed")}, world.clock.now)
    contacts = world.rows("SELECT status, status_reason, outcome FROM contacts")
    assert {tuple(row) for row in contacts} == {
        ("failed", "batch_cancelled", "busy"),
        ("cancelled", "batch_cancelled", None),
    }
    assert world.progress(batch_id).drained_at == world.clock.now


def test_a_call_that_ends_while_its_batch_is_being_cancelled_is_not_made_again(world: World) -> None:
    batch_id, (attempt_id,) = dialed(world, retry_failed=True, max_retry_attempts=3)
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        run(operator, "UPDATE batches SET status = 'cancelled'")
        settling = pool.submit(end_call, world, attempt_id, "busy")
        wait_until(lambda: lock_waiters(world) == 1 or settling.done())
        operator.commit()
        settling.result(DEADLINE_SECONDS)
    # Where it gave up waiting for the cancellation, the report was put off.
    advance_clock(world, 2)
    settle(world.context, world.clock.now)
    assert (contact(world).status, contact(world).status_reason) == ("failed", "batch_cancelled")
    assert world.progress(batch_id).waiting == 0


def test_no_time_is_stored_that_lies_before_the_attempt_or_ahead(world: World) -> None:
    _, (attempt_id,) = dialed(world, retry_failed=True, max_retry_attempts=1)
    advance_clock(world, 30)
    receive_and_settle(world, call_event(attempt_id, "ringing", MONDAY.subtract(years=1)))
    receive_and_settle(world, call_event(attempt_id, "answered", MONDAY.add(years=50)))
    receive_and_settle(world, call_event(attempt_id, "ended", MONDAY.add(years=70), "machine"))
    row = attempt(world)
    assert (row.ringing_at, row.answered_at, row.ended_at) == (MONDAY, world.clock.now, world.clock.now)


@pytest.mark.parametrize(("years", "ended"), [(70, MONDAY.add(seconds=30)), (-70, MONDAY)])
def test_a_network_whose_clock_is_wrong_by_years_does_not_put_off_the_retry(
    world: World, years: int, ended: Any
) -> None:
    _, (attempt_id,) = dialed(world, retry_failed=True, max_retry_attempts=1)
    advance_clock(world, 30)
    receive_and_settle(world, call_event(attempt_id, "ended", MONDAY.add(years=years), "busy"))
    assert attempt(world).ended_at == ended
    assert contact(world).due_at == ended.add(minutes=10)


def test_freed_slots_are_handed_to_their_batch_and_to_the_neighbours_who_wait_for_room(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 4")
    first = world.batch(10, max_concurrent_calls=10)
    second = world.batch(made_up_phones(10, first=10))
    dispatch_and_place(world, first)
    dispatch_and_place(world, second)
    assert world.progress(second).held_by == "trunk"
    freed = end_call(world, live_attempts(world)[0]).freed
    assert freed == (first, second)
    assert dispatch_and_place(world, second, first).placed == 1
    assert {row.batch_id for row in world.rows("SELECT batch_id FROM attempts")} == {first, second}


def test_a_batch_whose_slot_was_freed_is_due_should_the_worker_die_now(world: World) -> None:
    batch_id = world.batch(3, max_concurrent_calls=1)
    dispatch_and_place(world, batch_id)
    assert tick(world.context, world.clock.now).due == ()
    end_call(world, live_attempts(world)[0])
    assert tick(world.context, world.clock.now).due == (batch_id,)


class Dead(Leases):
    """Leases of a worker that dies, or loses Redis, right after its commit."""

    def release(self, leases: Any) -> None:
        raise Unavailable(f"Redis does not answer: {leases}")


def test_a_worker_that_dies_after_the_commit_leaves_leases_that_rescue_frees(world: World) -> None:
    batch_id = world.batch(3, max_concurrent_calls=1)
    dispatch_and_place(world, batch_id)
    receive(world.db, world.installed.trunk_id, [call_event(live_attempts(world)[0], "ended", MONDAY, "answered")])
    with pytest.raises(Unavailable):
        settle(replace(world.context, leases=Dead(world.redis_url)), world.clock.now)
    assert world.progress(batch_id).completed == 1
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert world.progress(batch_id).held_by == "slots"
    advance_clock(world, 121)
    world.rescue()
    assert dispatch_and_place(world, batch_id).claimed == 1


def test_a_settle_that_fails_before_the_commit_leaves_the_page_and_everything_else(world: World) -> None:
    _, (attempt_id,) = dialed(world)
    receive(world.db, world.installed.trunk_id, [call_event(attempt_id, "ended", MONDAY, "answered")])
    world.sql(
        """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
        CREATE TRIGGER fail BEFORE UPDATE ON inbox FOR EACH ROW EXECUTE FUNCTION fail()
        """
    )
    try:
        with pytest.raises(Exception, match="no"):
            settle(world.context, world.clock.now)
        assert attempt(world).state == "placed"
        assert contact(world).status == "dialing"
        assert held_leases(world) != {}
    finally:
        world.sql("DROP TRIGGER fail ON inbox; DROP FUNCTION fail")
    assert settle(world.context, world.clock.now).ended == 1
