"""What fails waits and never stops the others; only what is wrong with a report's own data goes into quarantine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dialer.domain.call import CallEvent
from dialer.domain.call_progress import CallProgress, Verdict, follow
from dialer.domain.ids import AttemptId
from dialer.domain.timeouts import CALL_SECONDS, GIVE_UP_SECONDS
from dialer.domain.trunk import Trunk
from dialer.engine.bisect import run_bisecting
from dialer.engine.events import receive
from dialer.engine.rescue import rescue
from dialer.engine.retention import retention
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.errors import Contended, Unavailable
from dialer.providers.base import CallHandle, LookupFailed, LookupResult, NotFoundNow, Seen
from dialer.providers.pool import ProviderPool
from dialer.service import quarantine as service
from dialer.service import quarantine_retry
from dialer.store import health, inbox, quarantine
from dialer.store.database import rows
from dialer.store.metrics import gauges
from dialer.store.quarantine import Fault
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    call_event,
    dispatch_and_place,
    live_attempts,
    next_dispatch,
    receive_and_settle,
)
from support.world import World, made_up_phones

MakeWorld = Callable[..., World]

ENVIRONMENT = ("0A000", "25006", "28000", "3D000", "42703", "42501", "53100", "55006", "57P03", "58030")
OTHER = ("XX001", "P0001")
OF_DATA = ("23502", "22003", "23514", "54000")


@contextmanager
def broken(world: World, table: str, when: str, what: str = "UPDATE", code: str = "XX001") -> Iterator[None]:
    """Rows that cannot be written, whatever is tried, for a reason that the engine knows nothing of."""
    world.sql(
        f"""
        CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE 'this row is broken' USING ERRCODE = '{code}'; END$$;
        CREATE TRIGGER break_it BEFORE {what} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION break_it();
        """
    )
    try:
        yield
    finally:
        world.sql("DROP FUNCTION break_it CASCADE")


class Says(ProviderPool):
    """Networks that answer every look-up in the same way."""

    def __init__(self, world: World, sighting: Callable[[AttemptId], LookupResult]) -> None:
        self._carriers, self._sighting = world.providers, sighting

    def look_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> dict[AttemptId, LookupResult]:
        return {call.attempt_id: self._sighting(call.attempt_id) for _, call in calls}

    def hang_up_all(self, calls: Sequence[tuple[Trunk, CallHandle]]) -> None:
        """There is nothing to end."""


def passed_over(world: World) -> list[tuple[str, str, int]]:
    quarantined = world.rows("SELECT kind, subject, times FROM quarantine ORDER BY kind, subject")
    return [(row.kind, row.subject, row.times) for row in quarantined]


def counted(world: World) -> dict[str, int]:
    with world.db.begin() as connection:
        by_kind: dict[str, int] = gauges(connection, world.clock.now)["set_aside"]
    return by_kind


def troubles(world: World) -> str:
    with world.db.begin() as connection:
        return "\n".join(health.troubles(connection, world.clock.now))


def ended(world: World, attempt_ids: Sequence[AttemptId], outcome: str = "busy", **more: Any) -> int:
    reports = [call_event(of, "ended", world.clock.now, outcome, **more) for of in attempt_ids]
    return receive_and_settle(world, *reports).ended


def called(world: World, count: int, **options: Any) -> list[AttemptId]:
    """So many contacts, all of them being called."""
    dispatch_and_place(world, world.batch(count, max_concurrent_calls=count, **options))
    return live_attempts(world)


def settle_for(world: World, seconds: float) -> None:
    """Settle now and then for so long, as the ticks have it done; a database that does not fit is waited for."""
    until = world.clock.now.add(seconds=seconds)
    while world.clock.now < until:
        advance_clock(world, 20)
        try:
            settle(world.context, world.clock.now)
        except Unavailable:
            continue


def unsettled(world: World) -> int:
    return int(world.value("SELECT count(*) FROM inbox WHERE settled_at IS NULL"))


def test_a_report_that_cannot_be_settled_does_not_keep_the_others_of_its_page_from_it(world: World) -> None:
    bad, *good = called(world, 9)
    advance_clock(world, 20)
    with broken(world, "attempts", f"NEW.id = '{bad}'", code="23514"):
        assert ended(world, [*good[:4], bad, *good[4:]]) == 8
        assert settle(world.context, world.clock.now).reports == 0, "it waits before it is tried again"
        assert live_attempts(world) == [bad]
        assert (passed_over(world), unsettled(world)) == ([], 1)
        assert "1 call reports cannot be settled since 2026-03-02 08:00:20 UTC" in troubles(world)
    advance_clock(world, 5)
    assert settle(world.context, world.clock.now).ended == 1


def test_a_report_that_waits_is_tried_again_after_5_10_20_40_and_then_every_60_seconds(world: World) -> None:
    bad, *_ = called(world, 2)
    pauses = []
    with broken(world, "attempts", f"NEW.id = '{bad}'"):
        ended(world, [bad])
        for _ in range(7):
            due_at = world.value("SELECT due_at FROM inbox")
            pauses.append((due_at - world.clock.now).total_seconds())
            advance_clock(world, pauses[-1] - 0.001)
            assert settle(world.context, world.clock.now).reports == 0
            advance_clock(world, 0.001)
            assert settle(world.context, world.clock.now).reports == 1
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_a_report_whose_own_data_is_wrong_is_in_quarantine_after_several_tries_over_minutes_and_its_call_is_asked_about(
    world: World,
) -> None:
    world.profile["outcomes"] = {"busy": 1}
    bad, good, *_ = called(world, 3)
    advance_clock(world, 50)
    with broken(world, "attempts", f"NEW.id = '{bad}' AND NEW.cause = 'wrong'", code="23514"):
        ended(world, [bad], cause="wrong")
        settle_for(world, 115)
        assert (passed_over(world), unsettled(world)) == ([], 1)
        ended(world, [good])
        settle_for(world, 120)
        ((kind, subject, tries),) = passed_over(world)
        assert (kind, tries, counted(world)["report"], unsettled(world)) == ("report", 6, 1, 0)
        assert world.value("SELECT verdict FROM inbox WHERE id = :id", id=int(subject)) == "quarantined"
        assert "this row is broken" in troubles(world)
        assert "dialer quarantine retry" in troubles(world)
        world.rescue()
    (truth,) = (call.outcome for call in world.network.log if call.attempt_id == bad)
    assert world.value("SELECT outcome FROM attempts WHERE id = :id", id=bad) == truth
    assert_audit_is_clean(world)


@pytest.mark.parametrize("code", [*ENVIRONMENT, *OTHER])
def test_what_the_environment_does_wrong_is_waited_out_and_blamed_on_no_report(world: World, code: str) -> None:
    attempt_ids = called(world, 3)
    advance_clock(world, 20)
    receive(world.db, world.installed.trunk_id, [call_event(attempt_ids[0], "ringing", world.clock.now)])
    settle(world.context, world.clock.now)
    with broken(world, "attempts", "true", code=code):
        receive(
            world.db,
            world.installed.trunk_id,
            [call_event(of, "ended", world.clock.now, "busy") for of in attempt_ids],
        )
        settle_for(world, 300)
        assert (passed_over(world), unsettled(world)) == ([], 3)
    settle_for(world, 65)
    assert [row.outcome for row in world.rows("SELECT outcome FROM attempts")] == ["busy"] * 3
    assert_audit_is_clean(world)


@pytest.mark.parametrize("code", OF_DATA[:2])
def test_many_equal_failures_are_not_the_fault_of_the_rows_whatever_they_say(world: World, code: str) -> None:
    attempt_ids = called(world, 12)
    advance_clock(world, 20)
    with broken(world, "attempts", f"NEW.id <> '{attempt_ids[0]}'", code=code):
        ended(world, attempt_ids[1:])
        for _ in range(6):
            # Others go well all the time.
            receive_and_settle(world, call_event(attempt_ids[0], "ringing", world.clock.now, key=str(world.clock.now)))
            settle_for(world, 60)
        assert (passed_over(world), unsettled(world)) == ([], 11)
        assert "11 call reports cannot be settled" in troubles(world)
    settle_for(world, 65)
    assert len(live_attempts(world)) == 1


def test_a_few_failures_are_not_the_fault_of_the_rows_while_nothing_else_goes_well(world: World) -> None:
    attempt_ids = called(world, 4)
    advance_clock(world, 20)
    with broken(world, "attempts", "true", code="23502"):
        ended(world, attempt_ids)
        settle_for(world, 400)
        assert (passed_over(world), unsettled(world)) == ([], 4)
    settle_for(world, 65)
    assert live_attempts(world) == []


def test_a_report_that_this_release_cannot_read_is_put_into_quarantine_too(world: World) -> None:
    bad, *good = called(world, 3)
    advance_clock(world, 20)
    receive(world.db, world.installed.trunk_id, [call_event(bad, "ended", world.clock.now, "busy")])
    world.sql("UPDATE inbox SET outcome = 'teleported'")
    assert ended(world, good) == 2
    settle_for(world, 60)
    receive_and_settle(world, call_event(bad, "ringing", world.clock.now))
    settle_for(world, 120)
    (entry,) = service.list_entries(world.db)
    assert (entry["error_kind"], entry["attempt_id"]) == ("UnreadableReport", bad)


def test_a_bug_of_a_release_keeps_only_the_reports_that_it_fails_for_and_they_wait_for_the_next_release(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = called(world, 5)

    def follow_all_but_x(progress: CallProgress, events: Sequence[CallEvent]) -> tuple[CallProgress, list[Verdict]]:
        if any(event.cause == "x" for event in events):
            raise ArithmeticError("a bug")
        return follow(progress, events)

    monkeypatch.setattr("dialer.engine.settle.follow", follow_all_but_x)
    advance_clock(world, 20)
    receive(world.db, world.installed.trunk_id, [call_event(bad, "ended", world.clock.now, "busy", cause="x")])
    assert ended(world, good) == 4
    settle_for(world, 600)
    assert (passed_over(world), unsettled(world)) == ([], 1)
    assert world.value("SELECT tries FROM inbox WHERE settled_at IS NULL") > 10
    world.rescue()
    assert live_attempts(world) == [], "its network knows how it ended"


def test_only_reports_that_could_be_locked_are_counted_as_failed_and_closed(world: World) -> None:
    attempt_ids = called(world, 2)
    receive(world.db, world.installed.trunk_id, [call_event(of, "ringing", world.clock.now) for of in attempt_ids])
    held, free = (row.id for row in world.rows("SELECT id FROM inbox ORDER BY id"))
    with world.db.begin() as other:
        rows(other, "SELECT 1 FROM inbox WHERE id = :id FOR UPDATE", id=held)
        with world.db.begin() as connection:
            fault = Fault("23514", "broken", is_of_data=True)
            failed = inbox.note_failures(connection, {held: fault, free: fault})
            assert [report.id for report in failed] == [free]
    assert world.rows("SELECT id, tries FROM inbox ORDER BY id") == [(held, 0), (free, 1)]


@pytest.mark.parametrize("with_note", [True, False])
def test_reports_that_the_previous_release_closed_without_effect_are_settled_after_all(
    world: World, with_note: bool
) -> None:
    bad, *good = called(world, 4)
    advance_clock(world, 20)
    receive(world.db, world.installed.trunk_id, [call_event(bad, "ended", world.clock.now, "busy")])
    world.sql("UPDATE inbox SET settled_at = dialer_now(), verdict = 'set_aside'")
    if with_note:
        world.sql(
            "INSERT INTO set_aside (kind, subject, attempt_id, error) SELECT 'report', id, attempt_id, 'x' FROM inbox"
        )
    assert not world.value("SELECT count(*) FROM attempts WHERE id = :id AND state = 'ended'", id=bad)
    world.rescue()
    assert settle(world.context, world.clock.now).ended == 1
    assert world.value("SELECT outcome FROM attempts WHERE id = :id", id=bad) == "busy"
    assert (passed_over(world), live_attempts(world)) == ([], good)


def test_rescue_ends_a_call_by_its_network_s_word_whatever_became_of_the_report_with_the_same_key(
    make_world: MakeWorld,
) -> None:
    world = make_world(outcomes={"busy": 1})
    batch_id = world.batch(3)
    dispatch_and_place(world, batch_id)
    advance_clock(world, 200)
    world.deliver_to_inbox()
    world.sql("UPDATE inbox SET settled_at = dialer_now(), verdict = 'late'")
    assert len(live_attempts(world)) == 3
    rescued = rescue(world.context, world.clock.now, world.rng)
    assert (rescued.closed, rescued.freed, rescued.outcomes) == (3, (batch_id,), {"busy": 3})
    assert world.progress(batch_id).failed == 3


def test_rescue_gives_up_a_call_whose_end_cannot_be_written_as_its_network_tells_it(world: World) -> None:
    (bad,) = called(world, 1)
    advance_clock(world, 600)
    with broken(world, "attempts", "NEW.cause IS DISTINCT FROM 'end_not_settled' AND NEW.state = 'ended'"):
        for _ in range(GIVE_UP_SECONDS // 600):
            world.rescue()
            assert live_attempts(world) == [bad]
            advance_clock(world, 600)
        world.rescue()
    (row,) = world.rows("SELECT state, outcome, cause FROM attempts")
    assert tuple(row) == ("ended", "unknown", "end_not_settled")


def test_a_call_that_is_gone_is_given_up_although_its_report_waits_for_ever(world: World) -> None:
    (bad,) = called(world, 1)
    gone = replace(world.context, providers=Says(world, lambda _: NotFoundNow()))
    with broken(world, "attempts", "NEW.cause = 'wrong'"):
        ended(world, [bad], cause="wrong")
        for _ in range(GIVE_UP_SECONDS // 600):
            advance_clock(world, 600)
            rescue(gone, world.clock.now, world.rng)
            assert live_attempts(world) == [bad]
        advance_clock(world, 600)
        rescue(gone, world.clock.now, world.rng)
    assert world.value("SELECT cause FROM attempts") == "gone_from_network"


def test_a_call_whose_end_is_in_quarantine_ends_as_unknown_where_its_network_cannot_be_asked(world: World) -> None:
    bad, good = called(world, 2)
    silent = replace(world.context, providers=Says(world, lambda _: LookupFailed("no answer")))
    with broken(world, "attempts", "NEW.cause = 'wrong'", code="22003"):
        ended(world, [bad], cause="wrong")
        settle_for(world, 60)
        ended(world, [good])
        settle_for(world, 120)
    assert [kind for kind, _, _ in passed_over(world)] == ["report"]
    rescue(silent, world.clock.now, world.rng)
    (row,) = world.rows("SELECT state, outcome, cause FROM attempts WHERE id = :id", id=bad)
    assert tuple(row) == ("ended", "unknown", "report_in_quarantine")


def test_a_call_that_is_up_is_not_ended_because_some_report_of_it_is_in_quarantine(world: World) -> None:
    bad, good = called(world, 2)
    up = replace(
        world.context, providers=Says(world, lambda of: Seen("x", (call_event(of, "ringing", world.clock.now),)))
    )
    with broken(world, "attempts", f"NEW.id = '{bad}'", code="22003"):
        receive_and_settle(world, call_event(bad, "answered", world.clock.now))
        settle_for(world, 60)
        ended(world, [good])
        settle_for(world, 120)
    assert [kind for kind, _, _ in passed_over(world)] == ["report"]
    rescue(up, world.clock.now, world.rng)
    assert live_attempts(world) == [bad]


def test_a_report_in_quarantine_is_settled_when_it_is_tried_again_after_its_cause_was_mended(world: World) -> None:
    bad, good = called(world, 2)
    with broken(world, "attempts", f"NEW.id = '{bad}'", code="22003"):
        ended(world, [bad])
        settle_for(world, 60)
        ended(world, [good])
        settle_for(world, 120)
    ((entry_id,),) = world.rows("SELECT id FROM quarantine")
    assert quarantine_retry.retry(world.db, world.clock.now, [entry_id]).tried == (entry_id,)
    assert settle(world.context, world.clock.now).ended == 1
    assert (passed_over(world), live_attempts(world), unsettled(world)) == ([], [], 0)
    assert_audit_is_clean(world)


def test_an_attempt_that_cannot_be_closed_does_not_keep_rescue_from_the_others(world: World) -> None:
    batch_id = world.batch(5)
    dispatch_and_place(world, batch_id)
    bad, *_ = live_attempts(world)
    world.network._state.calls.clear()
    world.network._state.outbox.remove([str(n) for n in world.network._state.outbox.taken()])
    advance_clock(world, CALL_SECONDS)
    with broken(world, "attempts", f"NEW.id = '{bad}' AND NEW.state = 'ended'"):
        world.rescue()
        assert live_attempts(world) == [bad]
        assert passed_over(world) == [("attempt", str(bad), 1)]
    advance_clock(world, 60)
    world.rescue()
    assert live_attempts(world) == []
    assert world.progress(batch_id).dialing == 0
    assert passed_over(world) == []


def test_what_a_database_cannot_hold_of_a_report_is_written_in_other_characters(world: World) -> None:
    attempt_ids = called(world, 3)
    texts: list[dict[str, Any]] = [
        {"cause": "not \x00 fine"},
        {"cause": "half a \ud800 character", "provider_call_id": "\x00"},
        {"key": "\x00" + "k" * 100_000},
    ]
    reports = [
        call_event(of, "ended", world.clock.now, "busy", **text) for of, text in zip(attempt_ids, texts, strict=True)
    ]
    assert receive(world.db, world.installed.trunk_id, reports) == 3
    assert receive(world.db, world.installed.trunk_id, reports) == 0
    assert settle(world.context, world.clock.now).ended == 3
    assert {row.cause for row in world.rows("SELECT cause FROM attempts")} == {
        "not \\0 fine",
        "half a ? character",
        None,
    }
    assert passed_over(world) == []


def send(world: World, reports: Sequence[CallEvent], times: int, seconds: float = 40) -> list[bool]:
    """Let a network send these reports again and again; say of each time whether they were refused."""
    refused = []
    for _ in range(times):
        advance_clock(world, seconds)
        try:
            receive(world.db, world.installed.trunk_id, reports)
        except Unavailable:
            refused.append(True)
        else:
            refused.append(False)
    return refused


def test_a_report_that_cannot_be_stored_is_refused_until_it_alone_must_be_to_blame_and_is_kept_then(
    world: World,
) -> None:
    bad, *good = called(world, 3)
    reports = [call_event(of, "ended", world.clock.now, "busy", cause="fine") for of in good]
    reports.insert(1, call_event(bad, "ended", world.clock.now, "no_answer", cause="wrong", talk_seconds=0.5))
    with broken(world, "inbox", "NEW.cause = 'wrong'", "INSERT", code="23514"):
        assert send(world, reports, 1) == [True]
        assert world.value("SELECT count(*) FROM inbox") == 2, "the others are stored all the same"
        assert send(world, reports, 9, seconds=10) == [True] * 9
        receive(world.db, world.installed.trunk_id, [call_event(good[0], "ringing", world.clock.now)])
        assert send(world, reports, 3, seconds=10) == [True, True, False]
        (entry,) = service.list_entries(world.db)
        assert (entry["kind"], entry["attempt_id"], entry["error_kind"]) == ("report", bad, "23514")
        (reason,) = quarantine_retry.retry(world.db, world.clock.now).failed.values()
        assert "this row is broken" in reason
        assert len(service.list_entries(world.db)) == 1, "nothing of it is lost"
    quarantine_retry.retry(world.db, world.clock.now)
    assert service.list_entries(world.db) == []
    settle(world.context, world.clock.now)
    (row,) = world.rows("SELECT outcome, cause, talk_seconds FROM attempts WHERE id = :id", id=bad)
    assert tuple(row) == ("no_answer", "wrong", 0.5)


def test_a_report_that_cannot_be_stored_is_not_kept_while_no_other_has_come_in_since(world: World) -> None:
    bad, good = called(world, 2)
    receive(world.db, world.installed.trunk_id, [call_event(good, "ringing", world.clock.now)])
    with broken(world, "inbox", "NEW.cause = 'wrong'", "INSERT", code="23514"):
        wrong = call_event(bad, "ended", world.clock.now, "busy", cause="wrong")
        assert send(world, [wrong], 20) == [True] * 20


@pytest.mark.parametrize(("payload", "removed"), [(None, 1), ("{}", 0)])
def test_a_report_that_was_accepted_without_being_stored_is_kept_until_it_is_old(
    world: World, payload: str | None, removed: int
) -> None:
    world.sql(
        """
        INSERT INTO quarantine (kind, subject, trunk_id, error, payload)
        SELECT 'report', 'x', id, 'broken', :payload FROM trunks
        """,
        payload=payload,
    )
    advance_clock(world, 7200)
    with world.db.begin() as connection:
        assert quarantine.remove_reports(connection, world.clock.now.subtract(days=1), 10) == removed


@pytest.mark.parametrize("code", [*ENVIRONMENT, *OTHER, *OF_DATA])
def test_a_report_is_never_accepted_and_lost_because_of_what_keeps_all_reports_out(world: World, code: str) -> None:
    attempt_ids = called(world, 3)
    reports = [call_event(of, "ended", world.clock.now, "busy") for of in attempt_ids]
    with broken(world, "inbox", "true", "INSERT", code=code):
        assert send(world, reports, 20) == [True] * 20
    assert send(world, reports, 1) == [False]
    assert settle(world.context, world.clock.now).ended == 3
    advance_clock(world, 3 * 3600)
    retention(world.context, world.clock.now, 1)
    assert passed_over(world) == [], "what came after all is not told of for ever"


def test_a_batch_that_cannot_be_dispatched_waits_a_minute_and_the_others_of_its_chunk_are_called(
    world: World,
) -> None:
    phones = made_up_phones(12)
    bad, *good = (world.batch(phones[3 * n : 3 * n + 3]) for n in range(4))
    with broken(world, "attempts", f"NEW.batch_id = '{bad}'", "INSERT"):
        assert dispatch_and_place(world, good[0], bad, *good[1:]).placed == 9
        assert next_dispatch(world, bad) == (world.clock.now.add(seconds=60), "error")
        advance_clock(world, 60)
        dispatch_and_place(world, bad)
    assert passed_over(world) == [("batch", str(bad), 2)]
    advance_clock(world, 60)
    assert dispatch_and_place(world, bad).placed == 3
    assert passed_over(world) == []
    assert counted(world)["batch"] == 0


def test_a_scheduled_batch_that_cannot_be_started_does_not_stop_the_tick(world: World) -> None:
    at = world.clock.now.add(minutes=5).isoformat()
    batch_ids = [world.batch([phone], schedule_type="scheduled", scheduled_at=at) for phone in made_up_phones(4)]
    due = world.batch(["+12125550199"])
    advance_clock(world, 300)
    with broken(world, "batches", f"NEW.id = '{batch_ids[1]}'"):
        report = tick(world.context, world.clock.now)
        assert report.started == 3
        assert due in report.due
        assert tick(world.context, world.clock.now).started == 0
        assert passed_over(world) == [("batch", str(batch_ids[1]), 1)]
    advance_clock(world, 61)
    assert tick(world.context, world.clock.now).started == 1


def test_a_batch_whose_contacts_cannot_be_requeued_does_not_keep_those_of_others(world: World) -> None:
    bad, good = (world.batch([phone], retry_failed=True, max_retry_attempts=1) for phone in made_up_phones(2))
    dispatch_and_place(world, bad, good)
    ended(world, live_attempts(world))
    advance_clock(world, 601)
    with broken(world, "contacts", f"NEW.batch_id = '{bad}'"):
        assert retry(world.context, world.clock.now).requeued == 1
        assert retry(world.context, world.clock.now).batches == ()
    advance_clock(world, 61)
    assert retry(world.context, world.clock.now).batches == (bad,)


def test_a_batch_that_is_done_after_all_leaves_quarantine(world: World) -> None:
    at = world.clock.now.add(minutes=5).isoformat()
    batch_id = world.batch(["+12125550199"], schedule_type="scheduled", scheduled_at=at)
    advance_clock(world, 300)
    with broken(world, "batches", "true"):
        tick(world.context, world.clock.now)
    assert passed_over(world) == [("batch", str(batch_id), 1)]
    quarantine_retry.retry(world.db, world.clock.now)
    assert passed_over(world) == []
    assert tick(world.context, world.clock.now).started == 1


def test_what_was_kept_of_reports_is_removed_with_the_reports(world: World) -> None:
    bad, good = called(world, 2)
    with broken(world, "attempts", f"NEW.id = '{bad}'", code="22003"):
        ended(world, [bad])
        settle_for(world, 60)
        ended(world, [good])
        settle_for(world, 120)
    assert len(passed_over(world)) == 1
    advance_clock(world, 86_400 * 2)
    retention(world.context, world.clock.now, 1)
    assert passed_over(world) == []


def test_a_server_that_is_away_says_nothing_about_the_rows() -> None:
    def work(_: object) -> None:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        run_bisecting([1, 2], work, lambda *_: None)


def test_what_is_locked_is_put_off_and_has_not_failed() -> None:
    def work(items: Sequence[int]) -> int:
        if 3 in items:
            raise Contended("in the way")
        return sum(items)

    failed: list[int] = []
    locked: list[int] = []
    assert sum(run_bisecting([1, 2, 3, 4], work, lambda item, _: failed.append(item), locked.append)) == 7
    assert (failed, locked) == ([], [3])


@pytest.mark.parametrize("bad", [set(), {0}, {6}, {3, 4}, set(range(7))])
def test_exactly_those_that_fail_alone_are_passed_over_and_the_order_is_kept(bad: set[int]) -> None:
    def work(items: object) -> list[int]:
        numbers: list[int] = list(items)  # type: ignore[call-overload]
        if bad & set(numbers):
            raise ValueError
        return numbers

    passed_over: list[int] = []
    context = run_bisecting(list(range(7)), work, lambda item, _: passed_over.append(item))
    assert [item for part in context for item in part] == [n for n in range(7) if n not in bad]
    assert passed_over == sorted(bad)
