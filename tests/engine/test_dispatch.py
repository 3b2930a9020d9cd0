"""Dispatch: from a due batch to calls in the network, whoever meddles in between."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import CauseClass
from dialer.domain.patience import PLACE_SECONDS
from dialer.engine.audit import audit
from dialer.engine.dispatch import DispatchReport
from dialer.engine.parts import Parts
from dialer.engine.retry import retry
from dialer.engine.tick import tick
from dialer.providers.base import CallRequest, Placed, Placement, Refused
from dialer.providers.carriers import Carriers
from dialer.store.database import run
from dialer.store.numbers import Trunk
from steps import at_once, day_allowance, end, go, hand_in, held, live, meddled, report
from world import MONDAY, World, made_up_phones

MakeWorld = Callable[..., World]


class Answering(Carriers):
    """Carriers whose networks answer every call in the same way."""

    def __init__(self, answer: Callable[[CallRequest], Placement]) -> None:
        super().__init__(_no_provider, lambda: MONDAY)
        self._answer = answer

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        return {request.attempt_id: self._answer(request) for _, request in calls}


def _no_provider(trunk: Trunk) -> Any:
    raise AssertionError(trunk)


def refusing(world: World, cause_class: CauseClass, cause: str = "503") -> Parts:
    return replace(world.parts, carriers=Answering(lambda _: Refused(cause, cause_class)))


def contact(world: World) -> Any:
    (row,) = world.rows("SELECT status, status_reason, outcome, attempts, refusals, due_at FROM contacts")
    return row


def attempts(world: World) -> int:
    return int(world.value("SELECT count(*) FROM attempts"))


def look(world: World, batch_id: BatchId) -> tuple[Any, str | None]:
    progress = world.progress(batch_id)
    return progress.next_dispatch_at, progress.held_by


def set_limit(world: World, table: str, limits: str) -> None:
    """Set limits as an operator does; where they void what Redis knows, it is rebuilt."""
    world.sql(f"UPDATE {table} SET {limits}")
    world.rescue()


def later(world: World, seconds: float) -> None:
    world.clock.now = world.clock.now.add(seconds=seconds)


def assert_clean(world: World) -> None:
    found = audit(world.db, world.clock.now)
    assert found.is_clean, found.violations


# The plain way


def test_a_batch_is_called_to_its_end_and_holds_nothing_then(world: World) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 100, max_concurrent_calls = 3")
    batch_id = world.batch(25)
    world.run(lambda: world.is_over(batch_id))
    progress = world.progress(batch_id)
    assert progress.status == "completed"
    assert progress.completed + progress.failed == progress.total == 25
    assert len(world.network.log) == 25
    assert held(world) == {}
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
    go(world, batch_id)
    assert look(world, batch_id) == (None, "calls")
    world.add(batch_id, made_up_phones(3, first=2))
    assert look(world, batch_id)[0] == world.clock.now
    world.run(lambda: world.is_over(batch_id))
    assert len(world.network.log) == 5


def test_a_batch_of_no_calls_in_progress_and_none_to_come_is_completed(world: World) -> None:
    batch_id = world.batch(1)
    go(world, batch_id)
    end(world, live(world)[0])
    assert world.progress(batch_id).status == "active"
    assert go(world, batch_id) == DispatchReport(0, 0, 0, 0, ())
    assert world.progress(batch_id).status == "completed"
    assert look(world, batch_id) == (None, None)


def test_what_is_not_active_or_does_not_exist_is_passed_over(world: World) -> None:
    draft = world.batch(1, start=False)
    nobody = BatchId(world.installed.agent_id)
    assert go(world, draft, nobody) == go(world) == DispatchReport(0, 0, 0, 0, ())
    assert attempts(world) == 0


# Between gather and claim


def test_a_number_that_was_suppressed_a_moment_ago_is_not_called(world: World) -> None:
    batch_id = world.batch(3)
    first, *others = made_up_phones(3)
    suppress = partial(
        world.sql,
        "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)",
        workspace=world.installed.workspace_id,
        phone=first,
    )
    go(world, batch_id, parts=meddled(world, after=suppress))
    assert [call.to_number for call in world.network.log] == others
    skipped = world.rows("SELECT phone_number, status_reason FROM contacts WHERE status = 'skipped'")
    assert [tuple(row) for row in skipped] == [(first, "suppressed")]
    assert len(held(world)["{dialer}:holds"]) == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batches SET status = 'paused'",
        "UPDATE batches SET status = 'cancelled'",
        "UPDATE batches SET max_concurrent_calls = 50",
        "UPDATE batches SET start_time = '09:00'",
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_that_is_stopped_or_edited_before_the_claim_gets_no_attempt(
    world: World, change: str, when: str
) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 100")
    batch_id = world.batch(5)
    assert go(world, batch_id, parts=meddled(world, **{when: partial(world.sql, change)})).claimed == 0
    assert attempts(world) == len(world.network.log) == 0
    assert held(world) == {}
    assert day_allowance(world) == 0
    is_active = world.progress(batch_id).status == "active"
    assert world.progress(batch_id).next_dispatch_at == (world.clock.now if is_active else None)


def test_an_edit_undoes_the_decisions_of_a_plan_that_did_not_know_it(world: World) -> None:
    expiring = world.batch(2, expires_at=world.clock.now.add(hours=1).isoformat())
    closed = world.batch(2, working_days=[1])
    world.sql("UPDATE batches SET excluded_dates = :days WHERE id = :id", id=closed, days=mondays())
    calling = world.batch(1)
    later(world, 3600)
    extend = partial(world.sql, "UPDATE batches SET expires_at = expires_at + interval '1 hour', excluded_dates = '{}'")
    report = go(world, expiring, closed, calling, parts=meddled(world, after=extend))
    assert report.claimed == 0
    assert {world.progress(batch_id).status for batch_id in (expiring, closed)} == {"active"}
    assert go(world, expiring, closed).claimed == 4


def mondays() -> list[Any]:
    return [MONDAY.add(weeks=n).date() for n in range(60)]


def test_a_window_that_closes_before_the_claim_gives_no_attempt(world: World) -> None:
    batch_id = world.batch(3, start_time="08:00", end_time="09:00")
    world.clock.now = MONDAY.at(8, 59, 45)
    begun = world.clock.now
    parts = meddled(world, after=partial(setattr, world.clock, "now", begun.add(seconds=5)))
    assert go(world, batch_id, parts=parts).claimed == 0
    assert attempts(world) == 0
    assert held(world) == {}
    assert go(world, batch_id).claimed == 0
    assert look(world, batch_id) == (MONDAY.add(days=1), "window")


def test_a_worker_whose_clock_is_ahead_does_not_open_the_window(world: World) -> None:
    batch_id = world.batch(3, start_time="09:00", end_time="17:00")
    world.clock.now = MONDAY.at(9)
    parts = meddled(world, after=partial(setattr, world.clock, "now", MONDAY.at(8, 59, 58)))
    assert go(world, batch_id, parts=parts).claimed == 0
    assert attempts(world) == 0


def test_grants_that_grew_old_before_the_claim_are_void(world: World) -> None:
    batch_id = world.batch(3)
    parts = meddled(world, after=partial(later, world, 20))
    assert go(world, batch_id, parts=parts).claimed == 0
    assert held(world) == {}
    assert go(world, batch_id).claimed == 3


def test_grants_of_an_old_epoch_are_void(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 4")
    batch_id = world.batch(4)

    def lose_and_rebuild() -> None:
        world.flush_redis()
        world.rescue()

    assert go(world, batch_id, parts=meddled(world, after=lose_and_rebuild)).claimed == 0
    assert attempts(world) == 0
    assert held(world) == {}
    assert go(world, batch_id).claimed == 4


def test_without_a_memory_redis_grants_nothing_and_says_so(world: World) -> None:
    batch_id = world.batch(4)
    world.flush_redis()
    assert go(world, batch_id) == DispatchReport(0, 0, 0, 0, (), leases_lost=True)
    assert look(world, batch_id) == (world.clock.now.add(seconds=1), "leases")


def test_a_refund_of_the_day_between_gather_and_claim_does_not_put_the_batch_to_sleep(world: World) -> None:
    batch_id = world.batch(5, max_calls_per_day=2, max_concurrent_calls=5)
    calling = world.batch(made_up_phones(1, first=50))
    go(world, batch_id)
    give_back = partial(world.sql, "UPDATE batch_days SET attempts = 1 WHERE batch_id = :id", id=batch_id)
    go(world, batch_id, calling, parts=meddled(world, after=give_back))
    assert look(world, batch_id)[0] == world.clock.now
    assert go(world, batch_id).claimed == 1


def test_a_contact_that_comes_between_gather_and_claim_does_not_sleep_with_the_others_of_its_batch(
    world: World,
) -> None:
    # Eight in the morning, UTC: too early in America, open in Berlin.
    hours: dict[str, Any] = {"start_time": "08:00", "end_time": "17:00", "timezone": "Europe/Berlin"}
    batch_id = world.batch(["+12025550100"], respect_contact_timezone=True, **hours)
    calling = world.batch(made_up_phones(1, first=50))
    add = partial(world.add, batch_id, ["+4930901820"])
    found = go(world, batch_id, calling, parts=meddled(world, after=add))
    assert batch_id in found.again
    assert go(world, batch_id).claimed == 1
    assert go(world, batch_id).claimed == 0
    assert look(world, batch_id) == (MONDAY.at(13), "contact_timezone")  # eight in Washington


# The ledger has the last word


def forget(world: World, kind: str = "*") -> None:
    """Let Redis lose sets that it had acknowledged, without noticing."""
    client: Any = world.leases._redis
    for key in list(client.scan_iter(f"{{dialer}}:{kind}:*")):
        client.delete(key)


def test_the_ledger_keeps_the_concurrency_of_a_batch_when_redis_forgets(world: World) -> None:
    batch_id = world.batch(40, max_concurrent_calls=6)
    go(world, batch_id)
    for ended in range(4):
        forget(world, "slots")
        go(world, batch_id)
        assert len(live(world)) == 6
        forget(world, "slots")
        end(world, live(world)[0])
        go(world, batch_id)
        assert (len(live(world)), attempts(world)) == (6, 7 + ended)
    assert_clean(world)


def test_an_edited_limit_counts_for_the_calls_that_are_up(world: World) -> None:
    batch_id = world.batch(40, max_concurrent_calls=6)
    go(world, batch_id)
    world.sql("UPDATE batches SET max_concurrent_calls = 3")
    for left in (5, 4, 3):
        end(world, live(world)[0])
        go(world, batch_id)
        assert len(live(world)) == left
    end(world, live(world)[0])
    assert go(world, batch_id).claimed == 1


def test_the_ledger_keeps_the_daily_cap_of_a_batch(world: World) -> None:
    batch_id = world.batch(40, max_concurrent_calls=10, max_calls_per_day=12, timezone="Pacific/Auckland")
    while go(world, batch_id).claimed:
        forget(world)
        for attempt_id in live(world):
            end(world, attempt_id)
    assert attempts(world) == 12
    assert look(world, batch_id) == (MONDAY.at(11), "daily_cap")  # midnight in Auckland
    world.clock.now = MONDAY.at(11)
    world.rescue()
    assert go(world, batch_id).claimed == 10


def test_several_dispatches_at_once_claim_each_contact_once_and_exceed_nothing(world: World) -> None:
    world.sql("UPDATE trunks SET max_concurrent_calls = 25")
    phones = made_up_phones(300)
    batch_ids = [
        world.batch(phones[n * 100 : (n + 1) * 100], max_concurrent_calls=12, max_calls_per_day=40) for n in range(3)
    ]
    for _ in range(6):
        at_once(*[partial(go, world, *batch_ids), partial(go, world, *reversed(batch_ids))] * 2)
        of_batch = Counter(row.batch_id for row in world.rows("SELECT batch_id FROM attempts WHERE rescue_at NOTNULL"))
        assert max(of_batch.values()) <= 12
        assert sum(of_batch.values()) == 25
        assert_clean(world)
        for attempt_id in live(world)[::2]:
            end(world, attempt_id)
    assert max(Counter(call.to_number for call in world.network.log).values()) == 1
    assert {str(attempt_id) for attempt_id in live(world)} == set(held(world)["{dialer}:holds"])


def test_a_contact_that_someone_is_changing_is_not_waited_for(world: World) -> None:
    batch_id = world.batch(3)
    with ThreadPoolExecutor(1) as pool, world.db.begin() as operator:
        run(operator, "UPDATE contacts SET name = 'Ada' WHERE position = 1")
        assert pool.submit(go, world, batch_id).result(10).claimed == 2
    assert look(world, batch_id)[0] == world.clock.now
    assert go(world, batch_id).claimed == 1


# What the networks answer


def test_a_refused_contact_keeps_its_attempts_and_waits_longer_each_time(world: World) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 5")
    batch_id = world.batch(1, max_calls_per_day=5)
    parts = refusing(world, CauseClass.INFRASTRUCTURE)
    for refusals, wait in enumerate((15, 30, 60, 120, 240, 480, 600, 600), start=1):
        assert go(world, batch_id, parts=parts).refused == 1
        row = contact(world)
        assert (row.status, row.status_reason, row.attempts, row.refusals) == ("waiting", "503", 0, refusals)
        assert row.due_at == world.clock.now.add(seconds=wait)
        assert look(world, batch_id)[0] == world.clock.now.add(seconds=1)
        assert held(world) == {}
        assert day_allowance(world) == world.value("SELECT attempts FROM batch_days") == 0
        later(world, wait)
        assert retry(world.parts, world.clock.now).requeued == 1
    assert_clean(world)
    assert go(world, batch_id).placed == 1


def test_a_contact_that_is_refused_for_its_own_fault_has_failed(world: World) -> None:
    batch_id = world.batch(1, retry_failed=True, max_retry_attempts=3)
    go(world, batch_id, parts=refusing(world, CauseClass.CONTACT, "404"))
    row = contact(world)
    assert (row.status, row.status_reason, row.outcome, row.attempts) == ("failed", "404", "invalid_number", 0)
    later(world, 1)
    world.step()
    assert world.progress(batch_id).status == "completed"
    assert_clean(world)


def test_what_no_network_answered_is_unclear_and_keeps_its_slot(make_world: MakeWorld) -> None:
    world = make_world(faults={"timeout_before": 1})
    batch_id = world.batch(3, max_concurrent_calls=3)
    assert go(world, batch_id).unclear == 3
    assert [row.state for row in world.rows("SELECT state FROM attempts")] == ["unclear"] * 3
    assert world.progress(batch_id).dialing == len(held(world)["{dialer}:holds"]) == 3


def test_a_provider_that_raises_has_left_the_call_unclear(world: World) -> None:
    class Broken:
        async def place(self, request: CallRequest) -> Placement:
            raise RuntimeError(f"socket closed in the middle of {request}")

        async def close(self) -> None:
            """Nothing is held."""

    carriers = Carriers(lambda _: Broken(), world.clock)  # type: ignore[arg-type,return-value]
    batch_id = world.batch(1)
    assert go(world, batch_id, parts=replace(world.parts, carriers=carriers)).unclear == 1
    carriers.close()
    (row,) = world.rows("SELECT state, cause FROM attempts")
    assert (row.state, "socket closed in the middle" in row.cause) == ("unclear", True)


def test_a_worker_that_slept_before_placing_sends_nothing(world: World) -> None:
    batch_id = world.batch(2)

    class Sleepy(Carriers):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            later(world, PLACE_SECONDS)
            return world.carriers.place_all(calls)

    sleepy = Sleepy(_no_provider, world.clock)
    assert go(world, batch_id, parts=replace(world.parts, carriers=sleepy)).refused == 2
    assert len(world.network.log) == 0


def test_reports_that_overtake_the_answer_have_the_say(world: World) -> None:
    batch_id = world.batch(1)

    def answer(request: CallRequest) -> Placement:
        end(world, request.attempt_id, "busy")
        return Placed("late")

    go(world, batch_id, parts=replace(world.parts, carriers=Answering(answer)))
    (row,) = world.rows("SELECT state, outcome FROM attempts")
    assert tuple(row) == ("ended", "busy")
    assert held(world) == {}


def test_the_network_is_told_until_when_it_may_ring(world: World) -> None:
    asked: list[CallRequest] = []

    def answer(request: CallRequest) -> Placement:
        asked.append(request)
        return Placed("one")

    batch_id = world.batch(1, start_time="07:00", end_time="12:00")
    go(world, batch_id, parts=replace(world.parts, carriers=Answering(answer)))
    (request,) = asked
    assert (request.ring_by, request.place_by) == (MONDAY.at(12), MONDAY.add(seconds=PLACE_SECONDS))
    assert (request.to_number, request.from_number[:-1]) == (made_up_phones(1)[0], "+1202555019")


# What can no longer run, and what is over


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
    assert go(world, batch_id).claimed == 0
    assert look(world, batch_id) == (world.clock.now.add(seconds=60), reason)
    later(world, 10)
    world.sql(undo)
    assert look(world, batch_id)[0] == world.clock.now
    assert go(world, batch_id).claimed == 1


def test_a_batch_without_any_number_has_failed_and_lets_its_contacts_go(world: World) -> None:
    batch_id = world.batch(3)
    world.sql("UPDATE phone_numbers SET agent_id = NULL")
    go(world, batch_id)
    progress = world.progress(batch_id)
    assert (progress.status, progress.status_reason, progress.cancelled) == ("failed", "no_outbound_number", 3)
    assert_clean(world)


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
    go(world, batch_id)
    one, two = live(world)
    end(world, one, "busy")
    assert world.progress(batch_id).waiting == 1
    later(world, 60)
    assert tick(world.parts, world.clock.now).due == (batch_id,)
    go(world, batch_id)
    assert (world.progress(batch_id).skipped, world.progress(batch_id).dialing) == (5, 1)
    assert {row.status_reason for row in world.rows("SELECT * FROM contacts WHERE status = 'skipped'")} == {"expired"}
    assert look(world, batch_id) == (None, "expired")
    end(world, two, "busy")
    go(world, batch_id)
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
    assert go(world, batch_id).again == (batch_id,)
    assert look(world, batch_id)[0] == world.clock.now
    assert go(world, batch_id).claimed == 4


def test_a_call_that_a_report_ended_before_the_dispatch_was_over_frees_its_slot(world: World) -> None:
    batch_id = world.batch(3, max_concurrent_calls=1)
    go(world, batch_id)
    (attempt_id,) = live(world)
    freed = hand_in(world, report(attempt_id, "ended", world.clock.now, "answered")).freed
    assert freed == (batch_id,)
    assert go(world, *freed).placed == 1
