"""The schema: made by migrations from nothing, and true to the state machines of the domain. What failures mean."""

import itertools
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from dialer.domain.states import BATCH_TRANSITIONS, BatchStatus
from dialer.embedded import Servers
from dialer.errors import Contended, Unavailable
from dialer.store.database import Database, Timeouts, rows
from dialer.store.database_errors import data_error
from dialer.store.schema_version import head

# What migrations write: each catalog, the key of its rows, and which of them are about our schema.
OURS = "= 'public'::regnamespace"
CATALOGS = {
    "pg_class": ("oid", f"relnamespace {OURS}"),
    "pg_attribute": ("attrelid, attnum", f"attrelid IN (SELECT oid FROM pg_class WHERE relnamespace {OURS})"),
    "pg_attrdef": ("oid", "true"),
    "pg_constraint": ("oid", f"connamespace {OURS}"),
    "pg_trigger": ("oid", "true"),
    "pg_proc": ("oid", f"pronamespace {OURS}"),
    "pg_type": ("oid", f"typnamespace {OURS}"),
}


def test_a_migrated_database_is_fit_for_use(db: Database) -> None:
    db.check()
    assert db.revision() == head()


def test_what_is_confirmed_is_durable_on_a_server_that_is_set_to_lose_it(db: Database) -> None:
    """The embedded servers of the tests are set so."""
    with db.begin() as connection:
        assert rows(connection, "SELECT setting FROM pg_settings WHERE name = 'synchronous_commit'") == [("on",)]


def test_upgrading_twice_changes_nothing(db: Database) -> None:
    with db.begin() as connection:
        rows(connection, "INSERT INTO workspaces (id, name) VALUES (:id, 'kept') RETURNING id", id=uuid4())
    before = schema_and_rows(db)
    assert len(before["pg_class"]) > 50
    assert len(before["alembic_version"]) == len(before["workspaces"]) == 1
    db.upgrade()
    assert schema_and_rows(db) == before
    db.check()


def schema_and_rows(db: Database) -> dict[str, list[Any]]:
    """Read the versions (xmin) of all rows that a migration could write, in the catalogs and in our tables."""
    with db.begin() as connection:
        versions_by_table = {
            catalog: [
                tuple(row)
                for row in rows(connection, f"SELECT {key}, xmin FROM {catalog} WHERE {of_ours} ORDER BY {key}")
            ]
            for catalog, (key, of_ours) in CATALOGS.items()
        }
        for table in rows(connection, f"SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace {OURS}"):
            versions = rows(connection, f"SELECT xmin FROM {table.relname} ORDER BY ctid")
            versions_by_table[table.relname] = [row.xmin for row in versions]
    return versions_by_table


def test_code_goes_on_on_a_newer_schema_as_long_as_that_says_so(db: Database) -> None:
    with db.begin() as connection:
        within = db.within(connection)
        rows(connection, "UPDATE alembic_version SET version_num = '9998' RETURNING 1")
        within.check()
        within.upgrade()
        assert within.revision() == "9998"
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION dialer_oldest_code() RETURNS text LANGUAGE sql AS $$SELECT '9998'$$"
        )
        for refused in (within.check, within.upgrade):
            with pytest.raises(Unavailable, match=r"is at migration 9998,.* this version of Dialer does not"):
                refused()
        connection.exec_driver_sql("ROLLBACK")


def test_sessions_of_processes_have_limits_of_their_own_whatever_is_set_for_the_database(
    servers: Servers, db: Database
) -> None:
    name = urlsplit(servers.database_url).path.removeprefix("/")
    ours = {"default_transaction_isolation": "read committed", "statement_timeout": "0", "idle_session_timeout": "0"}
    given = {
        "default_transaction_isolation": "'serializable'",
        "statement_timeout": "7",
        "idle_session_timeout": "7000",
    }
    with db.begin() as connection:
        for setting, value in given.items():
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET {setting} = {value}')
    database = Database(servers.database_url, timeouts=Timeouts(lock_seconds=1, idle_seconds=1))
    try:
        with database.begin() as connection:
            assert {setting: rows(connection, f"SHOW {setting}")[0][0] for setting in ours} == ours
    finally:
        database.close()
        with db.begin() as connection:
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" RESET ALL')


def test_a_database_that_does_not_answer_is_named_in_one_line() -> None:
    with pytest.raises(Unavailable, match="Postgres does not answer"):
        Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing").check()


@pytest.mark.parametrize(("old", "new"), list(itertools.product(BatchStatus, BatchStatus)))
def test_the_database_allows_exactly_the_transitions_of_the_domain(
    db: Database, old: BatchStatus, new: BatchStatus
) -> None:
    with db.begin() as connection:
        (row,) = rows(connection, "SELECT batch_may_become(:old, :new) AS allowed", old=old, new=new)
    assert row.allowed == (new in BATCH_TRANSITIONS[old])


def raises(db: Database, code: str) -> None:
    """Let Postgres say this."""
    with db.begin() as connection:
        connection.exec_driver_sql(f"DO $$BEGIN RAISE 'as told' USING ERRCODE = '{code}'; END$$")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        *((code, Contended) for code in ("40001", "40P01", "55P03", "23503")),
        *((code, Unavailable) for code in ("08006", "53100", "53300", "57P01", "57014", "0A000", "25006", "26000")),
        *((code, Unavailable) for code in ("28000", "3D000", "3F000", "42P01", "42703", "42501", "55006", "58030")),
    ],
)
def test_a_failure_that_passes_by_itself_is_told_as_one_whatever_was_asked(
    db: Database, code: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="as told"):
        raises(db, code)


@pytest.mark.parametrize("code", ["22003", "22P02", "23502", "23505", "23514", "54000"])
def test_a_failure_of_the_data_is_named_by_its_sqlstate(db: Database, code: str) -> None:
    with pytest.raises(DBAPIError) as caught:
        raises(db, code)
    assert data_error(caught.value) == code


@pytest.mark.parametrize("code", ["XX000", "XX001", "P0001", "21000"])
def test_any_other_failure_is_neither(db: Database, code: str) -> None:
    with pytest.raises(DBAPIError) as caught:
        raises(db, code)
    assert data_error(caught.value) is None
    assert data_error(ValueError()) is None


def test_what_the_driver_refuses_to_send_is_a_failure_of_the_data(db: Database) -> None:
    with pytest.raises(DBAPIError) as caught, db.begin() as connection:
        rows(connection, "SELECT CAST(:text AS text)", text="\x00")
    assert data_error(caught.value) == "DataError"


def backend(db: Database) -> int:
    with db.begin() as connection:
        return int(rows(connection, "SELECT pg_backend_pid()")[0][0])


def test_a_connection_that_does_not_fit_the_schema_any_more_is_not_used_again(servers: Servers, db: Database) -> None:
    database = Database(servers.database_url, pool_size=1)
    first = backend(database)
    assert backend(database) == first
    with pytest.raises(DBAPIError):
        raises(database, "23514")
    assert backend(database) == first
    for code in ("0A000", "25006", "42703"):
        before = backend(database)
        with pytest.raises(Unavailable):
            raises(database, code)
        assert backend(database) != before
    database.close()


def test_a_prepared_statement_whose_result_changes_is_asked_again_and_works(servers: Servers, db: Database) -> None:
    database = Database(servers.database_url, pool_size=1)

    def ask() -> int:
        with database.begin() as connection:
            return len(rows(connection, "SELECT * FROM api_keys LIMIT 0"))

    try:
        for _ in range(10):
            ask()  # until the driver has prepared it
        with db.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE api_keys ADD COLUMN of_an_operator text")
        with pytest.raises(Unavailable, match="cached plan must not change result type"):
            ask()
        assert ask() == 0
    finally:
        with db.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE api_keys DROP COLUMN of_an_operator")
        database.close()
