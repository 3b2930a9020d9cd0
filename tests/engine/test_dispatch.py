"""Dispatch: from a due batch to calls in the network."""

from world import World


def test_a_batch_is_called_to_its_end(world: World) -> None:
    batch_id = world.batch(5)
    world.run(lambda: world.is_over(batch_id))
    progress = world.progress(batch_id)
    assert progress.status == "completed"
    assert progress.completed + progress.failed == progress.total == 5
    assert len(world.network.log) == 5
