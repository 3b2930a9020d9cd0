"""Contacts, numbers and trunks that attempts refer to: kept, or deleted together, by triggers (P5)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dialer.errors import Contended
from dialer.store.database import rows, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import RESERVE, dispatch_and_place, end_call, live_attempts, lock_waiters
from support.ledger_rows import audit_violations
from support.world import World


def test_a_number_with_calls_is_not_deleted(world: World) -> None:
    dispatch_and_place(world, world.batch(1))
    world.sql("DELETE FROM batch_numbers")
    world.sql("DELETE FROM phone_numbers WHERE id NOT IN (SELECT phone_number_id FROM attempts)")
    with pytest.raises(Contended, match="has calls; make it inactive instead"):
        world.sql("DELETE FROM phone_numbers")
    # A contact that is called from the same number again keeps it when its attempts are archived.
    world.sql("UPDATE contacts SET first_number_id = phone_number_id FROM attempts")
    world.sql("DELETE FROM attempts")
    with pytest.raises(Contended, match="has calls"):
        world.sql("DELETE FROM phone_numbers")
    world.sql("DELETE FROM contacts")
    assert world.sql("DELETE FROM phone_numbers") == 1


def test_a_trunk_with_calls_is_not_deleted(world: World) -> None:
    dispatch_and_place(world, world.batch(1))
    world.sql("""
        WITH other AS (INSERT INTO trunks (id, workspace_id, name, provider)
                       SELECT gen_random_uuid(), workspace_id, 'other', 'simulator' FROM trunks RETURNING id)
        UPDATE phone_numbers SET trunk_id = other.id FROM other
        """)
    with pytest.raises(Contended, match="has calls; make it inactive instead"):
        world.sql("DELETE FROM trunks WHERE name <> 'other'")
    world.sql("DELETE FROM attempts")
    assert world.sql("DELETE FROM trunks WHERE name <> 'other'") == 1


def test_whoever_deletes_a_number_waits_for_a_claim_that_uses_it(world: World) -> None:
    used, unused, _ = world.installed.number_ids
    batch_id = world.batch(1, phone_number_ids=[used])
    with ThreadPoolExecutor(1) as pool:
        with world.db.begin() as claim:
            rows(claim, "SELECT 1 FROM phone_numbers WHERE id = :id FOR KEY SHARE", id=unused)
            run(claim, RESERVE, batch=batch_id, number=unused)
            deleting = pool.submit(world.sql, "DELETE FROM phone_numbers WHERE id = :id", id=unused)
            wait_until(lambda: lock_waiters(world) == 1)
        with pytest.raises(Contended, match=f"Phone number {unused} has calls"):
            deleting.result(DEADLINE_SECONDS)


def test_the_attempts_of_a_contact_are_deleted_with_it(world: World) -> None:
    batch_id = world.batch(2)
    dispatch_and_place(world, batch_id)
    ended, _ = live_attempts(world)
    end_call(world, ended)
    with world.db.begin() as connection:
        run(connection, "DELETE FROM contacts WHERE id = (SELECT contact_id FROM attempts WHERE state = 'ended')")
        assert rows(connection, "SELECT count(*) FROM attempts") == [(1,)]


@pytest.mark.parametrize("table", ["contacts", "phone_numbers", "trunks"])
def test_the_audit_names_attempts_that_refer_to_nothing(world: World, table: str) -> None:
    batch_id = world.batch(1)
    dispatch_and_place(world, batch_id)
    attempt_id = world.value("SELECT id FROM attempts")
    with world.db.begin() as connection:
        run(connection, "SET LOCAL session_replication_role = replica")
        run(connection, f"DELETE FROM {table}")
    assert audit_violations(world)["P5 broken_reference"] == (str(attempt_id),)
