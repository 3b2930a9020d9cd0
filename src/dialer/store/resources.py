"""Agents, outbound numbers, trunks, folders and suppressions: one way to read, write and delete their rows."""

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
from dialer.store.pages import Listed, count
from dialer.store.trunk_listeners import HEARS


@dataclass(frozen=True, slots=True)
class ResourceTable:
    """What distinguishes the table of one resource."""

    name: str
    noun: str  #: What error messages call a row.
    columns: str  #: The columns to read.
    unique: str  #: The column that is unique within a workspace.
    more: str = ""  #: SQL of computed columns.
    json: tuple[str, ...] = ()  #: Columns that contain JSON.
    cleanup: str = ""  #: Statement that deletes useless rows which refer to a row, so that it can be deleted.
    used_by: tuple[str, ...] = ()  #: What keeps a row by a trigger and not by a foreign key: table WHERE column.

    @property
    def listed(self) -> Listed:
        """Return how the rows of a workspace are listed: newest first, or by age or unique value."""
        orders = {"created_at": ("t.created_at", "t.id"), self.unique: (f"t.{self.unique}",)}
        return Listed(f"{self.name} t", "t.id", "t.workspace_id", orders, "-created_at")

    @property
    def view(self) -> str:
        """The SELECT of a row as the API shows it."""
        columns = ", ".join(f"t.{column}" for column in self.columns.split())
        return f"SELECT {columns}{self.more} FROM {self.name} t"


_TRUNKS_OF_NUMBERS = """
SELECT o.id FROM phone_numbers n JOIN trunks o ON o.id = n.trunk_id
WHERE n.agent_id = t.id AND n.status = 'active' AND o.status = 'active'"""
_HAS_TRUNKS = f"EXISTS ({_TRUNKS_OF_NUMBERS})"
AGENTS = ResourceTable(
    "agents",
    "agent",
    "id workspace_id name status connection created_at updated_at",
    unique="name",
    # The trunks of its numbers, or else all for which it has a connection.
    more=f"""
    , (SELECT coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'name', k.name, 'provider', k.provider,
                                                    'config', {config_of("k")}) ORDER BY k.name), '[]')
       FROM trunks k
       WHERE k.workspace_id = t.workspace_id AND k.status = 'active'
         AND CASE WHEN {_HAS_TRUNKS} THEN k.id IN ({_TRUNKS_OF_NUMBERS})
                  ELSE jsonb_typeof(t.connection -> k.provider) = 'object' END) AS trunks
    , {_HAS_TRUNKS} AS trunks_are_own""",
    json=("connection",),
)
PHONE_NUMBERS = ResourceTable(
    "phone_numbers",
    "phone_number",
    "id workspace_id phone_number trunk_id agent_id status max_concurrent_calls max_calls_per_day created_at"
    " updated_at",
    unique="phone_number",
    used_by=("attempts WHERE phone_number_id", "contacts WHERE first_number_id"),
)
TRUNKS = ResourceTable(
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
    used_by=("attempts WHERE trunk_id",),
)
FOLDERS = ResourceTable(
    "contact_folders",
    "contact_folder",
    "id workspace_id name default_region contacts created_at updated_at",
    unique="name",
)
SUPPRESSIONS = ResourceTable(
    "suppressions", "suppression", "id workspace_id phone_number reason created_at updated_at", unique="phone_number"
)
WEBHOOK_ENDPOINTS = ResourceTable(
    "webhook_endpoints",
    "webhook_endpoint",
    "id workspace_id url events status description created_at updated_at",
    unique="url",
    more="""
    , (SELECT to_jsonb(h) - 'endpoint_id' - 'free_at'
              || jsonb_build_object('next_try_at', CASE WHEN h.failures > 0 THEN h.free_at END)
              || (SELECT jsonb_build_object('pending', count(*), 'oldest_pending_at', min(d.created_at))
                  FROM webhook_deliveries d WHERE d.endpoint_id = t.id AND d.status = 'pending')
       FROM webhook_health h WHERE h.endpoint_id = t.id) AS health""",
)


def page(
    connection: Connection,
    table: ResourceTable,
    workspace_id: WorkspaceId,
    filters: Mapping[str, Any],
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the rows; and count those that match the filters (column -> value, None: any)."""
    parameters = {column: value for column, value in filters.items() if value is not None}
    where = " AND ".join(f"t.{column} = :{column}" for column in ("workspace_id", *parameters))
    parameters["workspace_id"] = workspace_id
    start = table.listed.start(connection, workspace_id, after, sort)
    query = f"{table.view} WHERE {where}{start.condition} ORDER BY {start.order} LIMIT :limit OFFSET :offset"
    entries = rows(connection, query, limit=limit, offset=offset, **parameters, **start.values)
    return entries, count(connection, f"FROM {table.name} t WHERE {where}", **parameters)


def after(
    connection: Connection,
    table: ResourceTable,
    workspace_id: WorkspaceId,
    search: str | None,
    value: str,
    limit: int,
) -> Sequence[Row[Any]]:
    """Read the rows whose unique value comes after this one, in its order, by its index; nothing is counted.

    `search`: only rows whose unique value contains this, in any case.
    """
    matches = f"AND strpos(lower(t.{table.unique}), lower(:search)) > 0" if search is not None else ""
    return rows(
        connection,
        f"""
        {table.view} WHERE t.workspace_id = :workspace AND t.{table.unique} > :after {matches}
        ORDER BY t.{table.unique} LIMIT :limit
        """,
        workspace=workspace_id,
        search=search,
        after=value,
        limit=limit,
    )


def read(connection: Connection, table: ResourceTable, workspace_id: WorkspaceId, row_id: UUID) -> Row[Any] | None:
    """Read one row of this workspace."""
    query = f"{table.view} WHERE t.id = :id AND t.workspace_id = :workspace"
    matches = rows(connection, query, id=row_id, workspace=workspace_id)
    return matches[0] if matches else None


def insert(connection: Connection, table: ResourceTable, values: Mapping[str, Any]) -> None:
    """Store a new row. Raises InvalidInput if its unique value is taken."""
    parameters = _parameters(table, values)
    placeholders = ", ".join(_placeholder(table, column) for column in parameters)
    # DO NOTHING, because a violated constraint would leave an error in the log of Postgres for an everyday mistake.
    stored = run(
        connection,
        f"INSERT INTO {table.name} ({', '.join(parameters)}) VALUES ({placeholders}) "
        f"ON CONFLICT (workspace_id, {table.unique}) DO NOTHING",
        **parameters,
    )
    if not stored:
        raise _is_taken(table)


def update(
    connection: Connection, table: ResourceTable, workspace_id: WorkspaceId, row_id: UUID, values: Mapping[str, Any]
) -> bool:
    """Write the given columns; False: the workspace has no such row. Raises InvalidInput as `insert` does."""
    if table.unique in values and _other_has(connection, table, workspace_id, row_id, values[table.unique]):
        raise _is_taken(table)
    parameters = _parameters(table, values)
    changes = ", ".join(f"{column} = {_placeholder(table, column)}" for column in parameters) or "id = id"
    try:
        changed = run(
            connection,
            f"UPDATE {table.name} SET {changes} WHERE id = :row_id AND workspace_id = :of_workspace",
            row_id=row_id,
            of_workspace=workspace_id,
            **parameters,
        )
    except IntegrityError as error:
        # Another transaction has just taken the value.
        if isinstance(error.orig, UniqueViolation):
            raise _is_taken(table) from None
        raise
    return changed == 1


def delete(connection: Connection, table: ResourceTable, workspace_id: WorkspaceId, row_id: UUID) -> bool:
    """Delete a row; False: the workspace has none with this id.

    Raises StateConflict (`…_in_use`) if other rows refer to it, and Contended if one is inserted at this moment.
    """
    lock = f"SELECT 1 FROM {table.name} WHERE id = :id AND workspace_id = :workspace FOR UPDATE"
    if not rows(connection, lock, id=row_id, workspace=workspace_id):
        return False
    if table.cleanup:
        run(connection, table.cleanup, id=row_id)
    if _is_used(connection, table, row_id):
        noun = table.noun.replace("_", " ")
        raise StateConflict(
            f"This {noun} is in use by batches, calls or numbers; set its status to inactive instead",
            code=f"{table.noun}_in_use",
        )
    return run(connection, f"DELETE FROM {table.name} WHERE id = :id", id=row_id) == 1


def _is_used(connection: Connection, table: ResourceTable, row_id: UUID) -> bool:
    """Return whether any row refers to this one and keeps it from being deleted."""
    foreign_keys = rows(
        connection,
        """
        SELECT format('%s WHERE %I', CAST(k.conrelid AS regclass), a.attname) AS those
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        WHERE k.contype = 'f' AND k.confdeltype = 'a' AND k.confrelid = to_regclass(:table)
        """,
        table=table.name,
    )
    references = [key.those for key in foreign_keys] + list(table.used_by)
    if not references:
        return False
    any_exists = " OR ".join(f"EXISTS (SELECT 1 FROM {those} = :id)" for those in references)
    (row,) = rows(connection, f"SELECT {any_exists} AS is_used", id=row_id)
    return bool(row.is_used)


def _other_has(
    connection: Connection, table: ResourceTable, workspace_id: WorkspaceId, row_id: UUID, value: Any
) -> bool:
    other = f"SELECT 1 FROM {table.name} WHERE workspace_id = :workspace AND {table.unique} = :value AND id <> :id"
    return bool(rows(connection, other, workspace=workspace_id, value=value, id=row_id))


def _is_taken(table: ResourceTable) -> InvalidInput:
    return InvalidInput.of(table.unique, f"another {table.noun.replace('_', ' ')} has it already")


def exists(connection: Connection, table: ResourceTable, workspace_id: WorkspaceId, row_id: UUID) -> bool:
    """Return whether the workspace has this row, and keep it from being deleted until this transaction ends."""
    lock = f"SELECT 1 FROM {table.name} WHERE id = :id AND workspace_id = :workspace FOR KEY SHARE"
    return bool(rows(connection, lock, id=row_id, workspace=workspace_id))


def _parameters(table: ResourceTable, values: Mapping[str, Any]) -> dict[str, Any]:
    return {column: json.dumps(value) if column in table.json else value for column, value in values.items()}


def _placeholder(table: ResourceTable, column: str) -> str:
    return f"CAST(:{column} AS jsonb)" if column in table.json else f":{column}"
