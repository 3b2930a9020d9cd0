"""Retention: what is long over is archived, and nothing else."""

from collections.abc import Callable

from dialer.engine.audit import audit
from dialer.engine.retention import retention
from dialer.store.metrics import gauges
from support.world import World, made_up_phones


def overdue_seconds(world: World) -> float:
    with world.db.begin() as connection:
        return float(gauges(connection, world.clock.now, retention_days=9)["retention_overdue"])


def test_the_attempts_of_batches_that_ended_long_ago_are_archived(world: World) -> None:
    old = world.batch(made_up_phones(20))
    world.run(lambda: world.is_over(old), grain=5)
    world.clock.now = world.clock.now.add(days=10)
    young = world.batch(made_up_phones(20, first=20))
    world.run(lambda: world.is_over(young), grain=5)
    # The first batch has ended ten days ago: it is kept for one more than it should be.
    assert round(overdue_seconds(world) / 86_400) == 1
    report = retention(world.context, world.clock.now, days=9)
    assert (report.batches, report.attempts) == (1, 20)
    assert report.reports > 20
    assert overdue_seconds(world) < 0
    assert world.rows("SELECT DISTINCT batch_id FROM attempts_archive") == [(old,)]
    assert world.rows("SELECT DISTINCT batch_id FROM attempts") == [(young,)]
    assert world.progress(old).completed + world.progress(old).failed == 20
    assert audit(world.db, world.clock.now).is_clean
    world.sql("UPDATE inbox SET settled_at = NULL, verdict = NULL WHERE id = (SELECT min(id) FROM inbox)")
    again = retention(world.context, world.clock.now, days=9)
    assert (again.batches, again.attempts, again.reports) == (0, 0, 0)


def test_a_batch_with_a_call_in_progress_is_kept(make_world: Callable[..., World]) -> None:
    world = make_world(outcomes={"answered": 1}, talk_seconds={"mean": 600, "min": 600, "max": 600})
    batch_id = world.batch(1)
    world.step()
    world.sql("UPDATE batches SET status = 'cancelled'")
    assert retention(world.context, world.clock.now.add(days=100), days=9).batches == 0
    world.run(lambda: world.progress(batch_id).dialing == 0)
    assert retention(world.context, world.clock.now.add(days=100), days=9).attempts == 1


def test_batches_are_deleted_once_their_workspace_keeps_them_no_longer_and_live_ones_never(world: World) -> None:
    ended = [world.batch(made_up_phones(2, first=2 * nth)) for nth in range(2)]
    world.run(lambda: world.is_over(*ended), grain=5)
    live = world.batch(made_up_phones(1, first=9), start=False)
    now = world.clock.now = world.clock.now.add(days=30)
    world.sql("INSERT INTO suppressions (workspace_id, phone_number) SELECT workspace_id, '+12015550000' FROM agents")
    assert retention(world.context, now, days=9).deleted == 0
    assert retention(world.context, now, days=9, batches_days=31).deleted == 0
    world.sql("UPDATE workspaces SET keep_batches_days = 31")
    assert retention(world.context, now, days=9, batches_days=7).deleted == 0
    world.sql("UPDATE workspaces SET keep_batches_days = 29")
    assert retention(world.context, now, days=9, is_stopped=lambda: True).deleted == 0
    assert retention(world.context, now, days=9).deleted == 2
    assert retention(world.context, now, days=9).deleted == 0
    world.change_pages()
    assert world.rows("SELECT id FROM batches") == [(live,)]
    assert world.rows("SELECT DISTINCT batch_id FROM contacts") == [(live,)]
    assert world.value("SELECT count(*) FROM attempts_archive") == 0
    assert world.value("SELECT count(*) FROM suppressions") == 1
