"""Answers kept for requests that may come again, in the transaction that did what was asked (so a crash keeps both or
neither)."""

from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import WorkspaceId
from dialer.store.database import rows, run


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a key counts. `route`: method and path."""

    workspace_id: WorkspaceId
    route: str
    key: str


def take(connection: Connection, scope: Scope) -> bool:
    """Hold the key until this transaction ends; False: another request holds it right now."""
    (row,) = rows(
        connection,
        "SELECT pg_try_advisory_xact_lock(hashtextextended(:scope, 1)) AS taken",
        scope=f"{scope.workspace_id} {scope.route} {scope.key}",
    )
    return bool(row.taken)


def find(connection: Connection, scope: Scope) -> Row[Any] | None:
    """Read the answer that was given: request_hash, status, body."""
    found = rows(
        connection,
        """
        SELECT request_hash, status, body FROM idempotency_keys
        WHERE workspace_id = :workspace AND route = :route AND key = :key
        """,
        workspace=scope.workspace_id,
        route=scope.route,
        key=scope.key,
    )
    return found[0] if found else None


def keep(connection: Connection, scope: Scope, request_hash: bytes, status: int, body: str) -> None:
    """Store the answer."""
    run(
        connection,
        """
        INSERT INTO idempotency_keys (workspace_id, route, key, request_hash, status, body)
        VALUES (:workspace, :route, :key, :hash, :status, :body)
        """,
        workspace=scope.workspace_id,
        route=scope.route,
        key=scope.key,
        hash=request_hash,
        status=status,
        body=body,
    )


def remove(connection: Connection, before: DateTime, limit: int) -> int:
    """Remove a page of the answers that are older; return how many."""
    return run(
        connection,
        """
        DELETE FROM idempotency_keys WHERE (workspace_id, route, key) IN (
            SELECT workspace_id, route, key FROM idempotency_keys
            WHERE created_at < :before ORDER BY created_at LIMIT :limit)
        """,
        before=before,
        limit=limit,
    )
