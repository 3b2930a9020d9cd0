"""Postgres: connections, transactions, and the check that the schema is the one this code was written for."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pendulum
import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pendulum import DateTime
from sqlalchemy import Connection as Connection
from sqlalchemy import Row, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from dialer.errors import Contended, Unavailable

# SQLSTATE of a serialization failure, a deadlock, and a lock that was not to be had in time.
CONTENTION = {"40001", "40P01", "55P03"}
INSISTENCE = 4
STREAMED_ROWS = 1_000
MIGRATIONS = Path(__file__).parent / "migrations"
SET_NOW = text("SELECT set_config('dialer.now', :now, false)")

T = TypeVar("T")


class Database:
    """A pool of connections. Sessions live in UTC and READ COMMITTED: the guards in each WHERE count on seeing what
    others committed while they waited for a lock.

    `virtual_now`, where given, is the ledger's clock too: a transaction begins by setting `dialer.now` to it.
    """

    def __init__(self, url: str, *, pool_size: int = 10, virtual_now: Callable[[], DateTime] | None = None) -> None:
        try:
            self._engine = create_engine(
                url,
                poolclass=QueuePool,
                pool_size=pool_size,
                max_overflow=pool_size,
                connect_args={"options": "-c timezone=UTC", "connect_timeout": 5, "application_name": "dialer"},
            )
        except ArgumentError:
            raise Unavailable("DIALER_DATABASE_URL is not a database URL (postgresql+psycopg://…)") from None
        if virtual_now is not None:
            event.listen(self._engine, "begin", lambda connection: set_now(connection, virtual_now()))
            event.listen(self._engine, "rollback", _forget_now)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an exception."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            if isinstance(error.orig, psycopg.errors.ForeignKeyViolation):
                # What was there when it was looked up is not any more: who looks again is told so.
                raise Contended(f"What this refers to was deleted just now: {_first_line(error)}") from error
            raise
        except PoolTimeout as error:
            raise Unavailable("Every connection to Postgres is in use") from error
        except OperationalError as error:
            if _state(error.orig) in CONTENTION:
                raise Contended(f"Another transaction is in the way: {_first_line(error)}") from error
            if _is_away(error.orig):
                raise Unavailable(f"Postgres does not answer: {_first_line(error)}") from error
            raise

    def now(self) -> DateTime:
        """Read the ledger's clock."""
        with self.begin() as connection:
            (row,) = rows(connection, "SELECT dialer_now() AS now")
        now: DateTime = pendulum.instance(row.now)
        return now

    def insist(self, work: Callable[[Connection], T]) -> T:
        """Do this in one transaction; where another is in the way, do it again, a few times."""
        for _ in range(INSISTENCE):
            with suppress(Contended), self.begin() as connection:
                return work(connection)
        with self.begin() as connection:
            return work(connection)

    def within(self, connection: Connection) -> "Database":
        """The same database, whose every transaction is this one: what services do with it is committed together."""
        return _Within(connection)

    def revision(self) -> str | None:
        """Say at which migration the database is; None: at none."""
        with self.begin() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def check(self) -> None:
        """Raise Unavailable, in words for an operator, unless the database answers and is at this code's migration."""
        found, wanted = self.revision(), head()
        if found != wanted:
            raise Unavailable(
                f"The database is at migration {found or 'none'}, this version of Dialer needs {wanted}: "
                "run `dialer db upgrade`"
            )

    def upgrade(self) -> None:
        """Bring the schema to this code's migration. Called twice, or by several at once: the same."""
        with self.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        self._engine.dispose()


class _Within(Database):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Go on in the transaction that there is; an exception undoes all of it."""
        yield self._connection

    def insist(self, work: Callable[[Connection], T]) -> T:
        """Do this once: only whoever began the transaction can begin it anew."""
        return work(self._connection)


def head() -> str:
    """Name the newest migration that this code brings."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def rows(connection: Connection, sql: str, /, **values: Any) -> Sequence[Row[Any]]:
    """Run one statement and return all its rows."""
    return connection.execute(_statement(sql), values).all()


def stream(connection: Connection, sql: str, /, **values: Any) -> Generator[Row[Any]]:
    """Run one statement and yield its rows from a cursor of the server: memory stays flat however many there are.

    To be closed before its transaction ends, where not all rows are taken.
    """
    with connection.execute(_statement(sql), values, execution_options={"yield_per": STREAMED_ROWS}) as found:
        yield from found


def run(connection: Connection, sql: str, /, **values: Any) -> int:
    """Run one statement and return how many rows it changed."""
    return connection.execute(_statement(sql), values).rowcount


# Reading the placeholders of a long statement takes longer than sending it.
_statement = lru_cache(maxsize=512)(text)


def run_script(connection: Connection, path: Path) -> None:
    """Run the statements of a file as they stand: neither a colon nor a percent sign is a placeholder there."""
    connection.connection.cursor().execute(path.read_text("utf-8"))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def set_now(connection: Connection, now: DateTime) -> None:
    """Let the ledger's clock stand at `now` in this session, if it does not already."""
    if connection.info.get("now") != now:
        connection.execute(SET_NOW, {"now": now.isoformat()})
        connection.info["now"] = now


def _forget_now(connection: Connection) -> None:
    """What a transaction has set ends with it, where it is rolled back; with the session it has ended already."""
    if not connection.invalidated:
        connection.info.pop("now", None)


def _is_away(error: BaseException | None) -> bool:
    """Tell a server that cannot be reached, or goes away, from one that breaks off a deadlock.

    SQLSTATE classes 08 (connection), 53 (resources) and 57 (operator intervention); none: there was no session.
    """
    state = _state(error)
    return state is None or state[:2] in {"08", "53", "57"}


def _state(error: BaseException | None) -> str | None:
    return error.sqlstate if isinstance(error, psycopg.Error) else None


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
