"""A provider that is dead behind a switch that is up: its calls fail before they ring, and no contact pays for it."""

from collections.abc import Callable
from typing import Any

import pytest

from dialer.domain.breaker import BREAK_AFTER, FIRST_PAUSE_SECONDS, PROBE_SECONDS
from dialer.domain.call import CallFacts, HungUpBy
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.retry import MOST_NETWORK_FAILURES
from dialer.engine.audit import audit
from dialer.engine.retention import retention
from dialer.engine.retry import retry
from dialer.store import health
from support.engine_steps import (
    advance_clock,
    call_event,
    dispatch_and_place,
    end_call,
    live_attempts,
    next_dispatch,
    receive_and_settle,
)
from support.world import MONDAY, World

DEAD = CallFacts(sip_code=503, q850_cause=34, sip_call_id="c-1", hung_up_by=HungUpBy.NETWORK)
OPTIONS = {"retry_failed": True, "max_retry_attempts": 1}


def breaker(world: World) -> Any:
    breakers = world.rows("SELECT failures, reason, opened_at, probe_at, of_calls FROM trunk_health")
    return breakers[0] if breakers else None


def fail(world: World, *attempt_ids: AttemptId, facts: CallFacts = DEAD) -> None:
    ends = [call_event(of, "ended", world.clock.now, "failed", facts=facts, cause="sip_503") for of in attempt_ids]
    receive_and_settle(world, *ends)


def dialed(world: World, count: int, **options: Any) -> tuple[BatchId, list[AttemptId]]:
    batch_id = world.batch(count, max_concurrent_calls=count, **OPTIONS | options)
    dispatch_and_place(world, batch_id)
    return batch_id, live_attempts(world)


def clean(world: World) -> bool:
    retry(world.context, world.clock.now)
    return audit(world.db, world.clock.now).is_clean


def test_what_the_network_said_is_kept_on_the_attempt_and_in_the_archive(world: World) -> None:
    facts = "SELECT sip_code, q850_cause, sip_call_id, hung_up_by FROM"
    batch_id, (attempt_id,) = dialed(world, 1)
    end_call(world, attempt_id, "busy", facts=CallFacts(486, 17, "c-7@sip", HungUpBy.CALLEE))
    assert world.rows(f"{facts} attempts") == [(486, 17, "c-7@sip", "callee")]
    world.sql("UPDATE batches SET status = 'cancelled' WHERE id = :id", id=batch_id)
    world.change_pages()
    advance_clock(world, 100 * 86_400)
    retention(world.context, world.clock.now, 30)
    assert world.rows(f"{facts} attempts_archive") == [(486, 17, "c-7@sip", "callee")]


@pytest.mark.parametrize("facts", [CallFacts(sip_code=10**12, q850_cause=-1, sip_call_id="\0x"), CallFacts(7, 900)])
def test_codes_that_are_none_are_passed_over(world: World, facts: CallFacts) -> None:
    _, (attempt_id,) = dialed(world, 1)
    end_call(world, attempt_id, "failed", facts=facts)
    assert world.rows("SELECT state, sip_code, q850_cause FROM attempts") == [("ended", None, None)]


def test_a_call_that_its_network_failed_before_it_rang_costs_the_contact_no_attempt(world: World) -> None:
    _, (attempt_id,) = dialed(world, 1, retry_failed=False)
    fail(world, attempt_id)
    assert world.rows("SELECT status, attempts, refusals, due_at, outcome FROM contacts") == [
        ("waiting", 0, 1, MONDAY.add(seconds=15), None)
    ]
    assert world.rows("SELECT outcome, sip_code, is_counted FROM attempts") == [("failed", 503, False)]
    assert clean(world)


@pytest.mark.parametrize(
    ("rings", "facts"),
    [(True, DEAD), (False, CallFacts()), (False, CallFacts(sip_code=433)), (False, CallFacts(q850_cause=31))],
)
def test_a_call_that_rang_or_failed_for_an_unknown_reason_costs_one(
    world: World, rings: bool, facts: CallFacts
) -> None:
    _, (attempt_id,) = dialed(world, 1)
    if rings:
        receive_and_settle(world, call_event(attempt_id, "ringing", MONDAY))
    fail(world, attempt_id, facts=facts)
    assert world.rows("SELECT status, attempts, refusals FROM contacts") == [("waiting", 1, 0)]
    assert breaker(world) is None
    assert clean(world)


def test_an_operator_who_changes_the_window_does_not_let_them_wait_for_a_retry(world: World) -> None:
    _, (attempt_id,) = dialed(world, 1)
    fail(world, attempt_id)
    world.sql("UPDATE batches SET end_time = '20:00'")
    assert world.value("SELECT due_at FROM contacts") == MONDAY.add(seconds=15)


def test_ten_in_a_row_hold_the_trunk_and_what_the_switch_takes_meanwhile_does_not_release_it(world: World) -> None:
    batch_id, attempt_ids = dialed(world, BREAK_AFTER)
    fail(world, *attempt_ids[:-1])
    # The switch takes these placements, as it has taken the others.
    assert dispatch_and_place(world, world.batch(["+12015559999"])).placed == 1
    assert breaker(world).opened_at is None
    fail(world, attempt_ids[-1])
    opened = breaker(world)
    assert (opened.failures, opened.reason, opened.of_calls) == (BREAK_AFTER, "sip_503", True)
    assert opened.probe_at == MONDAY.add(seconds=FIRST_PAUSE_SECONDS)
    advance_clock(world, 20)
    retry(world.context, world.clock.now)
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.add(seconds=FIRST_PAUSE_SECONDS), "trunk_failing")
    with world.db.begin() as connection:
        assert "10 placements or calls that never rang in a row" in "".join(
            health.troubles(connection, world.clock.now)
        )


def test_a_list_outlives_a_provider_that_is_dead_behind_a_switch_that_takes_every_call(world: World) -> None:
    """Sixty of sixty were used up in twelve seconds."""
    batch_id = world.batch(60, max_concurrent_calls=BREAK_AFTER, retry_failed=False)
    placed = 0
    for _ in range(12):
        placed += dispatch_and_place(world, batch_id).placed
        fail(world, *live_attempts(world))
        advance_clock(world, 1)
    assert placed == BREAK_AFTER
    assert world.rows("SELECT status, attempts, count(*) FROM contacts GROUP BY 1, 2 ORDER BY 1") == [
        ("pending", 0, 60 - BREAK_AFTER),
        ("waiting", 0, BREAK_AFTER),
    ]
    assert clean(world)


@pytest.mark.parametrize(
    ("kind", "outcome", "facts"),
    [
        ("ringing", None, CallFacts()),
        ("answered", None, CallFacts()),
        ("ended", "busy", CallFacts(sip_code=486)),
        ("ended", "rejected", CallFacts(sip_code=603)),
        ("ended", "no_answer", CallFacts(sip_code=480)),
    ],
)
def test_a_call_that_reaches_a_person_ends_the_row(
    world: World, kind: str, outcome: str | None, facts: CallFacts
) -> None:
    _, (last, *attempt_ids) = dialed(world, BREAK_AFTER)
    fail(world, *attempt_ids)
    receive_and_settle(world, call_event(last, kind, MONDAY, outcome, facts=facts))
    assert breaker(world) is None


def test_a_timeout_without_ringing_neither_ends_the_row_nor_adds_to_it(world: World) -> None:
    _, (last, *attempt_ids) = dialed(world, BREAK_AFTER)
    fail(world, *attempt_ids)
    end_call(world, last, "no_answer", facts=CallFacts(q850_cause=19, hung_up_by=HungUpBy.CALLER))
    assert breaker(world).failures == BREAK_AFTER - 1


def test_a_probe_that_fails_doubles_the_pause_and_one_that_rings_ends_it(make_world: Callable[..., World]) -> None:
    world = make_world()
    batch_id, attempt_ids = dialed(world, BREAK_AFTER)
    fail(world, *attempt_ids)
    advance_clock(world, FIRST_PAUSE_SECONDS)
    retry(world.context, world.clock.now)
    assert dispatch_and_place(world, batch_id).placed == 1
    assert breaker(world) is not None, "that the switch takes it says nothing of what lies behind"
    fail(world, *live_attempts(world))
    assert breaker(world).probe_at == world.clock.now.add(seconds=2 * FIRST_PAUSE_SECONDS)
    advance_clock(world, 2 * FIRST_PAUSE_SECONDS)
    retry(world.context, world.clock.now)
    assert dispatch_and_place(world, batch_id).placed == 1
    receive_and_settle(world, call_event(live_attempts(world)[0], "ringing", world.clock.now))
    assert breaker(world) is None
    advance_clock(world, PROBE_SECONDS)
    assert dispatch_and_place(world, batch_id).placed == BREAK_AFTER - 1
    assert clean(world)


def test_a_contact_that_no_route_leads_to_does_not_keep_its_batch_open_for_ever(world: World) -> None:
    batch_id, _ = dialed(world, 1, max_retry_attempts=0)
    for n in range(MOST_NETWORK_FAILURES):
        fail(world, *live_attempts(world))
        assert world.rows("SELECT status, attempts, refusals FROM contacts") == [("waiting", 0, n + 1)]
        # Other calls of the trunk ring.
        world.sql("DELETE FROM trunk_health")
        advance_clock(world, 600)
        retry(world.context, world.clock.now)
        assert dispatch_and_place(world, batch_id).placed == 1
    fail(world, *live_attempts(world))
    assert world.rows("SELECT status, outcome, attempts FROM contacts") == [("failed", "failed", 1)]
    assert world.rows("SELECT count(*) FROM attempts WHERE NOT is_counted") == [(MOST_NETWORK_FAILURES,)]
    assert clean(world)


def test_a_call_cut_by_the_end_of_the_window_is_called_again_in_the_next(world: World) -> None:
    _, (attempt_id,) = dialed(world, 1, end_time="09:00", start_time="08:00")
    advance_clock(world, 3599)
    end_call(world, attempt_id, "no_answer", cause="progress_timeout")
    ((status, due_at),) = world.rows("SELECT status, due_at FROM contacts")
    assert (status, due_at) == ("waiting", MONDAY.add(days=1))
