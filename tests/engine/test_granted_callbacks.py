"""Callbacks that a person asked for in a call: one more call, whatever the retry rules are."""

from typing import Any

import pytest
from pendulum import DateTime

from dialer.domain.call import CallFacts
from dialer.domain.ids import AttemptId, BatchId
from dialer.engine.retry import retry
from dialer.errors import InvalidInput, StateConflict
from dialer.service import batches, call_reports
from dialer.service.call_reports import CallReport
from support.engine_steps import (
    assert_audit_is_clean,
    call_event,
    dispatch_and_place,
    end_call,
    live_attempts,
    receive_and_settle,
)
from support.world import MONDAY, World

NOON = MONDAY.at(12)
HOURS: dict[str, Any] = {"start_time": "07:00", "end_time": "17:00"}


def called(world: World, count: int = 1, **options: Any) -> tuple[BatchId, AttemptId]:
    """Return a batch and its first call, which is in progress. One contact more keeps the batch open."""
    batch_id = world.batch(count + 1, **HOURS | {"max_concurrent_calls": count} | options)
    dispatch_and_place(world, batch_id)
    return batch_id, live_attempts(world)[0]


def report(world: World, attempt_id: AttemptId, **fields: Any) -> dict[str, Any]:
    (row,) = world.rows("SELECT batch_id FROM attempts WHERE id = :id", id=attempt_id)
    of = world.installed.workspace_id
    return call_reports.report(world.db, of, row.batch_id, attempt_id, CallReport(**fields), world.clock.now)


def contact(world: World, attempt_id: AttemptId) -> Any:
    (row,) = world.rows(
        """
        SELECT c.status, c.outcome, c.waits_for, c.due_at, c.priority, c.attempts, c.attempts_allowed, c.finished_at
        FROM contacts c JOIN attempts a ON a.contact_id = c.id WHERE a.id = :id
        """,
        id=attempt_id,
    )
    return row


def callback(world: World, attempt_id: AttemptId) -> tuple[DateTime | None, str | None]:
    (row,) = world.rows("SELECT callback_at, callback_refused FROM attempts WHERE id = :id", id=attempt_id)
    return row.callback_at, row.callback_refused


def ask(world: World, attempt_id: AttemptId, way: str, at: str, outcome: str = "answered", **facts: Any) -> None:
    """End a call in which a callback was asked for: reported while it was up, with its end, or later."""
    if way == "during":
        report(world, attempt_id, callback_at=at, **facts)
    of_end = CallFacts(callback_at=at, **facts) if way == "with the end" else CallFacts()
    end_call(world, attempt_id, outcome, facts=of_end)
    if way == "after":
        report(world, attempt_id, callback_at=at, **facts)
    if way == "late":
        late = call_event(attempt_id, "ended", world.clock.now, "answered", key="2", facts=CallFacts(callback_at=at))
        receive_and_settle(world, late)


WAYS = pytest.mark.parametrize("way", ["during", "with the end", "after", "late"])


@WAYS
@pytest.mark.parametrize("outcome", ["answered", "busy", "unknown"])
def test_the_contact_is_called_once_more_at_its_time_before_all_others(world: World, way: str, outcome: str) -> None:
    batch_id, attempt_id = called(world)
    ask(world, attempt_id, way, "2026-03-02T12:00Z", outcome)
    assert callback(world, attempt_id) == (NOON, None)
    assert contact(world, attempt_id) == ("waiting", outcome, "callback", NOON, 0, 1, 2, None)
    dispatch_and_place(world, batch_id)
    (other,) = live_attempts(world)
    assert contact(world, other) != contact(world, attempt_id)
    world.clock.now = NOON
    retry(world.context, NOON)
    end_call(world, other, "busy")
    dispatch_and_place(world, batch_id)
    (again,) = live_attempts(world)
    end_call(world, again, "no_answer")
    assert contact(world, attempt_id)[:2] == ("failed", "no_answer")
    assert contact(world, attempt_id).attempts == 2
    dispatch_and_place(world, batch_id)
    assert world.progress(batch_id).status == "completed"
    assert_audit_is_clean(world)


@WAYS
def test_one_call_grants_one_callback_however_often_it_is_reported(world: World, way: str) -> None:
    _, attempt_id = called(world)
    ask(world, attempt_id, way, "2026-03-02T12:00Z")
    before = contact(world, attempt_id)
    report(world, attempt_id, callback_at="2026-03-02T13:00+01:00")
    assert contact(world, attempt_id) == before
    report(world, attempt_id, callback_at="2026-03-02T13:00Z")
    assert (contact(world, attempt_id).due_at, contact(world, attempt_id).attempts_allowed) == (NOON.add(hours=1), 2)


def test_the_same_report_is_no_error_when_its_time_has_passed(world: World) -> None:
    _, attempt_id = called(world)
    ask(world, attempt_id, "after", "2026-03-02T12:00Z")
    world.clock.now = NOON.add(hours=1)
    report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    with pytest.raises(InvalidInput, match="must lie ahead"):
        report(world, attempt_id, callback_at="2026-03-02T12:01Z")


def test_a_callback_that_was_called_already_is_not_granted_again(world: World) -> None:
    batch_id, attempt_id = called(world)
    ask(world, attempt_id, "after", "2026-03-02T12:00Z")
    world.clock.now = NOON
    retry(world.context, NOON)
    dispatch_and_place(world, batch_id)
    for over in (False, True):
        with pytest.raises(StateConflict) as refused:
            report(world, attempt_id, callback_at="2026-03-02T15:00Z")
        assert refused.value.code == "call_is_not_last"
        if not over:
            end_call(world, live_attempts(world)[0])
    assert_audit_is_clean(world)


def test_retries_go_on_after_a_callback_as_far_as_the_rules_allow(world: World) -> None:
    batch_id, attempt_id = called(world, retry_failed=True, max_retry_attempts=1, retry_delays={"busy": 1})
    ask(world, attempt_id, "with the end", "2026-03-02T08:30Z")
    for attempts in (2, 2):
        world.clock.now = MONDAY.at(8, 30) if world.clock.now < MONDAY.at(8, 30) else world.clock.now.add(minutes=2)
        retry(world.context, world.clock.now)
        dispatch_and_place(world, batch_id)
        if live_attempts(world):
            end_call(world, live_attempts(world)[0], "busy")
        assert contact(world, attempt_id).attempts == attempts
    assert contact(world, attempt_id)[:2] == ("failed", "busy")
    assert_audit_is_clean(world)


def test_a_callback_is_called_although_the_retries_were_taken_back(world: World) -> None:
    batch_id, attempt_id = called(world, retry_failed=True, max_retry_attempts=3)
    ask(world, attempt_id, "during", "2026-03-02T12:00Z", "busy")
    world.sql("UPDATE batches SET retry_failed = false")
    world.clock.now = NOON
    retry(world.context, NOON)
    dispatch_and_place(world, batch_id)
    assert contact(world, attempt_id).status == "dialing"


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("soon", "must be a time in ISO 8601, as in 2030-01-31T18:00+01:00"),
        ("", "must be a time in ISO 8601, as in 2030-01-31T18:00+01:00"),
        ("2026-03-03", "must be a time in ISO 8601, as in 2030-01-31T18:00+01:00"),
        ("2026-03-02T07:30Z", "must lie ahead"),
        ("0001-01-01T00:00+14:00", "is no moment between the years 1 and 9999"),
        ("2026-03-02T18:00Z", "lies outside the calling window; calls may start again at 2026-03-03T07:00:00Z"),
        ("2026-04-02T12:00Z", "must be earlier than 2026-03-20T00:00:00Z, when the contact expires"),
    ],
)
@pytest.mark.parametrize("way", ["with the end", "late"])
def test_a_wrong_callback_is_refused_with_its_reason_and_the_end_of_the_call_is_settled(
    world: World, way: str, at: str, reason: str
) -> None:
    _, attempt_id = called(world, expires_at="2026-03-20T00:00")
    ask(world, attempt_id, way, at)
    assert callback(world, attempt_id) == (None, reason)
    assert contact(world, attempt_id)[:2] == ("completed", "answered")
    assert world.rows("SELECT id FROM inbox WHERE settled_at IS NULL OR verdict = 'quarantined'") == []


def test_a_wrong_callback_leaves_an_earlier_one_as_it_is(world: World) -> None:
    _, attempt_id = called(world)
    report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    ask(world, attempt_id, "with the end", "2026-03-01T12:00Z")
    assert callback(world, attempt_id) == (NOON, "must lie ahead")
    assert contact(world, attempt_id).due_at == NOON


@WAYS
def test_an_opt_out_wins(world: World, way: str) -> None:
    _, attempt_id = called(world)
    if way == "late":
        end_call(world, attempt_id)
        facts = CallFacts(callback_at="2026-03-02T12:00Z", opt_out=True)
        receive_and_settle(world, call_event(attempt_id, "ended", world.clock.now, "answered", key="2", facts=facts))
    else:
        ask(world, attempt_id, way, "2026-03-02T12:00Z", opt_out=True)
    assert callback(world, attempt_id) == (None, "the person opted out")
    assert contact(world, attempt_id).status == "completed"


def test_an_opt_out_at_the_end_takes_back_a_callback_of_the_same_call(world: World) -> None:
    _, attempt_id = called(world)
    report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    end_call(world, attempt_id, facts=CallFacts(opt_out=True))
    assert callback(world, attempt_id) == (None, "the person opted out")
    assert contact(world, attempt_id).status == "completed"


@pytest.mark.parametrize("way", ["with the end", "late"])
def test_a_suppressed_number_is_not_called_back(world: World, way: str) -> None:
    _, attempt_id = called(world)
    world.sql("INSERT INTO suppressions (workspace_id, phone_number) SELECT workspace_id, to_number FROM attempts")
    ask(world, attempt_id, way, "2026-03-02T12:00Z")
    assert contact(world, attempt_id).status == "completed"
    assert callback(world, attempt_id)[1] in (
        "the number is suppressed",
        "The number is suppressed; it is not called back",
    )
    with pytest.raises(StateConflict) as refused:
        report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    assert refused.value.code == "number_suppressed"


def test_nobody_is_called_back_once_the_batch_is_over(world: World) -> None:
    batch_id, attempt_id = called(world)
    report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    batches.cancel(world.db, world.installed.workspace_id, batch_id, batches.Cancellation())
    end_call(world, attempt_id)
    assert callback(world, attempt_id) == (None, "the batch is cancelled")
    assert contact(world, attempt_id).status == "completed"
    with pytest.raises(StateConflict) as refused:
        report(world, attempt_id, callback_at="2026-03-02T12:00Z", disposition="x")
    assert refused.value.code == "batch_is_final"
    assert world.rows("SELECT disposition FROM attempts") == [(None,)]


def test_a_call_that_was_never_made_grants_nothing(world: World) -> None:
    _batch_id, attempt_id = called(world)
    world.sql("UPDATE attempts SET state = 'refused', ended_at = created_at, rescue_at = NULL")
    with pytest.raises(StateConflict) as refused:
        report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    assert refused.value.code == "call_was_refused"


def test_a_contact_that_was_taken_out_is_not_called_back(world: World) -> None:
    _batch_id, attempt_id = called(world, retry_failed=True, max_retry_attempts=1)
    end_call(world, attempt_id, "busy")
    world.sql("UPDATE contacts SET status = 'cancelled', finished_at = dialer_now() WHERE status = 'waiting'")
    with pytest.raises(StateConflict) as refused:
        report(world, attempt_id, callback_at="2026-03-02T12:00Z")
    assert refused.value.code == "contact_is_final"
