"""An operator's actions on a batch, and the error where its status does not allow them."""

from collections.abc import Callable

import pytest

from dialer.domain.ids import BatchId
from dialer.errors import StateConflict
from dialer.service import batches
from support.world import World


def schedule(world: World, batch_id: BatchId) -> str:
    return batches.schedule(world.context, world.installed.workspace_id, batch_id, world.clock.now)


def change(world: World, action: str, batch_id: BatchId) -> str:
    actions = {"pause": batches.pause, "resume": batches.resume, "cancel": batches.cancel}
    if action == "schedule":
        return schedule(world, batch_id)
    return actions[action](world.db, world.installed.workspace_id, batch_id)


def conflict(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(StateConflict) as caught:
        act()
    return caught.value.code, str(caught.value)
