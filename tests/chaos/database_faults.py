"""Faults in the database from outside of the engine: a transaction that stays open, and schema changes while it runs.

Each is reverted some steps later. Nothing here waits for a lock, so that a scenario never hangs: a table that is in use
is left as it is.
"""

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from sqlalchemy.engine import make_url

from dialer.store.lease_epoch import EPOCH_LOCK

# The tables whose rows are locked, and the table that is locked together with each.
LOCKABLE = {"batches": "batch_progress", "batch_progress": None, "contacts": None, "attempts": None, "inbox": None,
          "phone_numbers": None, "trunks": None}  # fmt: skip
# The lock of an uncommitted UPDATE, and less often that of SELECT ... FOR UPDATE, which blocks foreign keys too.
STRENGTHS = ("NO KEY UPDATE", "NO KEY UPDATE", "UPDATE")
MAX_LOCKED_ROWS = 3
ADDED = "added_by_a_newer_release"
# Not the other tables: the invariant checker must be able to read the limits from them at any time.
ALTERABLE = ("attempts", "batch_progress", "contacts", "inbox")
COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = ANY(%s) AND column_name NOT IN ('id', 'batch_id', %s) ORDER BY 1, 2
"""
# Without autovacuum, which ends by itself.
IN_USE = """
SELECT 1 FROM pg_locks l JOIN pg_stat_activity s ON s.pid = l.pid AND s.backend_type = 'client backend'
WHERE l.relation = CAST(%s AS regclass) LIMIT 1
"""


class DatabaseFaults:
    """Two sessions of a database tool: one keeps a transaction open, the other changes the schema."""

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._open_session = psycopg.connect(url)
        self._owner = psycopg.connect(url, autocommit=True)
        self._added: set[str] = set()
        self._renamed: tuple[str, str] | None = None
        self._open_until = self._changed_until = 0.0

    @property
    def locking_backend(self) -> int:
        """The backend of the session whose transaction stays open."""
        return self._open_session.info.backend_pid

    @property
    def has_known_schema(self) -> bool:
        """Whether no column is renamed."""
        return self._renamed is None

    def inject(self, kind: str, rng: Random, until: float) -> str:
        """Inject this fault until the given step, and describe what was done."""
        if kind == "open transaction":
            done = None if self._is_transaction_open else self._lock_some_rows(rng)
            self._open_until = until if done else self._open_until
        else:
            done = self._add_column(rng) if kind == "column added" else self._rename_column(rng)
            self._changed_until = until if done else self._changed_until
        return done or "not now, because the table is in use"

    def revert_due(self, step: float) -> Iterator[str]:
        """Revert the faults that end with this step, and describe what was done."""
        if self._is_transaction_open and step >= self._open_until:
            self.end_transaction()
            yield "the open transaction is ended"
        if self._is_changed and step >= self._changed_until:
            self._restore()
            yield "the schema cannot be restored yet" if self._is_changed else "the schema is restored"

    def lock_batch_rows(self, batch_id: UUID, rng: Random) -> str | None:
        """Lock the rows of a batch in one of the tables that its calls need; None: they are locked already."""
        strength = rng.choice(STRENGTHS)
        for table in rng.sample(["attempts", "batch_progress", "batches", "contacts"], 4):
            if held := self._lock_rows(table, "id" if table == "batches" else "batch_id", [batch_id], strength):
                return held
        return None

    def end_transaction(self) -> None:
        """End the open transaction."""
        self._open_session.rollback()

    def restore_all(self) -> None:
        """Revert all faults. No other session may use the database any more."""
        self.end_transaction()
        self._restore()
        assert not self._is_changed, "a session is still in a transaction"

    def close(self) -> None:
        self._open_session.close()
        self._owner.close()

    @property
    def _is_transaction_open(self) -> bool:
        return self._open_session.info.transaction_status is not TransactionStatus.IDLE

    @property
    def _is_changed(self) -> bool:
        return bool(self._renamed or self._added)

    def _lock_some_rows(self, rng: Random) -> str | None:
        """Lock some rows of a table; None: there are none, or they are locked already."""
        table = rng.choice(sorted(LOCKABLE))
        key = "batch_id" if table == "batch_progress" else "id"
        ids = self._open_session.execute(_composed("SELECT {key} FROM {table} ORDER BY 1", key, table)).fetchall()
        chosen = rng.sample([row_id for (row_id,) in ids], min(len(ids), rng.randint(1, MAX_LOCKED_ROWS)))
        held = self._lock_rows(table, key, chosen, rng.choice(STRENGTHS))
        if held and table == "batches" and rng.random() < 0.3:
            self._open_session.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", [EPOCH_LOCK])
            return f"{held}, by a worker that hangs inside a claim"
        return held

    def _lock_rows(self, table: str, key: str, ids: list[Any], strength: str) -> str | None:
        locked = 0
        try:
            for locked_table, column in ((table, key), (LOCKABLE[table], "batch_id")):
                if locked_table:
                    statement = f"SELECT 1 FROM {{table}} WHERE {{key}} = ANY(%s) FOR {strength} NOWAIT"
                    locked += self._open_session.execute(_composed(statement, column, locked_table), [ids]).rowcount
        except psycopg.errors.LockNotAvailable:
            locked = 0
        if not locked:
            self.end_transaction()
            return None
        return f"{locked} rows of {table} are locked FOR {strength}"

    def _add_column(self, rng: Random) -> str | None:
        """Add a column, as a migration of the next release does; None: the table is in use."""
        table = rng.choice(sorted(LOCKABLE))
        if table in self._added or not self._alter(
            table, _composed("ALTER TABLE {table} ADD {key} text", ADDED, table)
        ):
            return None
        self._added.add(table)
        return f"{table}.{ADDED}"

    def _rename_column(self, rng: Random) -> str | None:
        """Rename a column, so that its statements fail; None: the table is in use, or one is renamed already."""
        if self._renamed:
            return None
        table, column = rng.choice(self._owner.execute(COLUMNS, [list(ALTERABLE), ADDED]).fetchall())
        if not self._alter(table, _renaming(table, column, f"{column}_renamed")):
            return None
        self._renamed = table, column
        return f"{table}.{column}"

    def _restore(self) -> None:
        """Undo the renaming and drop the added columns, in the tables that are not in use."""
        if self._renamed:
            table, column = self._renamed
            if self._alter(table, _renaming(table, f"{column}_renamed", column)):
                self._renamed = None
        for table in sorted(self._added):
            if self._alter(table, _composed("ALTER TABLE {table} DROP {key}", ADDED, table)):
                self._added.remove(table)

    def _alter(self, table: str, statement: sql.Composed) -> bool:
        """Alter a table unless a session uses it: ALTER TABLE would wait, and block all later statements."""
        if self._owner.execute(IN_USE, [table]).fetchone():
            return False
        self._owner.execute(statement)
        return True


def _composed(statement: str, key: str, table: str) -> sql.Composed:
    return sql.SQL(statement).format(key=sql.Identifier(key), table=sql.Identifier(table))


def _renaming(table: str, column: str, to: str) -> sql.Composed:
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "to": sql.Identifier(to)}
    return sql.SQL("ALTER TABLE {table} RENAME {column} TO {to}").format(**names)
