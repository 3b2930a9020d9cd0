"""What fails whatever is tried is passed over with its error, and never stops the others."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dialer.domain.ids import AttemptId
from dialer.domain.patience import CALL_SECONDS
from dialer.engine.apart import apart
from dialer.engine.events import receive
from dialer.engine.retention import retention
from dialer.engine.retry import retry
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.errors import Contended, Unavailable
from dialer.store import health
from dialer.store.stock import facts
from steps import assert_clean, go, hand_in, later, live, look, report
from world import World, made_up_phones


@contextmanager
def broken(world: World, table: str, when: str, what: str = "UPDATE") -> Iterator[None]:
    """A row that cannot be written, whatever is tried, for a reason that the engine knows nothing of."""
    world.sql(
        f"""
        CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE 'this row is broken' USING ERRCODE = 'XX001'; END$$;
        CREATE TRIGGER break_it BEFORE {what} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION break_it();
        """
    )
    try:
        yield
    finally:
        world.sql("DROP FUNCTION break_it CASCADE")


def aside(world: World) -> list[tuple[str, str, int]]:
    found = world.rows("SELECT kind, subject, times FROM set_aside ORDER BY kind, subject")
    return [(row.kind, row.subject, row.times) for row in found]


def counted(world: World) -> dict[str, int]:
    with world.db.begin() as connection:
        said: dict[str, int] = facts(connection, world.clock.now)["set_aside"]
    return said


def ended(world: World, attempt_ids: list[AttemptId]) -> int:
    return hand_in(world, *(report(of, "ended", world.clock.now, "busy") for of in attempt_ids)).ended


def test_a_report_that_cannot_be_settled_is_set_aside_and_the_others_of_its_page_are_settled(world: World) -> None:
    batch_id = world.batch(9)
    go(world, batch_id)
    bad, *good = live(world)
    later(world, 20)
    with broken(world, "attempts", f"NEW.id = '{bad}'"):
        assert ended(world, [*good[:4], bad, *good[4:]]) == 8
        assert settle(world.parts, world.clock.now).reports == 0
    assert live(world) == [bad]
    ((kind, subject, times),) = aside(world)
    assert (kind, times, counted(world)["report"]) == ("report", 1, 1)
    assert world.value("SELECT verdict FROM inbox WHERE id = :id", id=int(subject)) == "set_aside"
    with world.db.begin() as connection:
        assert any("this row is broken" in said for said in health.troubles(connection, world.clock.now))


def test_an_attempt_whose_report_was_set_aside_ends_by_rescue_once_it_can_be_written(world: World) -> None:
    batch_id = world.batch(1)
    go(world, batch_id)
    (bad,) = live(world)
    later(world, 600)
    with broken(world, "attempts", f"NEW.id = '{bad}' AND NEW.state = 'ended'"):
        world.deliver()
        world.rescue()
        assert live(world) == [bad]
        assert ("attempt", str(bad), 1) in aside(world)
    later(world, 60)
    world.rescue()
    (row,) = world.rows("SELECT state, outcome, cause FROM attempts")
    assert tuple(row) == ("ended", "unknown", "report_set_aside")
    world.run(lambda: world.is_over(batch_id))


def test_an_attempt_that_cannot_be_closed_does_not_keep_rescue_from_the_others(world: World) -> None:
    batch_id = world.batch(5)
    go(world, batch_id)
    bad, *_ = live(world)
    world.network._book.calls.clear()
    world.network._book.outbox.remove([str(n) for n in world.network._book.outbox.out()])
    later(world, CALL_SECONDS)
    with broken(world, "attempts", f"NEW.id = '{bad}' AND NEW.state = 'ended'"):
        world.rescue()
        assert live(world) == [bad]
    later(world, 60)
    world.rescue()
    assert live(world) == []
    assert world.progress(batch_id).dialing == 0


def test_a_report_that_cannot_even_be_stored_is_acknowledged_and_kept_with_its_error(world: World) -> None:
    batch_id = world.batch(3)
    go(world, batch_id)
    bad, *good = live(world)
    reports = [report(of, "ended", world.clock.now, "busy", cause="fine") for of in good]
    reports.insert(1, report(bad, "ended", world.clock.now, "busy", cause="not \x00 fine"))
    assert receive(world.db, world.installed.trunk_id, reports) == 2
    assert settle(world.parts, world.clock.now).ended == 2
    assert [(kind, times) for kind, _, times in aside(world)] == [("report", 1)]
    later(world, 600)
    world.run(lambda: world.is_over(batch_id))
    assert_clean(world)


def test_a_batch_that_cannot_be_dispatched_waits_a_minute_and_the_others_of_its_chunk_are_called(
    world: World,
) -> None:
    phones = made_up_phones(12)
    bad, *good = (world.batch(phones[3 * n : 3 * n + 3]) for n in range(4))
    with broken(world, "attempts", f"NEW.batch_id = '{bad}'", "INSERT"):
        assert go(world, good[0], bad, *good[1:]).placed == 9
        assert look(world, bad) == (world.clock.now.add(seconds=60), "error")
        later(world, 60)
        go(world, bad)
    assert aside(world) == [("batch", str(bad), 2)]
    later(world, 60)
    assert go(world, bad).placed == 3
    assert aside(world) == []
    assert counted(world)["batch"] == 0


def test_a_scheduled_batch_that_cannot_be_started_does_not_stop_the_tick(world: World) -> None:
    at = world.clock.now.add(minutes=5).isoformat()
    batch_ids = [world.batch([phone], schedule_type="scheduled", scheduled_at=at) for phone in made_up_phones(4)]
    due = world.batch(["+12125550199"])
    later(world, 300)
    with broken(world, "batches", f"NEW.id = '{batch_ids[1]}'"):
        report = tick(world.parts, world.clock.now)
        assert report.started == 3
        assert due in report.due
        assert tick(world.parts, world.clock.now).started == 0
        assert aside(world) == [("batch", str(batch_ids[1]), 1)]
    later(world, 61)
    assert tick(world.parts, world.clock.now).started == 1


def test_a_batch_whose_contacts_cannot_be_requeued_does_not_keep_those_of_others(world: World) -> None:
    bad, good = (world.batch([phone], retry_failed=True, max_retry_attempts=1) for phone in made_up_phones(2))
    go(world, bad, good)
    ended(world, live(world))
    later(world, 601)
    with broken(world, "contacts", f"NEW.batch_id = '{bad}'"):
        assert retry(world.parts, world.clock.now).requeued == 1
        assert retry(world.parts, world.clock.now).batches == ()
    later(world, 61)
    assert retry(world.parts, world.clock.now).batches == (bad,)


def test_what_was_set_aside_of_reports_is_removed_with_the_reports(world: World) -> None:
    receive(
        world.db,
        world.installed.trunk_id,
        [report(AttemptId(world.installed.agent_id), "ringing", world.clock.now, key="\x00")],
    )
    assert len(aside(world)) == 1
    later(world, 86_400 * 2)
    retention(world.parts, world.clock.now, 1)
    assert aside(world) == []


@pytest.mark.parametrize("error", [Contended("in the way"), Unavailable("away")])
def test_what_passes_by_itself_is_nobodys_fault(error: Exception) -> None:
    def work(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        apart([1, 2], work, lambda *_: None)


@pytest.mark.parametrize("bad", [set(), {0}, {6}, {3, 4}, set(range(7))])
def test_exactly_those_that_fail_alone_are_passed_over_and_the_order_is_kept(bad: set[int]) -> None:
    def work(items: object) -> list[int]:
        numbers: list[int] = list(items)  # type: ignore[call-overload]
        if bad & set(numbers):
            raise ValueError
        return numbers

    passed_over: list[int] = []
    parts = apart(list(range(7)), work, lambda item, _: passed_over.append(item))
    assert [item for part in parts for item in part] == [n for n in range(7) if n not in bad]
    assert passed_over == sorted(bad)
