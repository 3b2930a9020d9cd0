"""What others do to the database in a story befalls it, and is over when the story is."""

from random import Random

import pytest
from sqlalchemy import text

from chaos.environment import LOCKED
from chaos.play import Cast, play
from chaos.story import AT_DATABASE, Story
from chaos.touching import HurriedDatabase
from dialer.errors import Contended, Unfit
from support.world import World

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]

SCHEMA = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
# Stories in which all three strike, in one or the other.
SEEDS = (9, 24)


def test_a_story_leaves_the_database_as_it_was(cast: Cast) -> None:
    before = cast.monitor.postgres.execute(SCHEMA).fetchall()
    told = ""
    for seed in SEEDS:
        told += "\n".join(play(Story(seed), cast).told)
        assert cast.monitor.postgres.execute(SCHEMA).fetchall() == before
        assert not cast.monitor.postgres.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND locktype <> 'virtualxid'", [cast.environment.backend]
        ).fetchall()
    assert all(kind in told for kind in AT_DATABASE)


def test_a_story_can_be_told_without_what_others_do_to_the_database(cast: Cast) -> None:
    told = "\n".join(play(Story(SEEDS[0], without=frozenset(AT_DATABASE)), cast).told)
    assert not any(kind in told for kind in AT_DATABASE)


def test_what_is_in_use_is_neither_locked_nor_changed(cast: Cast, world: World) -> None:
    world.batch(1)
    with world.db.begin() as connection:
        for table in LOCKED:
            connection.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))
        for seed, kind in enumerate(sorted(AT_DATABASE) * 5):
            assert cast.environment.strike(kind, Random(seed), 0).startswith("not now")
    cast.environment.end()


def test_a_column_that_is_renamed_makes_statements_fail_until_it_is_taken_back(cast: Cast, world: World) -> None:
    table, _, column = cast.environment.strike("column renamed", Random(1), 1).partition(".")
    with pytest.raises(Unfit):
        world.value(f"SELECT count({column}) FROM {table}")
    assert not cast.environment.is_fitting
    assert list(cast.environment.take_back(0.5)) == []
    assert list(cast.environment.take_back(1)) == ["the schema is as it was"]
    assert world.value(f"SELECT count({column}) FROM {table}") == 0


def test_an_open_transaction_keeps_its_locks_until_it_is_ended(cast: Cast, world: World) -> None:
    batch_id = world.batch(1)
    assert cast.environment.hold_of(batch_id, Random(1))
    hurried = HurriedDatabase(world.database_url, virtual_now=world.clock)

    def write() -> None:
        with hurried.begin() as connection:
            for table in ("batches", "batch_progress", "contacts"):
                connection.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))

    with pytest.raises(Contended):
        write()
    cast.environment.free()
    write()
    hurried.close()
