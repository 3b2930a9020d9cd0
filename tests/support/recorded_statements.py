"""Records the statements that a function sends to Postgres, with their values, and reads their query plans."""

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Connection, event

from dialer.store.database import Database


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    values: Mapping[str, Any]


def recorded_statements(db: Database, work: Callable[[], object]) -> list[Statement]:
    """Run this function and return the statements that it sent, except those that set the clock."""
    sent: list[Statement] = []

    def note(_: Any, __: Any, sql: str, values: Any, *___: Any) -> None:
        if "set_config" not in sql:
            sent.append(Statement(sql, values))

    event.listen(db._engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(db._engine, "before_cursor_execute", note)
    return sent


def sequentially_scanned_tables(connection: Connection, statement: Statement) -> set[str]:
    """Return the tables that Postgres would scan sequentially for this statement."""
    return {node["Relation Name"] for node in _plan(connection, statement) if node["Node Type"] == "Seq Scan"}


def joins_by_comparing_all(connection: Connection, statement: Statement, *, kept: bool) -> list[str]:
    """Return the conditions of joins for which Postgres would compare each row of one side with each of the other.

    `kept`: in the plan that it keeps for all executions of a prepared statement, instead of one for these values.
    """
    plan = _kept_plan(connection, statement) if kept else _plan(connection, statement)
    loops = [node for node in plan if node["Node Type"] == "Nested Loop"]
    return [node["Join Filter"] for node in loops if "Join Filter" in node]


def sort_keys(connection: Connection, statement: Statement) -> list[str]:
    """Return by what Postgres sorts rows for this statement, though it avoids that where an index has the order.

    Sorts of limited numbers of rows, and those of computed columns in sub-plans, do not count.
    """
    for way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
        connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
    nodes = _plan(connection, statement, within=("Outer", "Inner", "Subquery", "Member"))
    sorts = [node for node in nodes if node["Node Type"] in ("Sort", "Incremental Sort") and not _is_limited(node)]
    return [key for node in sorts for key in node["Sort Key"]]


def _is_limited(node: Mapping[str, Any]) -> bool:
    """Return whether every row that comes into a node has come through a limit."""
    inputs = node.get("Plans", ())
    return bool(inputs) and all(child["Node Type"] == "Limit" or _is_limited(child) for child in inputs)


def _plan(connection: Connection, statement: Statement, within: Container[str] | None = None) -> list[dict[str, Any]]:
    explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement.sql}", dict(statement.values))
    return _nodes_of(explained.scalar_one(), within)


def _kept_plan(connection: Connection, statement: Statement) -> list[dict[str, Any]]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    names = list(statement.values)
    sql = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", statement.sql).replace("%%", "%")
    values = ", ".join(["%s"] * len(names))
    with psycopg.ClientCursor(driver) as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE kept AS {sql}".encode())
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE kept({values})".encode(), list(statement.values.values()))
        plan = cursor.fetchall()[0][0]
        cursor.execute("DEALLOCATE kept")
    return _nodes_of(plan)


def _nodes_of(output: Any, within: Container[str] | None = None) -> list[dict[str, Any]]:
    (plan,) = json.loads(output) if isinstance(output, str) else output
    return list(_nodes(plan["Plan"], within))


def _nodes(node: dict[str, Any], within: Container[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan. `within`: only those that have one of these relationships to their parents."""
    yield node
    for child in node.get("Plans", []):
        if within is None or child.get("Parent Relationship") in within:
            yield from _nodes(child, within)
