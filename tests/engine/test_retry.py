"""Retry: who waits becomes pending when the time has come, once, and nobody else does."""

from functools import partial

from dialer.domain.ids import BatchId
from dialer.engine.audit import audit
from dialer.engine.retry import RetryReport, retry
from dialer.engine.tick import tick
from steps import at_once, end, go, later, live
from world import World, made_up_phones


def waiting(world: World, count: int, first: int = 0) -> BatchId:
    """A batch whose contacts were all busy just now: they wait for ten minutes."""
    batch_id = world.batch(
        made_up_phones(count, first=first), max_concurrent_calls=count, retry_failed=True, max_retry_attempts=1
    )
    go(world, batch_id)
    for attempt_id in live(world):
        end(world, attempt_id, "busy")
    go(world, batch_id)
    assert (world.progress(batch_id).waiting, world.progress(batch_id).held_by) == (count, "retry")
    return batch_id


def retried(world: World) -> RetryReport:
    return retry(world.parts, world.clock.now)


def test_only_those_whose_time_has_come_are_requeued_and_their_batch_wakes(world: World) -> None:
    early = waiting(world, 3)
    later(world, 60)
    late = waiting(world, 2, first=3)
    later(world, 539.999)
    assert retried(world) == RetryReport(0, ())
    later(world, 0.001)
    assert retried(world) == RetryReport(3, (early,))
    assert (world.progress(early).pending, world.progress(late).waiting) == (3, 2)
    assert tick(world.parts, world.clock.now).due == (early,)
    assert retried(world) == RetryReport(0, ())


def test_several_at_once_requeue_each_contact_once(world: World) -> None:
    batch_ids = {waiting(world, 40, first=n * 40) for n in range(3)}
    later(world, 600)
    reports = at_once(*[partial(retried, world)] * 4)
    assert sum(one.requeued for one in reports) == 120
    assert {batch_id for one in reports for batch_id in one.batches} == batch_ids
    assert audit(world.db, world.clock.now).is_clean


def test_contacts_of_a_paused_batch_are_not_called_before_it_is_resumed(world: World) -> None:
    batch_id = waiting(world, 2)
    world.sql("UPDATE batches SET status = 'paused'")
    later(world, 600)
    world.step()
    later(world, 600)
    world.step()
    assert len(world.network.log) == 2
    assert world.progress(batch_id).next_dispatch_at is None
    world.sql("UPDATE batches SET status = 'active'")
    world.step()
    assert len(world.network.log) == 4


def test_contacts_of_a_cancelled_batch_are_never_requeued(world: World) -> None:
    batch_id = waiting(world, 2)
    world.sql("UPDATE batches SET status = 'cancelled'")
    later(world, 600)
    assert retried(world) == RetryReport(0, ())
    assert world.progress(batch_id).cancelled == 2


def test_a_retry_and_a_dispatch_at_once_never_put_the_batch_to_sleep(world: World) -> None:
    for n in range(10):
        batch_id = waiting(world, 5, first=n * 5)
        later(world, 600)
        at_once(partial(retried, world), partial(go, world, batch_id))
        progress = world.progress(batch_id)
        assert progress.pending == 0 or progress.next_dispatch_at == world.clock.now
        assert audit(world.db, world.clock.now).is_clean
        world.sql("UPDATE batches SET status = 'cancelled' WHERE status = 'active'")
