"""Dispatch: from a due batch to calls in the network, and what becomes of what the network answers."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import CauseClass
from dialer.domain.timeouts import PLACE_SECONDS
from dialer.domain.trunk import Trunk
from dialer.engine.context import EngineContext
from dialer.engine.departure import MOST_TOGETHER
from dialer.engine.dispatch import dispatch
from dialer.engine.retry import retry
from dialer.engine.settle import SettleReport
from dialer.engine.tick import tick
from dialer.providers.base import CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.pool import ProviderPool
from dialer.store.database import rows
from support.deadline import wait_until
from support.engine_steps import (
    DispatchSummary,
    advance_clock,
    assert_audit_is_clean,
    call_event,
    day_allowance,
    dispatch_and_place,
    end_call,
    held_leases,
    live_attempts,
    lock_waiters,
    next_dispatch,
    receive_and_settle,
    set_limit,
)
from support.world import MONDAY, World, made_up_phones

MakeWorld = Callable[..., World]


class Answering(ProviderPool):
    """ProviderPool whose networks answer every call in the same way."""

    def __init__(self, answer: Callable[[CallRequest], Placement]) -> None:
        super().__init__(_no_provider, lambda: MONDAY)
        self._answer = answer

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        return {request.attempt_id: self._answer(request) for _, request in calls}


def _no_provider(trunk: Trunk) -> Any:
    raise AssertionError(trunk)


def refusing(world: World, cause_class: CauseClass, cause: str = "503") -> EngineContext:
    return replace(world.context, providers=Answering(lambda _: Refused(cause, cause_class)))


def contact(world: World) -> Any:
    (row,) = world.rows("SELECT status, status_reason, outcome, attempts, refusals, due_at FROM contacts")
    return row


def attempts(world: World) -> int:
    return int(world.value("SELECT count(*) FROM attempts"))


def test_a_batch_is_called_to_its_end_and_holds_nothing_then(world: World) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 100, max_concurrent_calls = 3")
    batch_id = world.batch(25)
    world.run(lambda: world.is_over(batch_id))
    progress = world.progress(batch_id)
    assert progress.status == "completed"
    assert progress.completed + progress.failed == progress.total == 25
    assert len(world.network.log) == 25
    assert held_leases(world) == {}
    assert day_allowance(world) == 25


def test_contacts_are_called_by_priority_then_due_time_then_position(world: World) -> None:
    batch_id = world.batch(8, max_concurrent_calls=1)
    phones = made_up_phones(8)
    order = [5, 7, 6, 0, 4, 1, 2, 3]
    world.sql("UPDATE contacts SET priority = 1 WHERE phone_number = ANY(:all)", all=[phones[n] for n in (5, 6, 7)])
    world.sql("UPDATE contacts SET priority = 9 WHERE phone_number = ANY(:all)", all=[phones[n] for n in (1, 2, 3)])
    world.sql(
        "UPDATE contacts SET due_at = due_at + interval '1 second' WHERE phone_number = ANY(:all)",
        all=[phones[n] for n in (4, 6)],
    )
    world.run(lambda: world.is_over(batch_id))
    assert [call.to_number for call in world.network.log] == [phones[n] for n in order]


def test_contacts_added_to_a_batch_that_has_nobody_left_to_call_are_called(world: World) -> None:
    batch_id = world.batch(2)
    dispatch_and_place(world, batch_id)
    assert next_dispatch(world, batch_id) == (None, "calls")
    world.add(batch_id, made_up_phones(3, first=2))
    assert next_dispatch(world, batch_id)[0] == world.clock.now
    world.run(lambda: world.is_over(batch_id))
    assert len(world.network.log) == 5


def test_a_batch_of_no_calls_in_progress_and_none_to_come_is_completed(world: World) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    end_call(world, live_attempts(world)[0])
    assert world.progress(batch_id).status == "active"
    assert dispatch_and_place(world, batch_id) == DispatchSummary()
    assert world.progress(batch_id).status == "completed"
    assert next_dispatch(world, batch_id) == (None, None)


def test_what_is_not_active_or_does_not_exist_is_passed_over(world: World) -> None:
    draft = world.batch(1, start=False)
    nobody = BatchId(world.installed.agent_id)
    assert dispatch_and_place(world, draft, nobody) == dispatch_and_place(world) == DispatchSummary()
    assert attempts(world) == 0


def test_a_refused_contact_keeps_its_attempts_and_waits_longer_each_time(world: World) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 5")
    batch_id = world.batch(1, max_calls_per_day=5)
    context = refusing(world, CauseClass.INFRASTRUCTURE)
    for refusals, wait in enumerate((15, 30, 60, 120, 240, 480, 600, 600), start=1):
        assert dispatch_and_place(world, batch_id, context=context).refused == 1
        row = contact(world)
        assert (row.status, row.status_reason, row.attempts, row.refusals) == ("waiting", "503", 0, refusals)
        assert row.due_at == world.clock.now.add(seconds=wait)
        assert next_dispatch(world, batch_id)[0] == world.clock.now.add(seconds=1)
        assert held_leases(world) == {}
        assert day_allowance(world) == world.value("SELECT attempts FROM batch_days") == 0
        advance_clock(world, wait)
        assert retry(world.context, world.clock.now).requeued == 1
    assert_audit_is_clean(world)
    assert dispatch_and_place(world, batch_id).placed == 1


def test_a_contact_that_is_refused_for_its_own_fault_has_failed(world: World) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=3)
    dispatch_and_place(world, batch_id, context=refusing(world, CauseClass.CONTACT, "404"))
    row = contact(world)
    assert (row.status, row.status_reason, row.outcome, row.attempts) == ("failed", "404", "invalid_number", 0)
    advance_clock(world, 1)
    world.step()
    assert world.progress(batch_id).status == "completed"
    assert_audit_is_clean(world)


def test_what_no_network_answered_is_unclear_and_keeps_its_slot(make_world: MakeWorld) -> None:
    world = make_world(faults={"timeout_before": 1})
    batch_id = world.batch(3, max_concurrent_calls=3)
    assert dispatch_and_place(world, batch_id).unclear == 3
    assert [row.state for row in world.rows("SELECT state FROM attempts")] == ["unclear"] * 3
    assert world.progress(batch_id).dialing == len(held_leases(world)["{dialer}:holds"]) == 3


def test_a_provider_that_raises_has_left_the_call_unclear(world: World) -> None:
    class Broken:
        async def place(self, request: CallRequest) -> Placement:
            raise RuntimeError(f"socket closed in the middle of {request}")

        async def close(self) -> None:
            """Nothing is held."""

    pool = ProviderPool(lambda _: Broken(), world.clock)  # type: ignore[arg-type,return-value]
    batch_id = world.batch(1)
    assert dispatch_and_place(world, batch_id, context=replace(world.context, providers=pool)).unclear == 1
    pool.close()
    (row,) = world.rows("SELECT state, cause FROM attempts")
    assert (row.state, "socket closed in the middle" in row.cause) == ("unclear", True)


def test_a_worker_that_slept_before_placing_sends_nothing(world: World) -> None:
    batch_id = world.batch(2)

    class Sleepy(ProviderPool):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            advance_clock(world, PLACE_SECONDS)
            return world.providers.place_all(calls)

    sleepy = Sleepy(_no_provider, world.clock)
    assert dispatch_and_place(world, batch_id, context=replace(world.context, providers=sleepy)).refused == 2
    assert len(world.network.log) == 0


def test_reports_that_overtake_the_answer_have_the_say(world: World) -> None:
    batch_id = world.batch(1)

    def answer(request: CallRequest) -> Placement:
        end_call(world, request.attempt_id, "busy")
        return Placed("late")

    dispatch_and_place(world, batch_id, context=replace(world.context, providers=Answering(answer)))
    (row,) = world.rows("SELECT state, outcome FROM attempts")
    assert tuple(row) == ("ended", "busy")
    assert held_leases(world) == {}


@pytest.mark.parametrize("late", [Placed("late"), Unclear("no answer")], ids=["placed", "unclear"])
@pytest.mark.parametrize("kind", ["ringing", "answered"])
def test_a_report_of_a_call_that_goes_on_has_the_say_over_an_answer_that_comes_after_it(
    world: World, kind: str, late: Placement
) -> None:
    batch_id = world.batch(1)

    def answer(request: CallRequest) -> Placement:
        receive_and_settle(world, call_event(request.attempt_id, kind, world.clock.now, provider_call_id="its own"))
        return late

    dispatch_and_place(world, batch_id, context=replace(world.context, providers=Answering(answer)))
    assert world.rows("SELECT state, provider_call_id, cause FROM attempts") == [(kind, "its own", None)]


def test_noting_answers_and_settling_reports_at_once_never_wait_in_a_circle(world: World) -> None:
    batch_id = world.batch(2)
    settling: list[Future[SettleReport]] = []

    class Overtaken(Answering):
        """An older call is unclear and a newer one placed, while someone settles reports of both."""

        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            older, newer = sorted(request.attempt_id for _, request in calls)
            rows(operator, "SELECT 1 FROM attempts WHERE id = :id FOR UPDATE", id=older)
            ends = [call_event(of, "ended", world.clock.now, "busy") for of in (older, newer)]
            settling.append(pool.submit(receive_and_settle, world, *ends))
            wait_until(lambda: lock_waiters(world) == 1)
            return {older: Unclear("no answer"), newer: Placed("one")}

    context = replace(world.context, providers=Overtaken(lambda _: Placed("never")))
    with ThreadPoolExecutor(2) as pool:
        with world.db.begin() as operator:
            dispatching = pool.submit(dispatch_and_place, world, batch_id, context=context)
            wait_until(lambda: lock_waiters(world) == 2)
        assert dispatching.result().claimed == 2
        assert settling[0].result().ended == 2


def test_the_network_is_told_until_when_it_may_ring(world: World) -> None:
    asked: list[CallRequest] = []

    def answer(request: CallRequest) -> Placement:
        asked.append(request)
        return Placed("one")

    batch_id = world.batch(1, start_time="07:00", end_time="12:00")
    dispatch_and_place(world, batch_id, context=replace(world.context, providers=Answering(answer)))
    (request,) = asked
    assert (request.ring_by, request.place_by) == (MONDAY.at(12), MONDAY.add(seconds=PLACE_SECONDS))
    assert (request.to_number, request.from_number[:-1]) == (made_up_phones(1)[0], "+1202555019")


@pytest.mark.parametrize(
    ("change", "undo", "reason"),
    [
        ("UPDATE agents SET status = 'inactive'", "UPDATE agents SET status = 'active'", "agent_inactive"),
        (
            "UPDATE phone_numbers SET status = 'inactive'",
            "UPDATE phone_numbers SET status = 'active' WHERE phone_number LIKE '%1'",
            "no_active_number",
        ),
        ("UPDATE trunks SET status = 'inactive'", "UPDATE trunks SET status = 'active'", "no_active_number"),
    ],
)
def test_what_an_operator_switched_off_holds_the_batch_until_it_is_switched_on(
    world: World, change: str, undo: str, reason: str
) -> None:
    batch_id = world.batch(1)
    world.sql(change)
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (world.clock.now.add(seconds=60), reason)
    advance_clock(world, 10)
    world.sql(undo)
    assert next_dispatch(world, batch_id)[0] == world.clock.now
    assert dispatch_and_place(world, batch_id).claimed == 1


def test_no_departure_is_so_large_that_its_permit_runs_out(world: World) -> None:
    ids = [world.batch(made_up_phones(100, first=100 * n), max_concurrent_calls=100) for n in range(3)]
    report = dispatch(world.context, ids, world.clock.now, world.rng)
    assert [len(departure.requests) for departure in report.departures] == [MOST_TOGETHER, 300 - MOST_TOGETHER]
    assert len({request.attempt_id for departure in report.departures for request in departure.requests}) == 300


def test_a_batch_without_any_number_has_failed_and_lets_its_contacts_go(world: World) -> None:
    batch_id = world.batch(3)
    world.sql("UPDATE phone_numbers SET agent_id = NULL")
    dispatch_and_place(world, batch_id)
    world.change_pages()
    progress = world.progress(batch_id)
    assert (progress.status, progress.status_reason, progress.cancelled) == ("failed", "no_outbound_number", 3)
    assert_audit_is_clean(world)


def test_expired_contacts_are_skipped_with_the_reason(world: World) -> None:
    batch_id = world.batch(3)
    world.sql("UPDATE contacts SET expires_at = :now WHERE position = 1", now=world.clock.now)
    world.run(lambda: world.is_over(batch_id))
    skipped = world.rows("SELECT position, status_reason FROM contacts WHERE status = 'skipped'")
    assert [tuple(row) for row in skipped] == [(1, "expired")]
    assert len(world.network.log) == 2


def test_an_expired_batch_skips_whom_nobody_is_calling_and_completes_with_its_last_call(world: World) -> None:
    batch_id = world.batch(
        6,
        max_concurrent_calls=2,
        retry_failed=True,
        max_retry_attempts=1,
        expires_at=MONDAY.add(minutes=1).isoformat(),
    )
    dispatch_and_place(world, batch_id)
    first, second = live_attempts(world)
    end_call(world, first, "busy")
    assert world.progress(batch_id).waiting == 1
    advance_clock(world, 60)
    assert tick(world.context, world.clock.now).due == (batch_id,)
    dispatch_and_place(world, batch_id)
    world.change_pages()
    assert (world.progress(batch_id).skipped, world.progress(batch_id).dialing) == (5, 1)
    assert {row.status_reason for row in world.rows("SELECT * FROM contacts WHERE status = 'skipped'")} == {"expired"}
    dispatch_and_place(world, batch_id)
    assert next_dispatch(world, batch_id) == (None, "expired")
    end_call(world, second, "busy")
    dispatch_and_place(world, batch_id)
    world.change_pages()
    dispatch_and_place(world, batch_id)
    assert world.progress(batch_id).waiting == 0
    assert world.progress(batch_id).status == "completed"
    assert world.progress(batch_id).skipped == 6
    assert len(world.network.log) == 2


def test_an_allowance_that_suppressed_contacts_did_not_use_is_used_for_the_others(world: World) -> None:
    world.sql("UPDATE phone_numbers SET status = 'inactive' WHERE phone_number NOT LIKE '%1'")
    set_limit(world, "phone_numbers", "max_calls_per_day = 4")
    phones = made_up_phones(8)
    batch_id = world.batch(phones)
    for phone in phones[:4]:
        world.sql(
            "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)",
            workspace=world.installed.workspace_id,
            phone=phone,
        )
    assert next_dispatch(world, batch_id)[0] == world.clock.now
    assert dispatch_and_place(world, batch_id).claimed == 4


def test_a_call_that_a_report_ended_before_the_dispatch_was_over_frees_its_slot(world: World) -> None:
    batch_id = world.batch(3, max_concurrent_calls=1)
    dispatch_and_place(world, batch_id)
    (attempt_id,) = live_attempts(world)
    freed = receive_and_settle(world, call_event(attempt_id, "ended", world.clock.now, "answered")).freed
    assert freed == (batch_id,)
    assert dispatch_and_place(world, *freed).placed == 1


@pytest.mark.parametrize(("given", "asked"), [({}, 45), ({"ring_timeout_seconds": 20}, 20)])
def test_a_call_rings_as_long_as_its_batch_says(world: World, given: dict[str, Any], asked: int) -> None:
    batch_id = world.batch(1, **given)
    report = dispatch(world.context, [batch_id], world.clock.now, world.rng)
    assert [request.ring_timeout_seconds for of in report.departures for request in of.requests] == [asked]


@pytest.mark.parametrize(("passed_over", "of"), [("expired", 10), ("suppressed", 2)])
def test_contacts_that_are_passed_over_in_their_turn_use_up_nothing_of_the_rate(
    world: World, passed_over: str, of: int
) -> None:
    """Of so many, all but one are passed over."""
    set_limit(world, "trunks", "calls_per_second = 10")
    world.batch(100 * of, max_concurrent_calls=100)
    odd = f"id IN (SELECT id FROM contacts WHERE position % {of} <> 0)"
    if passed_over == "expired":
        world.sql(f"UPDATE contacts SET expires_at = dialer_now() WHERE {odd}")
    else:
        world.sql(
            "INSERT INTO suppressions (workspace_id, phone_number) "
            f"SELECT :workspace, phone_number FROM contacts WHERE {odd}",
            workspace=world.installed.workspace_id,
        )
        # Workers skip these in pages, ahead of their turn; here none does.
        world.sql("DELETE FROM suppressed_numbers")
    network = world.networks[world.installed.trunk_id]
    world.run(lambda: len(network.log) >= 100)
    placed = sorted(call.placed for call in network.log)
    assert 99 / (placed[99] - placed[0]) * 1_000_000 > 0.97 * 10
