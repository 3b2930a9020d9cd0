"""Records the statements that a function sends to Postgres, with their values, and reads their query plans."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def joins_by_comparing_all(connection: Connection, statement: Statement) -> list[str]:
    """Return the conditions of joins for which Postgres would compare each row of one side with each of the other."""
    loops = [node for node in _plan(connection, statement) if node["Node Type"] == "Nested Loop"]
    return [node["Join Filter"] for node in loops if "Join Filter" in node]


def _plan(connection: Connection, statement: Statement) -> list[dict[str, Any]]:
    output = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement.sql}", dict(statement.values)).scalar_one()
    (plan,) = json.loads(output) if isinstance(output, str) else output
    return list(_nodes(plan["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)
