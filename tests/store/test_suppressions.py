"""Suppressed numbers in SQL: many at once, also of two files that name the same ones."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from dialer.store import suppressions
from dialer.store.database import run
from support.deadline import wait_until
from support.engine_steps import lock_waiters
from support.world import World

FIRST, SECOND = "+12025550101", "+12025550102"


def test_two_who_suppress_the_same_numbers_in_opposite_orders_do_not_wait_for_each_other(world: World) -> None:
    workspace_id = world.installed.workspace_id

    def copy() -> tuple[int, int]:
        with world.db.session() as session:
            seen = suppressions.stage(session, [(uuid4(), SECOND, None), (uuid4(), FIRST, None)])
            with session.begin() as connection:
                return seen, suppressions.store(connection, workspace_id)

    with ThreadPoolExecutor(1) as pool:
        with world.db.begin() as other:
            suppress = "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)"
            run(other, suppress, workspace=workspace_id, phone=FIRST)
            copying = pool.submit(copy)
            wait_until(lambda: lock_waiters(world) == 1)
            run(other, suppress, workspace=workspace_id, phone=SECOND)
        assert copying.result(20) == (2, 0)
