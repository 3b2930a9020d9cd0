"""Responses stored under idempotency keys, in the transaction that did the work: a crash keeps both or neither."""

from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import WorkspaceId
from dialer.store.database import rows, run


@dataclass(frozen=True, slots=True)
class Scope:
    """A key, and where it counts."""

    workspace_id: WorkspaceId
    route: str  #: Method and path, as in `POST /v1/batch-calls`.
    key: str


def lock_key(connection: Connection, scope: Scope) -> bool:
    """Lock the key until this transaction ends; False: another request holds the lock."""
    (row,) = rows(
        connection,
        "SELECT pg_try_advisory_xact_lock(hashtextextended(:scope, 1)) AS taken",
        scope=f"{scope.workspace_id} {scope.route} {scope.key}",
    )
    return bool(row.taken)


def find(connection: Connection, scope: Scope) -> Row[Any] | None:
    """Read the stored response: request_hash, status, body."""
    stored = rows(
        connection,
        """
        SELECT request_hash, status, body FROM idempotency_keys
        WHERE workspace_id = :workspace AND route = :route AND key = :key
        """,
        workspace=scope.workspace_id,
        route=scope.route,
        key=scope.key,
    )
    return stored[0] if stored else None


def insert(connection: Connection, scope: Scope, request_hash: bytes, status: int, body: str) -> None:
    """Store the response of a request."""
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
    """Delete at most `limit` responses that were stored before this time; return how many."""
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
