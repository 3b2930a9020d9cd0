"""Audit: a real ledger is clean, and whatever breaks P1 or P2 in one is found and named."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialer.domain.ids import BatchId
from dialer.engine.audit import AuditReport, audit
from dialer.errors import NotFound
from dialer.store.database import Database
from support.ledger_rows import NOW, TERMS, Ledger, audit_violations
from support.world import MONDAY, World

FAULTY = {"lost": 0.1, "repeated": 0.1, "reordered": 0.1, "refused": 0.1, "timeout_before": 0.1, "timeout_after": 0.1}


def test_an_empty_database_is_clean(db: Database) -> None:
    assert audit(db, MONDAY) == AuditReport((), attempts=0, contacts=0, batches=0)


def test_a_batch_that_is_not_there_is_no_clean_batch(db: Database) -> None:
    with pytest.raises(NotFound):
        audit(db, MONDAY, BatchId(UUID(int=1)))


def test_whatever_the_network_does_every_step_leaves_the_ledger_clean(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"answered": 1, "busy": 1, "no_answer": 1}, faults=FAULTY)
    batch_id = world.batch(12, retry_failed=True, max_retry_attempts=2, timezone="Europe/Berlin", end_time="12:00")

    def check() -> None:
        assert audit_violations(world) == {}

    world.run(lambda: world.is_over(batch_id), grain=5, each=check)
    report = audit(world.db, world.clock.now, batch_id)
    assert report.is_clean
    assert (report.contacts, report.batches) == (12, 1)
    assert report.attempts > 12


@pytest.mark.parametrize(
    ("term", "value", "rule"),
    [
        ("max_attempts", "0", "P1 too_many_attempts"),
        ("max_concurrent_calls", "1", "P2 batch_concurrency"),
        ("number_max_concurrent_calls", "1", "P2 number_concurrency"),
        ("trunk_max_concurrent_calls", "1", "P2 trunk_concurrency"),
        ("max_calls_per_day", "1", "P2 batch_daily_cap"),
        ("number_max_calls_per_day", "1", "P2 number_daily_cap"),
        ("trunk_rate_limit", "1", "P2 trunk_rate"),
        ("trunk_rate_window_ms", "2000", "P2 trunk_rate"),
        ("day_timezone", '"Pacific/Pago_Pago"', "P2 wrong_local_day"),
        ("start_time", '"09:00"', "P3 outside_window"),
        ("end_time", '"07:00"', "P3 outside_window"),
        ("working_days", "[2]", "P3 outside_window"),
        ("excluded_dates", '["2026-03-02"]', "P3 outside_window"),
        ("timezones", '["Mars/Olympus"]', "P3 unknown_zone"),
    ],
)
def test_what_dispatch_stores_is_what_is_judged(world: World, term: str, value: str, rule: str) -> None:
    world.sql("UPDATE trunks SET calls_per_second = 2")
    batch_id = world.batch(3, phone_number_ids=world.installed.number_ids[:1], max_concurrent_calls=2)
    world.run(lambda: world.is_over(batch_id))
    assert audit_violations(world) == {}
    world.sql(
        "UPDATE attempts SET allowed_by = jsonb_set(allowed_by, ARRAY[:term], CAST(:value AS jsonb), false)",
        term=term,
        value=value,
    )
    assert set(audit_violations(world)) == {rule}


def test_a_report_says_how_often_a_rule_is_broken_and_shows_twenty_rows(world: World) -> None:
    ledger = Ledger(world, 25)
    for contact in range(25):
        ledger.attempt(contact, begin=contact, end=contact + 0.5, utc_on="2026-03-01")
    ledger.write()
    (violation,) = audit(world.db, NOW).violations
    assert (violation.count, len(violation.rows)) == (25, 20)
    assert violation.message.endswith("counts to 2026-03-01 in UTC (24 more like it).")
    assert json.loads(audit(world.db, NOW).to_json())["violations"][0]["rule"] == "wrong_utc_day"


def test_attempts_of_one_contact_must_not_overlap(world: World) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, max_attempts=3)
    second = ledger.attempt(0, begin=29, end=60, max_attempts=3)
    ledger.attempt(0, begin=60, end=90, max_attempts=3)
    ledger.write()
    assert audit_violations(world) == {"P1 overlapping_attempts": (second,)}


def test_a_live_attempt_must_not_have_begun_before_the_one_before_it_ended(world: World) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, max_attempts=2)
    second = ledger.attempt(0, begin=29, max_attempts=2)
    ledger.write()
    assert audit_violations(world) == {"P1 overlapping_attempts": (second,)}


def test_a_contact_must_not_have_two_live_attempts(world: World) -> None:
    with _without_index(world, "attempts_one_live_per_contact"):
        ledger = Ledger(world)
        ledger.attempt(0, begin=0, max_attempts=2)
        ledger.attempt(0, begin=10, max_attempts=2)
        ledger.write()
        assert audit_violations(world) == {"P1 several_live_attempts": (ledger.contacts[0],)}


def test_a_person_must_not_get_more_calls_than_each_attempt_allowed(world: World) -> None:
    allowed_by = {**TERMS, "max_attempts": 9, "person_limits": [{"attempts": 2, "hours": 1}] * 2}
    first, second = Ledger(world), Ledger(world)
    for contact in range(3):
        first.attempt(contact, begin=0, end=1)
    # Those of the second contact are an hour after the first one, and one of the third was refused.
    second.attempt(2, begin=10, end=11, outcome=None, allowed_by=allowed_by)
    later = [
        second.attempt(contact, begin=begin, end=begin + 1, allowed_by=allowed_by)
        for contact, begin in ((0, 3597), (1, 3598), (2, 3599), (0, 3599), (1, 3600))
    ]
    first.write()
    second.write()
    assert second.violations() == audit_violations(world) == {"P2 person_limit": (later[3],)}


@pytest.mark.parametrize(("begin", "is_broken"), [(1, True), (29, True), (30, False)])
def test_a_person_must_not_be_in_two_calls_of_two_batches(world: World, begin: int, is_broken: bool) -> None:
    first, second = Ledger(world), Ledger(world)
    first.attempt(0, begin=0, end=30, placed_at=MONDAY)
    first.attempt(1, begin=0, end=30, placed_at=MONDAY, to_number="+12015550009")
    attempt_id = second.attempt(0, begin=begin, end=90, placed_at=MONDAY.add(seconds=begin))
    first.write()
    second.write()
    expected = {"P1 person_in_two_calls": (attempt_id,)} if is_broken else {}
    assert audit_violations(world) == second.violations() == expected


def test_two_attempts_must_not_share_a_call(world: World) -> None:
    ledger = Ledger(world)
    both = {ledger.attempt(contact, begin=contact, end=30, provider_call_id="same") for contact in (0, 1)}
    ledger.write()
    assert audit_violations(world) == {"P1 shared_provider_call": tuple(sorted(both))}


def test_two_networks_may_give_the_same_id_to_two_calls(world: World) -> None:
    world.sql(
        "INSERT INTO trunks (id, workspace_id, name, provider)"
        " SELECT gen_random_uuid(), workspace_id, 'second', provider FROM trunks"
    )
    second = world.value("SELECT id FROM trunks WHERE name = 'second'")
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, provider_call_id="same")
    ledger.attempt(1, begin=1, end=30, provider_call_id="same", trunk_id=second)
    ledger.write()
    assert audit_violations(world) == {}


def test_a_contact_must_not_have_more_attempts_than_the_latest_was_allowed(world: World) -> None:
    ledger = Ledger(world)
    for number, max_attempts in enumerate((3, 3, 2)):
        ledger.attempt(0, begin=60 * number, end=60 * number + 30, max_attempts=max_attempts)
        ledger.attempt(1, begin=60 * number, end=60 * number + 30, max_attempts=5 - max_attempts)
    ledger.write()
    assert audit_violations(world) == {"P1 too_many_attempts": (ledger.contacts[0],)}


def test_refused_attempts_use_nothing_up(world: World) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=0, outcome=None)
    ledger.attempt(0, begin=15, end=15, outcome=None)
    ledger.attempt(0, begin=45, end=60, outcome="answered")
    ledger.write()
    assert audit_violations(world) == {}


def test_a_refused_attempt_must_not_turn_out_to_have_rung(world: World) -> None:
    ledger = Ledger(world)
    refused = ledger.attempt(0, begin=0, end=1, outcome=None)
    ledger.write()
    ledger.report(refused, "ringing", "contradiction")
    ledger.report(refused, "ended", "contradiction", outcome="busy")
    assert audit_violations(world) == {"P1 refused_but_reported": (refused,)}


@pytest.mark.parametrize("outcome", ["answered", "invalid_number", "cancelled", "unknown"])
def test_a_contact_that_is_settled_must_not_be_called_again(world: World, outcome: str) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, outcome=outcome, max_attempts=2)
    ledger.attempt(0, begin=60, end=90, outcome="answered", max_attempts=2)
    ledger.write()
    assert audit_violations(world) == {"P1 called_again": (ledger.contacts[0],)}


@pytest.mark.parametrize("status", ["pending", "waiting"])
def test_a_contact_that_is_settled_must_not_be_queued_again(world: World, status: str) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, outcome="unknown", max_attempts=2)
    ledger.write()
    world.sql(
        "UPDATE contacts SET status = :status, finished_at = NULL, due_at = :now WHERE status = 'failed'",
        status=status,
        now=world.clock.now,
    )
    assert audit_violations(world) == {"P1 called_again": (ledger.contacts[0],)}


@pytest.mark.parametrize("scope", ["batch", "number", "trunk"])
def test_one_call_too_many_in_flight_is_found(world: World, scope: str) -> None:
    limit: dict[str, Any] = {{"batch": "max_concurrent_calls"}.get(scope, f"{scope}_max_concurrent_calls"): 2}
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, **limit)
    ledger.attempt(1, begin=10, **limit)
    third = ledger.attempt(2, begin=20, end=40, **limit)
    ledger.write()
    assert audit_violations(world) == ledger.violations() == {f"P2 {scope}_concurrency": (third,)}


@pytest.mark.parametrize("scope", ["number", "trunk"])
def test_limits_of_numbers_and_trunks_hold_across_batches(world: World, scope: str) -> None:
    limits: dict[str, Any] = {f"{scope}_max_concurrent_calls": 1}
    first_ledger, second_ledger, third_ledger = (Ledger(world, name=name) for name in ("one", "other", "apart"))
    first_ledger.attempt(0, begin=0, end=30, **limits)
    second = second_ledger.attempt(0, begin=10, end=40, **limits)
    elsewhere: dict[str, Any] = {"phone_number_id": world.installed.number_ids[1], "trunk_id": _another_trunk(world)}
    third_ledger.attempt(0, begin=20, end=50, **limits, **elsewhere)
    for ledger in (first_ledger, second_ledger, third_ledger):
        ledger.write()
    assert (
        audit_violations(world)
        == first_ledger.violations()
        == second_ledger.violations()
        == {f"P2 {scope}_concurrency": (second,)}
    )
    assert third_ledger.violations() == {}


def test_a_slot_that_frees_at_the_same_moment_is_free(world: World) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=30, max_concurrent_calls=1)
    ledger.attempt(1, begin=30, end=60, max_concurrent_calls=1)
    ledger.write()
    assert audit_violations(world) == {}


def test_a_limit_that_is_lowered_while_calls_are_up_binds_the_next_ones(world: World) -> None:
    ledger = Ledger(world)
    for contact in range(3):
        ledger.attempt(contact, begin=0, end=60 + contact, max_concurrent_calls=3)
    ledger.attempt(3, begin=62, end=90, max_concurrent_calls=1)
    ledger.write()
    assert audit_violations(world) == {}


def test_calls_refused_at_once_leave_room_at_the_same_moment_but_needed_room_themselves(world: World) -> None:
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=0, outcome=None, max_concurrent_calls=1)
    ledger.attempt(1, begin=0, end=30, max_concurrent_calls=1)
    over = ledger.attempt(2, begin=10, end=10, outcome=None, max_concurrent_calls=1)
    ledger.write()
    assert audit_violations(world) == {"P2 batch_concurrency": (over,)}


@given(
    begins=st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=12),
    lengths=st.lists(st.none() | st.integers(1, 10), min_size=12, max_size=12),
    limits=st.lists(st.integers(1, 4), min_size=12, max_size=12),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_calls_in_flight_are_counted_as_one_would_by_hand(
    world: World, begins: list[int], lengths: list[int | None], limits: list[int]
) -> None:
    ledger = Ledger(world, 12, timezone="UTC")
    calls = [
        (begin, None if length is None else begin + length, limit)
        for begin, length, limit in zip(begins, lengths, limits, strict=False)
    ]
    over = set()
    for contact, (begin, end, limit) in enumerate(calls):
        attempt_id = ledger.attempt(contact, begin, end, max_concurrent_calls=limit)
        if sum(other <= begin and (until is None or begin < until) for other, until, _ in calls) > limit:
            over.add(attempt_id)
    ledger.write()
    assert set(ledger.violations().get("P2 batch_concurrency", ())) == over


@pytest.mark.parametrize("scope", ["batch", "number"])
def test_one_call_too_many_on_a_day_is_found_and_refused_ones_are_given_back_when_they_end(
    world: World, scope: str
) -> None:
    limits: dict[str, Any] = {{"batch": "max_calls_per_day"}.get(scope, f"{scope}_max_calls_per_day"): 2}
    ledger = Ledger(world)
    ledger.attempt(0, begin=0, end=20, **limits)
    ledger.attempt(1, begin=10, end=30, outcome=None, **limits)
    early = ledger.attempt(2, begin=29, end=29, outcome=None, **limits)
    ledger.attempt(3, begin=30, end=60, **limits)
    late = ledger.attempt(4, begin=70, **limits)
    ledger.attempt(5, begin=-86_400, end=-86_000, **limits)
    ledger.write()
    assert audit_violations(world) == {f"P2 {scope}_daily_cap": (early, late)}


def test_calls_of_a_trunk_are_placed_at_its_rate(world: World) -> None:
    ledger = Ledger(world)
    rate: dict[str, Any] = {"trunk_rate_limit": 2, "trunk_rate_window_ms": 1000}
    placed = [
        ledger.attempt(contact, begin=3, end=60, placed_at=MONDAY.add(microseconds=1000 * ms), **rate)
        for contact, ms in enumerate((0, 200, 960, 1200, 2100, 2140))
    ]
    ledger.write()
    assert audit_violations(world) == {"P2 trunk_rate": (placed[-1],)}


def test_calls_from_all_numbers_of_a_trunk_count_toward_its_rate_also_before_their_answer_was_noted(
    world: World,
) -> None:
    ledger = Ledger(world)
    rate: dict[str, Any] = {"trunk_rate_limit": 2, "trunk_rate_window_ms": 1000}
    for contact, number_id in enumerate(world.installed.number_ids):
        at = MONDAY.add(microseconds=100_000 * contact)
        last = ledger.attempt(contact, begin=0, end=60, phone_number_id=number_id, sent_at=at, **rate)
    ledger.write()
    assert audit_violations(world) == {"P2 trunk_rate": (last,)}


def test_what_was_refused_where_it_was_sent_made_no_call_and_counts_toward_no_rate(world: World) -> None:
    ledger = Ledger(world)
    for contact in range(3):
        ledger.attempt(
            contact, begin=0, end=1, outcome=None, sent_at=MONDAY, trunk_rate_limit=2, trunk_rate_window_ms=1000
        )
    ledger.write()
    assert audit_violations(world) == {}


@pytest.mark.parametrize("away", [-2, 2])
@pytest.mark.parametrize("column", ["local_on", "utc_on"])
def test_an_attempt_counts_to_the_day_on_which_it_was_created(world: World, column: str, away: int) -> None:
    ledger = Ledger(world)
    at = MONDAY.subtract(hours=1).set(hour=23, minute=30)
    days: dict[str, Any] = {"utc_on": at.date(), "local_on": at.add(days=1).date()}
    berlin: dict[str, Any] = {"created_at": at, "day_timezone": "Europe/Berlin"}
    ledger.attempt(0, 0, 86_400, **berlin, **days)
    wrong = ledger.attempt(1, 0, 86_400, **berlin, **days | {column: at.add(days=away).date()})
    ledger.write()
    assert audit_violations(world) == {f"P2 wrong_{column.removesuffix('_on')}_day": (wrong,)}


def test_an_attempt_must_say_by_what_it_was_allowed(world: World) -> None:
    ledger = Ledger(world)
    silent = ledger.attempt(0, begin=0, end=30, allowed_by={})
    ledger.write()
    assert audit_violations(world) == {"P2 limits_not_stored": (silent,)}


def test_an_attempt_must_name_the_settings_that_were_current_when_it_was_claimed(world: World) -> None:
    ledger = Ledger(world, contacts=9)
    first = world.value("SELECT version FROM batches WHERE id = :id", id=ledger.batch_id)
    world.clock.now = MONDAY.add(seconds=60)
    for change in ("max_concurrent_calls = 9", "status = 'paused'", "status = 'active'"):
        world.sql(f"UPDATE batches SET {change} WHERE id = :id", id=ledger.batch_id)

    def attempt(contact: int, begin: int, version: int) -> str:
        return ledger.attempt(contact, begin, begin + 1, allowed_by={**TERMS, "version": version})

    # From before the settings were kept, in time, at the moment of the change, and after pause and resumption.
    right = ((-3600, 1), (59, first), (60, first), (60, first + 1), (61, first + 3))
    wrong = ((70, first), (71, first - 1), (50, first + 1), (72, first + 4))
    for contact, (begin, version) in enumerate(right):
        attempt(contact, begin, version)
    broken = [attempt(contact, begin, version) for contact, (begin, version) in enumerate(wrong, start=len(right))]
    ledger.write()
    assert ledger.violations() == audit_violations(world) == {"P2 settings_not_current": tuple(sorted(broken))}


@contextmanager
def _without_index(world: World, name: str) -> Iterator[None]:
    definition = world.value("SELECT indexdef FROM pg_indexes WHERE indexname = :name", name=name)
    world.sql(f"DROP INDEX {name}")
    try:
        yield
    finally:
        world.sql("TRUNCATE attempts")
        world.sql(definition)


def _another_trunk(world: World) -> UUID:
    (row,) = world.rows(
        """
        INSERT INTO trunks (id, workspace_id, name, provider)
        SELECT gen_random_uuid(), workspace_id, 'another', provider FROM trunks RETURNING id
        """
    )
    return UUID(str(row.id))
