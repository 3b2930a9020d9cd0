"""What operators set up, in SQL: agents, outbound numbers, trunks, folders, suppressed numbers. One table each, one way
to read, write and delete a row of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.errors import UniqueViolation
from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from dialer.domain.ids import WorkspaceId
from dialer.errors import InvalidInput, StateConflict
from dialer.store.database import rows, run
from dialer.store.numbers import config_of
from dialer.store.trunk_listeners import HEARS


@dataclass(frozen=True, slots=True)
class Table:
    """`noun`: what a row is called. `columns`: those that are read. `unique`: the one that no two rows of a workspace
    share.

    `more`: what is read besides the columns. `json`: the columns that are JSON objects. `cleanup`: deletes what refers
    to a row and is of no use to anybody, so that the row can be deleted.
    """

    name: str
    noun: str
    columns: str
    unique: str
    more: str = ""
    json: tuple[str, ...] = ()
    cleanup: str = ""

    @property
    def view(self) -> str:
        columns = ", ".join(f"t.{column}" for column in self.columns.split())
        return f"SELECT {columns}{self.more} FROM {self.name} t"


AGENTS = Table(
    "agents",
    "agent",
    "id workspace_id name status connection created_at updated_at",
    unique="name",
    more=f"""
    , (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.name, 'provider', k.provider, 'config', {config_of("k")})
                                 ORDER BY k.name), '[]')
       FROM trunks k
       WHERE k.status = 'active' AND k.id IN (SELECT trunk_id FROM phone_numbers n
                                              WHERE n.agent_id = t.id AND n.status = 'active')) AS trunks""",
    json=("connection",),
)
PHONE_NUMBERS = Table(
    "phone_numbers",
    "phone_number",
    "id workspace_id phone_number trunk_id agent_id status max_concurrent_calls max_calls_per_day created_at"
    " updated_at",
    unique="phone_number",
)
TRUNKS = Table(
    "trunks",
    "trunk",
    "id workspace_id name provider calls_per_second max_concurrent_calls status created_at updated_at",
    unique="name",
    more=f"""
    , {config_of("t")} AS config
    , (SELECT h.opened_at FROM trunk_health h WHERE h.trunk_id = t.id) AS failing_since
    , (SELECT h.reason FROM trunk_health h WHERE h.trunk_id = t.id AND h.opened_at IS NOT NULL) AS failing_reason
    , (SELECT h.probe_at FROM trunk_health h WHERE h.trunk_id = t.id) AS next_probe_at
    , (SELECT max(l.reason) FROM trunk_links l WHERE l.trunk_id = t.id HAVING NOT bool_or({HEARS}))
      AS unheard_reason
    , EXISTS (SELECT 1 FROM trunk_links l WHERE l.trunk_id = t.id AND {HEARS}) AS is_heard""",
    json=("config",),
    cleanup="DELETE FROM inbox WHERE trunk_id = :id AND verdict = 'unknown_attempt'",
)
FOLDERS = Table(
    "contact_folders",
    "contact_folder",
    "id workspace_id name default_region created_at updated_at",
    unique="name",
    more=", (SELECT count(*) FROM folder_contacts c WHERE c.folder_id = t.id) AS contacts",
)
SUPPRESSIONS = Table(
    "suppressions", "suppression", "id workspace_id phone_number reason created_at updated_at", unique="phone_number"
)


def page(
    connection: Connection,
    table: Table,
    workspace_id: WorkspaceId,
    filters: Mapping[str, Any],
    limit: int,
    offset: int,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the rows, newest first; and count all that the filters (column -> value) let through."""
    asked = {name: value for name, value in filters.items() if value is not None}
    where = " AND ".join(f"t.{name} = :{name}" for name in ("workspace_id", *asked))
    asked["workspace_id"] = workspace_id
    (counted,) = rows(connection, f"SELECT count(*) AS n FROM {table.name} t WHERE {where}", **asked)
    newest_first = f"{table.view} WHERE {where} ORDER BY t.created_at DESC, t.id DESC LIMIT :limit OFFSET :offset"
    return rows(connection, newest_first, limit=limit, offset=offset, **asked), counted.n


def read(connection: Connection, table: Table, workspace_id: WorkspaceId, row_id: UUID) -> Row[Any] | None:
    """Read one row of this workspace."""
    one = f"{table.view} WHERE t.id = :id AND t.workspace_id = :workspace"
    found = rows(connection, one, id=row_id, workspace=workspace_id)
    return found[0] if found else None


def insert(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Store a new row. Raises InvalidInput where its name is taken."""
    sent = _sent(table, values)
    holders = ", ".join(_holder(table, of) for of in sent)
    # What is refused every day must leave no error in the log of Postgres, so it is not tried there.
    stored = run(
        connection,
        f"INSERT INTO {table.name} ({', '.join(sent)}) VALUES ({holders}) "
        f"ON CONFLICT (workspace_id, {table.unique}) DO NOTHING",
        **sent,
    )
    if not stored:
        raise _is_taken(table)


def update(
    connection: Connection, table: Table, workspace_id: WorkspaceId, row_id: UUID, values: Mapping[str, Any]
) -> bool:
    """Write the columns that are given; False: the workspace has no such row. Raises InvalidInput as `insert` does."""
    if table.unique in values and _other_has(connection, table, workspace_id, row_id, values[table.unique]):
        raise _is_taken(table)
    sent = _sent(table, values)
    changes = ", ".join(f"{of} = {_holder(table, of)}" for of in sent) or "id = id"
    try:
        changed = run(
            connection,
            f"UPDATE {table.name} SET {changes} WHERE id = :row_id AND workspace_id = :of_workspace",
            row_id=row_id,
            of_workspace=workspace_id,
            **sent,
        )
    except IntegrityError as error:
        # Another took the name just now.
        if isinstance(error.orig, UniqueViolation):
            raise _is_taken(table) from None
        raise
    return changed == 1


def delete(connection: Connection, table: Table, workspace_id: WorkspaceId, row_id: UUID) -> bool:
    """Delete a row; False: the workspace has none of this id. StateConflict (`…_in_use`): others refer to it.

    What comes to refer to it at this very moment raises Contended.
    """
    mine = f"SELECT 1 FROM {table.name} WHERE id = :id AND workspace_id = :workspace FOR UPDATE"
    if not rows(connection, mine, id=row_id, workspace=workspace_id):
        return False
    if table.cleanup:
        run(connection, table.cleanup, id=row_id)
    if _is_used(connection, table, row_id):
        what = table.noun.replace("_", " ")
        raise StateConflict(
            f"This {what} is in use by batches, calls or numbers; set its status to inactive instead",
            code=f"{table.noun}_in_use",
        )
    return run(connection, f"DELETE FROM {table.name} WHERE id = :id", id=row_id) == 1


def _is_used(connection: Connection, table: Table, row_id: UUID) -> bool:
    """Say whether a row of any table refers to this one and would not go with it."""
    references = rows(
        connection,
        """
        SELECT format('%s WHERE %I', CAST(k.conrelid AS regclass), a.attname) AS those
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        WHERE k.contype = 'f' AND k.confdeltype = 'a' AND k.confrelid = to_regclass(:table)
        """,
        table=table.name,
    )
    if not references:
        return False
    found = " OR ".join(f"EXISTS (SELECT 1 FROM {one.those} = :id)" for one in references)
    (row,) = rows(connection, f"SELECT {found} AS is_used", id=row_id)
    return bool(row.is_used)


def _other_has(connection: Connection, table: Table, workspace_id: WorkspaceId, row_id: UUID, value: Any) -> bool:
    other = f"SELECT 1 FROM {table.name} WHERE workspace_id = :workspace AND {table.unique} = :value AND id <> :id"
    return bool(rows(connection, other, workspace=workspace_id, value=value, id=row_id))


def _is_taken(table: Table) -> InvalidInput:
    return InvalidInput.of(table.unique, f"another {table.noun.replace('_', ' ')} has it already")


def exists(connection: Connection, table: Table, workspace_id: WorkspaceId, row_id: UUID) -> bool:
    """Say whether the workspace has this row, and keep it from being deleted until this transaction ends."""
    found = f"SELECT 1 FROM {table.name} WHERE id = :id AND workspace_id = :workspace FOR KEY SHARE"
    return bool(rows(connection, found, id=row_id, workspace=workspace_id))


def _sent(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if name in table.json else value for name, value in values.items()}


def _holder(table: Table, column: str) -> str:
    return f"CAST(:{column} AS jsonb)" if column in table.json else f":{column}"
