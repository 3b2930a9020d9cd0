"""Postgres: connections, transactions, and the check that the schema is the one this code was written for."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from pendulum import UTC, DateTime
from sqlalchemy import Connection as Connection
from sqlalchemy import Row, create_engine, event, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from dialer.domain.change_origin import ChangeOrigin, ChangeSource
from dialer.errors import Contended, Unavailable
from dialer.store.array_dumper import ArrayDumper
from dialer.store.database_errors import forget_values, judged, leave_unfit

INSISTENCE = 4
# How long a step waits for rows that others have locked before it skips them: less than the second after which
# Postgres looks for deadlocks and may cancel an operator's statement.
LOCK_WAIT = "400ms"
# Both sides close a connection about 30 s after the other side has disappeared.
KEEPALIVE = {"idle": 10, "interval": 5, "count": 4}
LOST_AFTER_MS = 30_000
STREAMED_ROWS = 1_000
SET_NOW = text("SELECT set_config('dialer.now', :now, false)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """When Postgres cancels, in seconds: a statement that waits for a lock, and a transaction that is idle, so that a
    process that was stopped in the middle of one does not keep its locks.
    """

    lock_seconds: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections of one process: in use, and how many there may be."""

    used: int
    limit: int


class Database:
    """A pool of connections. Sessions use UTC and READ COMMITTED: the guards in each WHERE rely on seeing what others
    committed while the statement waited for a lock.

    `timeouts` None: sessions have those of the server, which usually has none. `virtual_now`, where given, replaces the
    ledger's clock: each transaction begins by setting `dialer.now` to it.
    """

    #: From where its transactions come, for the history of batches and the log.
    origin = ChangeOrigin(ChangeSource.ENGINE)

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        timeouts: Timeouts | None = None,
        virtual_now: Callable[[], DateTime] | None = None,
    ) -> None:
        try:
            self._engine = create_engine(
                url,
                poolclass=QueuePool,
                pool_size=pool_size,
                max_overflow=pool_size,  # pool_use counts with it
                hide_parameters=True,
                connect_args={
                    # Compiling a plan, which Postgres does where it expects many rows, would take seconds a claim.
                    # A permit or report that a crash of the server loses breaks P1 or P5, however the server is set.
                    "options": "-c timezone=UTC -c jit=off -c synchronous_commit=on",
                    "connect_timeout": 5,
                    "application_name": "dialer",
                    "tcp_user_timeout": LOST_AFTER_MS,
                }
                | {f"keepalives_{name}": value for name, value in KEEPALIVE.items()},
            )
        except ArgumentError:
            raise Unavailable("DIALER_DATABASE_URL is not a database URL (postgresql+psycopg://…)") from None
        event.listen(self._engine, "connect", lambda connection, _: _adapt(connection))
        event.listen(self._engine, "handle_error", forget_values)
        event.listen(self._engine, "handle_error", leave_unfit)
        if timeouts is not None:
            event.listen(self._engine, "connect", lambda connection, _: _limit(connection, timeouts))
        if virtual_now is not None:
            event.listen(self._engine, "begin", lambda connection: set_now(connection, virtual_now()))
            event.listen(self._engine, "rollback", _forget_now)
        self._without_transactions = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an exception."""
        with judged(), self._engine.begin() as connection:
            yield connection

    def now(self) -> DateTime:
        """Read the ledger's clock, without a transaction: one round trip in place of three."""
        with judged(), self._without_transactions.connect() as connection:
            return _now(connection)

    def insist(self, work: Callable[[Connection], T]) -> T:
        """Call `work` in one transaction; retry it a few times where another transaction is in the way."""
        for _ in range(INSISTENCE):
            with suppress(Contended), self.begin() as connection:
                return work(connection)
        with self.begin() as connection:
            return work(connection)

    def hurried(self, max_seconds: float, seconds: Callable[[], float]) -> "Database":
        """Return the same database for reads: a transaction that takes longer is cancelled. `seconds`: a clock."""
        return _Hurried(self, max_seconds, seconds)

    def attributed_to(self, origin: ChangeOrigin) -> "Database":
        """Return the same database; the history of batches says that its transactions came from `origin`."""
        return _Attributed(self, origin)

    @contextmanager
    def session(self) -> Iterator["Database"]:
        """Yield the same database on one connection, so that its transactions, one after the other, share temporary
        tables. Between them no transaction is open. A session that failed is closed, and its tables with it.
        """
        with judged(), self._engine.connect() as connection:
            try:
                yield _Session(connection)
            except BaseException:
                connection.invalidate()
                raise

    def pool_use(self) -> "PoolUse":
        """Return how many connections of this process are in use now."""
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        return PoolUse(pool.checkedout(), 2 * pool.size())

    def within(self, connection: Connection) -> "Database":
        """Return the same database with all transactions inside this one: what services do is committed together."""
        return _Within(connection, self.origin)

    def revision(self) -> str | None:
        """Return the migration of the database; None: it has none."""
        from dialer.store import schema_version

        with self.begin() as connection:
            return schema_version.revision(connection)

    def check(self) -> None:
        """Raise Unavailable, worded for operators, unless the database answers and this code works on its schema."""
        from dialer.store import schema_version

        with self.begin() as connection:
            schema_version.check(connection)

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to this code's migration. Called twice, or by several at once: the same."""
        from dialer.store import schema_version

        with self.begin() as connection:
            rows(connection, "SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
            schema_version.upgrade(connection, revision)

    def close(self) -> None:
        self._engine.dispose()


class _View(Database):
    """The same database in other transactions than those that a pool begins."""

    def now(self) -> DateTime:
        """Read the ledger's clock in such a transaction."""
        with self.begin() as connection:
            return _now(connection)


class _Within(_View):
    def __init__(self, connection: Connection, origin: ChangeOrigin) -> None:
        self._connection, self.origin = connection, origin

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Continue the open transaction; an exception rolls all of it back."""
        yield self._connection

    @contextmanager
    def session(self) -> Iterator[Database]:
        yield self

    def insist(self, work: Callable[[Connection], T]) -> T:
        """Call `work` once: only the code that began the transaction can begin it again."""
        return work(self._connection)


class _Session(_View):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with judged(), self._connection.begin():
            yield self._connection


class _Hurried(_View):
    def __init__(self, database: Database, max_seconds: float, seconds: Callable[[], float]) -> None:
        self._database, self._max_seconds, self._seconds = database, max_seconds, seconds

    def pool_use(self) -> PoolUse:
        return self._database.pool_use()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        ends_at, limit = self._seconds() + self._max_seconds, inf

        def hurry(connection: Connection, *_: Any) -> None:
            nonlocal limit
            left = ends_at - self._seconds()
            # Sent again only where it has changed much: most reads take milliseconds.
            if left < 0.9 * limit:
                # Zero would mean no limit.
                milliseconds, limit = max(1, round(left * 1000)), left
                with closing(connection.connection.cursor()) as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])

        with self._database.begin() as connection:
            event.listen(connection, "before_cursor_execute", hurry)
            try:
                yield connection
            finally:
                event.remove(connection, "before_cursor_execute", hurry)


class _Attributed(_View):
    def __init__(self, database: Database, origin: ChangeOrigin) -> None:
        self._database, self.origin = database, origin

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with self._database.begin() as connection:
            rows(
                connection,
                "SELECT set_config('dialer.source', :source, true), set_config('dialer.key_id', :key, true)",
                source=self.origin.source,
                key=str(self.origin.key_id or ""),
            )
            yield connection

    @contextmanager
    def session(self) -> Iterator[Database]:
        """Yield a session of the same database. Imports use it, which no history mentions."""
        with self._database.session() as session:
            yield session


def _now(connection: Connection) -> DateTime:
    (row,) = rows(connection, "SELECT dialer_now() AS now")
    return moment(row.now)


def rows(connection: Connection, sql: str, /, **values: Any) -> Sequence[Row[Any]]:
    """Run one statement and return all its rows."""
    return connection.execute(_statement(sql), values).all()


def stream(connection: Connection, sql: str, /, **values: Any) -> Generator[Row[Any]]:
    """Run one statement and yield its rows from a server-side cursor: memory does not grow with the number of rows.

    Must be closed before its transaction ends, where not all rows are consumed.
    """
    with connection.execute(_statement(sql), values, execution_options={"yield_per": STREAMED_ROWS}) as records:
        yield from records


def run(connection: Connection, sql: str, /, **values: Any) -> int:
    """Run one statement and return how many rows it changed."""
    return connection.execute(_statement(sql), values).rowcount


# Parsing the placeholders of a long statement takes longer than sending it.
_statement = lru_cache(maxsize=512)(text)


def moment(value: datetime) -> DateTime:
    """Return a timestamp of a row, which is in UTC as its session is, in a tenth of the time of pendulum's own way."""
    return DateTime(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, UTC)


def optional_moment(value: datetime | None) -> DateTime | None:
    """Return a timestamp of a row as `moment` does; None stays None."""
    return None if value is None else moment(value)


def run_script(connection: Connection, path: Path) -> None:
    """Run the statements of a file as they are: neither colons nor percent signs are placeholders there."""
    connection.connection.cursor().execute(path.read_text("utf-8"))


def set_now(connection: Connection, now: DateTime) -> None:
    """Set the ledger's clock to `now` in this session, unless it is already."""
    if connection.info.get("now") != now:
        connection.execute(SET_NOW, {"now": now.isoformat()})
        connection.info["now"] = now


def _forget_now(connection: Connection) -> None:
    """Forget the clock of a session: a rollback has undone its setting."""
    if not connection.invalidated:
        connection.info.pop("now", None)


def wait_shortly(connection: Connection) -> None:
    """Until this transaction ends, a statement that waits for a lock for longer than LOCK_WAIT raises Contended."""
    rows(connection, f"SELECT set_config('lock_timeout', '{LOCK_WAIT}', true)")


def passing_over(skip_locked: bool) -> str:
    """Return the SQL by which a locking clause skips rows that others have locked; "": it waits for them."""
    return "SKIP LOCKED" if skip_locked else ""


def checked_last(condition: str) -> str:
    """Return a condition that Postgres checks on rows that it has found otherwise, and does not base its plan on.

    By statistics of a moment in which no call was in progress, it would read all calls in progress for each page, or
    compare each row of a page with all others.
    """
    return f"CASE WHEN {condition} THEN true END"


def _adapt(connection: psycopg.Connection[Any]) -> None:
    connection.adapters.register_dumper(list, ArrayDumper)


def _limit(connection: psycopg.Connection[Any], timeouts: Timeouts) -> None:
    """Set the timeouts of a new session with a statement: connection poolers refuse options that they do not know."""
    values = {
        "lock_timeout": round(timeouts.lock_seconds * 1000),
        "idle_in_transaction_session_timeout": round(timeouts.idle_seconds * 1000),
        "tcp_user_timeout": LOST_AFTER_MS,
        # Whatever an administrator has set: the guards need this isolation, pages of bulk changes and imports take
        # their time, and connections of the pool are idle for long.
        "default_transaction_isolation": "read committed",
        "statement_timeout": 0,
        "idle_session_timeout": 0,
    } | {f"tcp_keepalives_{name}": value for name, value in KEEPALIVE.items()}
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
        (list(values), [str(value) for value in values.values()]),
    )
    connection.commit()
