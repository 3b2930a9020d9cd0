"""The faults in the database are injected, and are reverted at the end of a scenario."""

from random import Random

import pytest
from sqlalchemy import text

from chaos.database_faults import LOCKABLE
from chaos.fault_points import ShortTimeoutDatabase
from chaos.harness import Harness
from chaos.runner import run_scenario
from chaos.scenario import DATABASE_FAULTS, Scenario
from dialer.errors import Contended, Unfit
from support.world import World

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

SCHEMA = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
# Scenarios that together inject all three faults.
SEEDS = (9, 24)


def test_a_scenario_leaves_the_schema_unchanged_and_no_lock(harness: Harness) -> None:
    before = harness.monitor.postgres.execute(SCHEMA).fetchall()
    log = ""
    for seed in SEEDS:
        log += "\n".join(run_scenario(Scenario(seed), harness).log)
        assert harness.monitor.postgres.execute(SCHEMA).fetchall() == before
        assert not harness.monitor.postgres.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND locktype <> 'virtualxid'",
            [harness.database_faults.locking_backend],
        ).fetchall()
    assert all(kind in log for kind in DATABASE_FAULTS)


def test_a_scenario_can_run_without_database_faults(harness: Harness) -> None:
    log = "\n".join(run_scenario(Scenario(SEEDS[0], without=frozenset(DATABASE_FAULTS)), harness).log)
    assert not any(kind in log for kind in DATABASE_FAULTS)


def test_a_table_in_use_is_neither_locked_nor_altered(harness: Harness, world: World) -> None:
    world.batch(1)
    with world.db.begin() as connection:
        for table in LOCKABLE:
            connection.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))
        for seed, kind in enumerate(sorted(DATABASE_FAULTS) * 5):
            assert harness.database_faults.inject(kind, Random(seed), 0).startswith("not now")
    harness.database_faults.restore_all()


def test_a_renamed_column_makes_statements_fail_until_it_is_restored(harness: Harness, world: World) -> None:
    table, _, column = harness.database_faults.inject("column renamed", Random(1), 1).partition(".")
    with pytest.raises(Unfit):
        world.value(f"SELECT count({column}) FROM {table}")
    assert not harness.database_faults.has_known_schema
    assert list(harness.database_faults.revert_due(0.5)) == []
    assert list(harness.database_faults.revert_due(1)) == ["the schema is restored"]
    assert world.value(f"SELECT count({column}) FROM {table}") == 0


def test_an_open_transaction_keeps_its_locks_until_it_is_ended(harness: Harness, world: World) -> None:
    batch_id = world.batch(1)
    assert harness.database_faults.lock_batch_rows(batch_id, Random(1))
    impatient = ShortTimeoutDatabase(world.database_url, virtual_now=world.clock)

    def write() -> None:
        with impatient.begin() as connection:
            for table in ("batches", "batch_progress", "contacts"):
                connection.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))

    with pytest.raises(Contended):
        write()
    harness.database_faults.end_transaction()
    write()
    impatient.close()
