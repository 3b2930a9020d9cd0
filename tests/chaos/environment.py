"""What others do to the database of a story, and take back some steps later: a transaction that is left open, and a
schema that changes under running processes.

Nothing here waits for a lock: what is locked at that moment is left as it is, so that a story never stands still.
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

# Tables whose rows are locked, and what is locked with them.
LOCKED = {"batches": "batch_progress", "batch_progress": None, "contacts": None, "attempts": None, "inbox": None,
          "phone_numbers": None, "trunks": None}  # fmt: skip
# An UPDATE that is not committed, more often than a SELECT ... FOR UPDATE, which foreign keys wait for too.
STRENGTHS = ("NO KEY UPDATE", "NO KEY UPDATE", "UPDATE")
MOST_ROWS = 3
ADDED = "added_by_a_newer_release"
# The judge reads other tables for the limits that are in force, so that it knows them at every moment.
CHANGED = ("attempts", "batch_progress", "contacts", "inbox")
COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = ANY(%s) AND column_name NOT IN ('id', 'batch_id', %s) ORDER BY 1, 2
"""
# Autovacuum is not a session: it ends by itself.
IN_USE = """
SELECT 1 FROM pg_locks l JOIN pg_stat_activity s ON s.pid = l.pid AND s.backend_type = 'client backend'
WHERE l.relation = CAST(%s AS regclass) LIMIT 1
"""


class Environment:
    """Somebody's session in a database tool, and another one that changes the schema."""

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._left_open = psycopg.connect(url)
        self._owner = psycopg.connect(url, autocommit=True)
        self._added: set[str] = set()
        self._renamed: tuple[str, str] | None = None
        self._open_until = self._changed_until = 0.0

    @property
    def backend(self) -> int:
        """The session that holds locks until it is told to end its transaction."""
        return self._left_open.info.backend_pid

    @property
    def is_fitting(self) -> bool:
        """Say whether every column has the name that the code knows."""
        return self._renamed is None

    def strike(self, kind: str, chance: Random, until: float) -> str:
        """Do what `kind` names until that step, and tell what was done."""
        if kind == "open transaction":
            done = None if self._is_holding else self._hold_some(chance)
            self._open_until = until if done else self._open_until
        else:
            done = self._add_column(chance) if kind == "column added" else self._rename_column(chance)
            self._changed_until = until if done else self._changed_until
        return done or "not now, for what it needs is in use"

    def take_back(self, step: float) -> Iterator[str]:
        """Take back what was to last until this step, and tell it."""
        if self._is_holding and step >= self._open_until:
            self.free()
            yield "the open transaction is ended"
        if self._is_changed and step >= self._changed_until:
            self._restore()
            yield "the schema still waits for who uses it" if self._is_changed else "the schema is as it was"

    def hold_of(self, batch_id: UUID, chance: Random) -> str | None:
        """Lock the rows of a batch in one of the tables that its calls need; None: somebody has them locked."""
        strength = chance.choice(STRENGTHS)
        for table in chance.sample(["attempts", "batch_progress", "batches", "contacts"], 4):
            if held := self._hold(table, "id" if table == "batches" else "batch_id", [batch_id], strength):
                return held
        return None

    def free(self) -> None:
        """End the transaction that was left open."""
        self._left_open.rollback()

    def end(self) -> None:
        """Leave the database as it was; nobody uses it any more."""
        self.free()
        self._restore()
        assert not self._is_changed, "a session is still in a transaction"

    def close(self) -> None:
        self._left_open.close()
        self._owner.close()

    @property
    def _is_holding(self) -> bool:
        return self._left_open.info.transaction_status is not TransactionStatus.IDLE

    @property
    def _is_changed(self) -> bool:
        return bool(self._renamed or self._added)

    def _hold_some(self, chance: Random) -> str | None:
        """Lock some rows of a table; None: there are none, or somebody has them locked."""
        table = chance.choice(sorted(LOCKED))
        key = "batch_id" if table == "batch_progress" else "id"
        found = self._left_open.execute(_composed("SELECT {key} FROM {table} ORDER BY 1", key, table)).fetchall()
        some = chance.sample([one for (one,) in found], min(len(found), chance.randint(1, MOST_ROWS)))
        held = self._hold(table, key, some, chance.choice(STRENGTHS))
        if held and table == "batches" and chance.random() < 0.3:
            self._left_open.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", [EPOCH_LOCK])
            return f"{held}, by a worker that was stopped in the middle of a claim"
        return held

    def _hold(self, table: str, key: str, ids: list[Any], strength: str) -> str | None:
        locked = 0
        try:
            for one, its_key in ((table, key), (LOCKED[table], "batch_id")):
                if one:
                    statement = f"SELECT 1 FROM {{table}} WHERE {{key}} = ANY(%s) FOR {strength} NOWAIT"
                    locked += self._left_open.execute(_composed(statement, its_key, one), [ids]).rowcount
        except psycopg.errors.LockNotAvailable:
            locked = 0
        if not locked:
            self.free()
            return None
        return f"{locked} rows of {table} are locked FOR {strength}"

    def _add_column(self, chance: Random) -> str | None:
        """Change what `SELECT *` means, as a migration of the next release does; None: the table is in use."""
        table = chance.choice(sorted(LOCKED))
        if table in self._added or not self._alter(
            table, _composed("ALTER TABLE {table} ADD {key} text", ADDED, table)
        ):
            return None
        self._added.add(table)
        return f"{table}.{ADDED}"

    def _rename_column(self, chance: Random) -> str | None:
        """Let statements fail that name a column; None: the table is in use, or another column is renamed."""
        if self._renamed:
            return None
        table, column = chance.choice(self._owner.execute(COLUMNS, [list(CHANGED), ADDED]).fetchall())
        if not self._alter(table, _renaming(table, column, f"{column}_renamed")):
            return None
        self._renamed = table, column
        return f"{table}.{column}"

    def _restore(self) -> None:
        """Give the column its name back and remove what was added, as far as the tables are not in use."""
        if self._renamed:
            table, column = self._renamed
            if self._alter(table, _renaming(table, f"{column}_renamed", column)):
                self._renamed = None
        for table in sorted(self._added):
            if self._alter(table, _composed("ALTER TABLE {table} DROP {key}", ADDED, table)):
                self._added.remove(table)

    def _alter(self, table: str, statement: sql.Composed) -> bool:
        """Change a table, unless a session has it in use: who changes it would wait, and all others behind him."""
        if self._owner.execute(IN_USE, [table]).fetchone():
            return False
        self._owner.execute(statement)
        return True


def _composed(statement: str, key: str, table: str) -> sql.Composed:
    return sql.SQL(statement).format(key=sql.Identifier(key), table=sql.Identifier(table))


def _renaming(table: str, column: str, to: str) -> sql.Composed:
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "to": sql.Identifier(to)}
    return sql.SQL("ALTER TABLE {table} RENAME {column} TO {to}").format(**names)
