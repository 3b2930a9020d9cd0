"""Audit: contacts, attempts, reports and counts that disagree, and what nobody would ever look at again (P5)."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.ledger_rows import NOW, Ledger, audit_violations
from support.world import World


@pytest.fixture
def ledger(world: World) -> Ledger:
    """A clean ledger: contact 0 was reached, 1 was busy, 2 is in a call, 3 waits for a retry, 4 and 5 are pending."""
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, outcome="answered")
    ledger.attempt(1, begin=0, end=30, outcome="busy")
    ledger.attempt(2, begin=200)
    ledger.attempt(3, begin=0, end=1, outcome=None)
    ledger.write()
    assert audit_violations(world) == ledger.violations() == {}
    return ledger


def test_a_contact_that_is_dialing_has_a_live_attempt(world: World, ledger: Ledger) -> None:
    _set_contact(world, ledger, 4, "status = 'dialing'")
    assert audit_violations(world) == {"P5 dialing_without_attempt": (ledger.contacts[4],)}


def test_the_contact_of_a_live_attempt_is_dialing(world: World, ledger: Ledger) -> None:
    _set_contact(world, ledger, 2, "status = 'pending'")
    live = str(world.value("SELECT id FROM attempts WHERE ended_at IS NULL"))
    assert audit_violations(world) == {"P5 live_attempt_of_idle_contact": (live,)}


@pytest.mark.parametrize("contact", [1, 3, 5])
def test_a_contact_counts_the_attempts_that_were_not_refused(world: World, ledger: Ledger, contact: int) -> None:
    _set_contact(world, ledger, contact, "attempts = attempts + 1")
    assert audit_violations(world) == {"P5 attempts_miscounted": (ledger.contacts[contact],)}


@pytest.mark.parametrize("outcome", ["answered", "busy"])
def test_a_finished_contact_has_an_attempt_to_show_for_it(world: World, ledger: Ledger, outcome: str) -> None:
    status = "completed" if outcome == "answered" else "failed"
    _set_contact(world, ledger, 4, f"status = '{status}', outcome = '{outcome}', finished_at = dialer_now()")
    assert audit_violations(world) == {"P5 finished_without_attempt": (ledger.contacts[4],)}


@pytest.mark.parametrize(
    ("contact", "change"),
    [
        (0, "outcome = 'machine'"),
        (0, "status = 'failed'"),
        (1, "status = 'completed'"),
        (1, "outcome = 'no_answer'"),
        (3, "status = 'completed', outcome = 'answered', finished_at = dialer_now()"),
    ],
)
def test_the_outcome_of_a_contact_is_that_of_its_last_attempt(
    world: World, ledger: Ledger, contact: int, change: str
) -> None:
    _set_contact(world, ledger, contact, change)
    assert audit_violations(world) == {"P5 outcome_contradicts_ledger": (ledger.contacts[contact],)}


def test_a_contact_may_fail_because_its_attempt_was_refused(world: World, ledger: Ledger) -> None:
    _set_contact(world, ledger, 3, "status = 'failed', outcome = 'invalid_number', finished_at = dialer_now()")
    assert audit_violations(world) == {}


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_batch_that_is_over_leaves_no_contact_open(world: World, ledger: Ledger, status: str) -> None:
    world.sql("UPDATE batches SET status = :status", status=status)
    assert audit_violations(world) == {}
    world.change_pages()
    assert audit_violations(world) == {}
    _set_contact(world, ledger, 5, "status = 'waiting', finished_at = NULL")
    assert audit_violations(world) == {"P5 open_contact_of_final_batch": (ledger.contacts[5],)}


def test_a_batch_counts_its_contacts(world: World, ledger: Ledger) -> None:
    world.sql("UPDATE batch_progress SET completed = completed + 1, total = total + 1")
    assert audit_violations(world) == {"P5 counts_drifted": (str(ledger.batch_id),)}


def test_a_batch_without_counts_is_found(world: World, ledger: Ledger) -> None:
    world.sql("DELETE FROM batch_progress")
    assert audit_violations(world) == {"P5 counts_drifted": (str(ledger.batch_id),)}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batch_days SET attempts = attempts + 1",
        "DELETE FROM batch_days",
        "INSERT INTO batch_days (batch_id, local_on, attempts) SELECT id, '2026-03-01', 1 FROM batches",
    ],
)
def test_a_day_counts_the_attempts_that_were_not_refused(world: World, ledger: Ledger, change: str) -> None:
    world.sql(change)
    assert audit_violations(world) == {"P5 days_drifted": (str(ledger.batch_id),)}


def test_a_report_is_settled_within_five_minutes(world: World, ledger: Ledger) -> None:
    live = str(world.value("SELECT id FROM attempts WHERE ended_at IS NULL"))
    report = ledger.report(live, "ended", verdict=None, outcome="busy")
    _wait(world, minutes=5)
    assert audit_violations(world) == ledger.violations() == {}
    _wait(world, minutes=5, seconds=1)
    assert audit_violations(world) == ledger.violations() == {"P5 report_unsettled": (report,)}


def test_what_a_settled_report_said_is_in_the_ledger(world: World, ledger: Ledger) -> None:
    ids = [str(row.id) for row in world.rows("SELECT id FROM attempts ORDER BY created_at, contact_id")]
    answered, busy = (
        str(world.value("SELECT id FROM attempts WHERE outcome = :outcome", outcome=outcome))
        for outcome in ("answered", "busy")
    )
    ledger.report(answered, "ended", "applied", outcome="answered")
    ledger.report(answered, "ended", "late", outcome="busy")
    assert audit_violations(world) == {}
    forgotten = [
        ledger.report(ids[-1], "ended", "late", outcome="busy"),
        ledger.report(busy, "ended", "applied", outcome="answered"),
        ledger.report(busy, "ringing", "unknown_attempt"),
    ]
    assert audit_violations(world) == ledger.violations() == {"P5 report_forgotten": tuple(forgotten)}


def test_a_live_attempt_is_looked_after(world: World, ledger: Ledger) -> None:
    live = str(world.value("SELECT id FROM attempts WHERE ended_at IS NULL"))
    _wait(world, minutes=10)
    assert audit_violations(world) == {}
    world.sql("UPDATE attempts SET rescue_at = rescue_at - interval '1 second' WHERE rescue_at IS NOT NULL")
    assert audit_violations(world) == {"P5 attempt_unattended": (live,)}


def test_a_live_attempt_that_nobody_will_look_after_is_found(world: World, ledger: Ledger) -> None:
    live = str(world.value("SELECT id FROM attempts WHERE ended_at IS NULL"))
    with _without_checks(world, "attempts"):
        world.sql("UPDATE attempts SET rescue_at = NULL")
        assert audit_violations(world) == {"P5 attempt_unattended": (live,)}


def test_a_retry_is_requeued_when_it_is_due(world: World, ledger: Ledger) -> None:
    _wait(world, minutes=10)
    _set_contact(world, ledger, 3, "due_at = dialer_now() - interval '10 minutes'")
    assert audit_violations(world) == {}
    _set_contact(world, ledger, 3, "due_at = dialer_now() - interval '601 seconds'")
    assert audit_violations(world) == {"P5 retry_overdue": (ledger.contacts[3],)}


@pytest.mark.parametrize(
    "asleep",
    [
        pytest.param("held_by = NULL", id="for no reason"),
        pytest.param("held_by = 'slots', dialing = 0, failed = failed + 1", id="waiting for calls that are over"),
        pytest.param("pending = 0, waiting = 0, dialing = 0, failed = failed + pending + waiting + dialing", id="done"),
    ],
)
def test_an_active_batch_that_nothing_will_wake_is_found(world: World, ledger: Ledger, asleep: str) -> None:
    world.sql(f"UPDATE batch_progress SET next_dispatch_at = NULL, {asleep}")
    rules = audit_violations(world)
    rules.pop("P5 counts_drifted", None)
    assert rules == {"P5 batch_asleep": (str(ledger.batch_id),)}


def test_a_batch_whose_calls_will_wake_it_may_sleep(world: World, ledger: Ledger) -> None:
    world.sql("UPDATE batch_progress SET next_dispatch_at = NULL, held_by = 'slots'")
    assert audit_violations(world) == {}


def test_a_batch_that_is_due_is_dispatched(world: World, ledger: Ledger) -> None:
    world.sql("UPDATE batch_progress SET next_dispatch_at = dialer_now() - interval '601 seconds'")
    assert audit_violations(world) == {"P5 dispatch_overdue": (str(ledger.batch_id),)}
    world.sql("UPDATE batches SET status = 'paused'")
    assert audit_violations(world) == {}


def test_a_scheduled_batch_starts(world: World, ledger: Ledger) -> None:
    late = Ledger(world, start=False, name="late")
    world.sql(
        "UPDATE batches SET status = 'scheduled', scheduled_at = CAST(:at AS timestamptz) WHERE id = :id",
        at="2026-03-02T07:54:59Z",
        id=late.batch_id,
    )
    assert audit_violations(world) == late.violations() == {"P5 start_overdue": (str(late.batch_id),)}
    assert ledger.violations() == {}


def test_a_contact_in_a_lane_that_its_batch_does_not_look_at_is_found(world: World, ledger: Ledger) -> None:
    _set_contact(world, ledger, 4, "lane = 'Europe/Berlin'")
    assert audit_violations(world) == {"P5 lane_not_served": (ledger.contacts[4],)}


def _set_contact(world: World, ledger: Ledger, contact: int, change: str) -> None:
    assert world.sql(f"UPDATE contacts SET {change} WHERE id = :id", id=ledger.contacts[contact]) == 1


def _wait(world: World, **duration: int) -> None:
    """Let time pass in which everything else is looked after."""
    world.clock.now = NOW.add(**duration)
    world.sql("UPDATE batch_progress SET next_dispatch_at = dialer_now()")
    world.sql("UPDATE contacts SET due_at = dialer_now()")


@contextmanager
def _without_checks(world: World, table: str) -> Iterator[None]:
    checks = world.rows(
        "SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint "
        "WHERE conrelid = CAST(:table AS regclass) AND contype = 'c'",
        table=table,
    )
    for check in checks:
        world.sql(f"ALTER TABLE {table} DROP CONSTRAINT {check.name}")
    try:
        yield
    finally:
        world.sql(f"TRUNCATE {table}")
        for check in checks:
            world.sql(f"ALTER TABLE {table} ADD CONSTRAINT {check.name} {check.definition}")
