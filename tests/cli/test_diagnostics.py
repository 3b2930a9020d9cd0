"""`dialer db`, `audit` and `doctor`: what they say, as text and as JSON, and with which code they end."""

import json
from random import Random
from typing import Any

import pendulum
import pytest

from cli.conftest import Dialer
from dialer.service import demo_setup
from dialer.store import health
from dialer.store.database import Database
from dialer.store.schema_version import head
from support.world import World

UNKNOWN = "0198c0de-0000-7000-8000-000000000001"

pytestmark = pytest.mark.usefixtures("in_cluster")


def test_the_database_is_brought_to_its_migration_and_checked_twice_the_same(dialer: Dialer, db: Database) -> None:
    for _ in range(2):
        assert dialer("db", "upgrade").out == f"The database is at migration {head()}.\n"
        assert dialer("db", "check").out == f"The database is at migration {head()}, as it should be.\n"
    assert json.loads(dialer("db", "check", "--json").out) == {"migration": head()}


def test_the_database_alone_is_enough_for_its_migrations_and_the_audit(
    dialer: Dialer, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIALER_REDIS_URL")
    for command in (("db", "check"), ("db", "upgrade"), ("audit",)):
        assert dialer(*command).code == 0


def test_an_audit_of_a_batch_is_clean_until_a_promise_is_broken(dialer: Dialer, world: World) -> None:
    batch_id = world.batch(3)
    world.run(lambda: world.is_over(batch_id))
    assert dialer("audit").out.startswith("Audit clean: 3 attempts, 3 contacts, 1 batches")
    assert dialer("audit", str(batch_id)).code == 0
    # As no rule of the engine allows: a contact that is over, with an attempt that is not.
    world.sql(
        "UPDATE attempts SET state = 'answered', outcome = NULL, ended_at = NULL, rescue_at = now() WHERE id ="
        " (SELECT id FROM attempts LIMIT 1)"
    )
    result = dialer("audit", str(batch_id), "--json")
    assert result.code == 1
    assert not json.loads(result.out)["is_clean"]
    assert "broken rules" in dialer("audit").out


def test_an_audit_of_a_batch_that_does_not_exist_is_refused(dialer: Dialer, db: Database) -> None:
    assert dialer("audit", UNKNOWN).refusal == f"dialer: No batch {UNKNOWN}"


def test_the_doctor_finds_what_is_overdue_what_cannot_be_reached_and_leases_that_are_lost(
    dialer: Dialer, world: World
) -> None:
    world.sql('UPDATE trunks SET config = \'{"url": "tcp://127.0.0.1:1"}\'')
    world.batch(3)
    world.sql("UPDATE batch_progress SET next_dispatch_at = now() - interval '2 minutes'")
    world.leases.void()
    result = dialer("doctor")
    assert result.code == 1
    first, second, third = result.out.splitlines()
    assert first == "1 batches have been due for over a minute: is a beat running, and a worker?"
    assert second.startswith("Redis has no leases")
    assert third.startswith("Trunk simulator cannot place calls: The simulated network at tcp://127.0.0.1:1 does not")
    assert json.loads(dialer("doctor", "--json").out) == {"troubles": [first, second, third]}


def test_the_doctor_finds_processes_that_do_nothing_because_of_their_clocks(dialer: Dialer, world: World) -> None:
    world.sql("UPDATE trunks SET status = 'inactive'")
    world.leases.note_skew("two:7", -6.04)
    world.leases.note_skew("one:7", 18_000.0)
    assert dialer("doctor").out.splitlines() == [
        "The clock of one:7 is 18000.0 s ahead of that of Postgres, so it does nothing: synchronise it",
        "The clock of two:7 is 6.0 s behind that of Postgres, so it does nothing: synchronise it",
    ]


def test_the_doctor_finds_a_redis_that_evicts_keys(dialer: Dialer, world: World) -> None:
    world.sql("UPDATE trunks SET status = 'inactive'")
    client: Any = world.leases._redis
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert dialer("doctor").code == 0
    client.config_set("maxmemory", "1gb")
    try:
        (result,) = dialer("doctor").out.splitlines()
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert result.startswith("Redis evicts keys (allkeys-lru)")


def test_the_doctor_says_what_keeps_redis_from_writing(world: World) -> None:
    client: Any = world.leases._redis
    client.config_set("maxmemory", 1)
    client.replicaof("127.0.0.1", "1")
    try:
        with world.db.begin() as connection:
            sentences = health.redis_troubles(connection, world.leases)
    finally:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
    assert {
        "The memory of Redis is full (1 bytes), so no call starts: raise maxmemory",
        "Redis is a replica, which takes no writes: set DIALER_REDIS_URL to the primary",
    } <= set(sentences)


def test_the_doctor_says_that_postgres_takes_no_writes(world: World) -> None:
    with world.db.begin() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        (sentence,) = health.troubles(connection, world.clock.now)
    assert (
        sentence == "Postgres takes no writes: switch default_transaction_read_only off, for the database and its user"
    )


def test_the_doctor_finds_a_redis_that_has_the_memory_of_another_run(dialer: Dialer, world: World) -> None:
    world.sql("UPDATE trunks SET status = 'inactive'")
    world.leases._redis.set("{dialer}:run", "0" * 40)
    (result,) = dialer("doctor").out.splitlines()
    assert result.startswith("Redis has no leases, or has them from before it was restarted")


def test_the_doctor_finds_nothing_where_nothing_is_wrong(dialer: Dialer, world: World) -> None:
    world.sql("UPDATE trunks SET status = 'inactive'")
    assert dialer("doctor").out == "Postgres, its schema, Redis and every active trunk are fine; nothing is overdue.\n"
    assert json.loads(dialer("doctor", "--json").out) == {"troubles": []}


def test_a_trunk_of_a_provider_that_does_not_exist_is_told_by_the_doctor(dialer: Dialer, world: World) -> None:
    world.sql("UPDATE trunks SET provider = 'pigeon'")
    result = dialer("doctor").out
    assert result.startswith(
        "Trunk simulator cannot place calls: No provider named pigeon is installed; there are asterisk"
    )


def test_a_simulated_installation_is_set_up_twice_the_same(db: Database) -> None:
    now = pendulum.now("UTC")
    assert demo_setup.install(db, {}, now, Random(1)) == demo_setup.install(db, {}, now, Random(2))
