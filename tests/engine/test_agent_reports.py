"""What agents report with the end of a call: dispositions, opt-outs, and calls that nobody on our side answered."""

from typing import Any

import pytest

from dialer.domain.breaker import BREAK_AFTER, FIRST_PAUSE_SECONDS
from dialer.domain.call import CallFacts
from dialer.domain.ids import AttemptId
from dialer.engine.audit import audit
from dialer.service import call_reports
from dialer.service.call_reports import CallReport
from support.engine_steps import (
    advance_clock,
    call_event,
    dispatch_and_place,
    end_call,
    live_attempts,
    receive_and_settle,
)
from support.world import World

OPTED_OUT = CallFacts(disposition="do not call", opt_out=True)


def dialed(world: World, count: int, **options: Any) -> list[AttemptId]:
    dispatch_and_place(world, world.batch(count, max_concurrent_calls=count, **options))
    return live_attempts(world)


def report(world: World, attempt_id: AttemptId, **fields: Any) -> dict[str, Any]:
    (row,) = world.rows("SELECT batch_id FROM attempts WHERE id = :id", id=attempt_id)
    of = world.installed.workspace_id
    return call_reports.report(world.db, of, row.batch_id, attempt_id, CallReport(**fields), world.clock.now)


def suppressed(world: World) -> list[str]:
    return [row.phone_number for row in world.rows("SELECT phone_number FROM suppressions ORDER BY 1")]


def breaker(world: World) -> Any:
    breakers = world.rows("SELECT failures, reason, opened_at, of_agents FROM trunk_health")
    return breakers[0] if breakers else None


def test_an_opt_out_at_the_end_of_a_call_suppresses_the_number(world: World) -> None:
    first, _ = dialed(world, 2)
    end_call(world, first, "answered", facts=OPTED_OUT)
    assert world.rows("SELECT to_number, disposition, opt_out FROM attempts WHERE id = :id", id=first) == [
        (suppressed(world)[0], "do not call", True)
    ]
    assert len(suppressed(world)) == 1


def test_an_opt_out_that_is_reported_after_rescue_has_ended_the_call_is_not_lost(world: World) -> None:
    (attempt_id,) = dialed(world, 1)
    end_call(world, attempt_id, "busy", key="first")
    end_call(world, attempt_id, "answered", key="second", facts=OPTED_OUT)
    assert suppressed(world) == ["+12015550000"]
    assert world.rows("SELECT outcome, disposition FROM attempts") == [("busy", "do not call")]


def test_an_opt_out_is_never_taken_back(world: World) -> None:
    (attempt_id,) = dialed(world, 1)
    report(world, attempt_id, opt_out=True)
    report(world, attempt_id, opt_out=False, disposition="called by mistake")
    end_call(world, attempt_id, "answered", facts=CallFacts(opt_out=False))
    assert world.rows("SELECT disposition, opt_out FROM attempts") == [("called by mistake", True)]
    assert suppressed(world) == ["+12015550000"]


@pytest.mark.parametrize("by_report", [True, False])
def test_a_call_that_no_agent_joined_ends_its_contact_as_failed_and_is_not_repeated(
    world: World, by_report: bool
) -> None:
    (attempt_id,) = dialed(world, 1, retry_failed=True, max_retry_attempts=3)
    if by_report:
        report(world, attempt_id, outcome="answered_no_agent")
    end_call(world, attempt_id, "answered" if by_report else "answered_no_agent")
    assert world.rows("SELECT status, outcome, attempts FROM contacts") == [("failed", "answered_no_agent", 1)]
    assert audit(world.db, world.clock.now).is_clean


def test_a_report_of_no_agent_changes_no_call_that_nobody_answered(world: World) -> None:
    (attempt_id,) = dialed(world, 1)
    report(world, attempt_id, outcome="answered_no_agent")
    end_call(world, attempt_id, "busy")
    assert world.rows("SELECT outcome FROM attempts") == [("busy",)]


def test_calls_without_an_agent_open_the_breaker_although_they_ring_and_one_with_an_agent_closes_it(
    world: World,
) -> None:
    *calls, last = dialed(world, BREAK_AFTER + 1)
    for attempt_id in calls:
        receive_and_settle(world, call_event(attempt_id, "ringing", world.clock.now))
        receive_and_settle(world, call_event(attempt_id, "answered", world.clock.now))
        end_call(world, attempt_id, "answered_no_agent")
    assert breaker(world) == (BREAK_AFTER, "answered_no_agent", world.clock.now, True)
    advance_clock(world, FIRST_PAUSE_SECONDS)
    receive_and_settle(world, call_event(last, "ringing", world.clock.now))
    assert breaker(world) is not None
    end_call(world, last, "answered", talk_seconds=9.0)
    assert breaker(world) is None


def test_a_call_with_an_agent_in_between_starts_the_count_again(world: World) -> None:
    calls = dialed(world, BREAK_AFTER + 1)
    for nth, attempt_id in enumerate(calls):
        end_call(world, attempt_id, "answered" if nth == 5 else "answered_no_agent")
    assert breaker(world) == (BREAK_AFTER - 5, "answered_no_agent", None, True)
