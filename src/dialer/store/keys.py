"""API keys. Only the hash of a secret is stored; the secret itself never gets here."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.ids import KeyId, WorkspaceId
from dialer.domain.roles import Role
from dialer.store.database import rows, run
from dialer.store.pages import Listed

COLUMNS = "id, workspace_id, name, role, created_at, revoked_at"
KEYS = Listed("api_keys", "id", "workspace_id", {"created_at": ("id",)}, "-created_at")


def insert(
    connection: Connection, key_id: KeyId, workspace_id: WorkspaceId, name: str, role: Role, secret_hash: bytes
) -> Row[Any]:
    """Store a new key."""
    (row,) = rows(
        connection,
        f"""
        INSERT INTO api_keys (id, workspace_id, name, role, secret_hash)
        VALUES (:id, :workspace, :name, :role, :hash) RETURNING {COLUMNS}
        """,
        id=key_id,
        workspace=workspace_id,
        name=name,
        role=role,
        hash=secret_hash,
    )
    return row


def find_live(connection: Connection, key_id: UUID) -> Row[Any] | None:
    """Read a key that is not revoked, with its hash and the name of its workspace."""
    keys = rows(
        connection,
        """
        SELECT k.id, k.workspace_id, w.name AS workspace, k.role, k.secret_hash
        FROM api_keys k JOIN workspaces w ON w.id = k.workspace_id WHERE k.id = :id AND k.revoked_at IS NULL
        """,
        id=key_id,
    )
    return keys[0] if keys else None


def read(connection: Connection, workspace_id: WorkspaceId, key_id: KeyId) -> Row[Any] | None:
    """Read one key of this workspace."""
    query = f"SELECT {COLUMNS} FROM api_keys WHERE id = :id AND workspace_id = :workspace"
    keys = rows(connection, query, id=key_id, workspace=workspace_id)
    return keys[0] if keys else None


def of_workspace(
    connection: Connection,
    workspace_id: WorkspaceId,
    limit: int | None = None,
    offset: int = 0,
    after: UUID | None = None,
    sort: str | None = None,
) -> Sequence[Row[Any]]:
    """Read the keys of a workspace, by default newest first."""
    start = KEYS.start(connection, workspace_id, after, sort)
    query = f"""
    SELECT {COLUMNS} FROM api_keys WHERE workspace_id = :workspace{start.condition}
    ORDER BY {start.order} LIMIT :limit OFFSET :offset
    """
    return rows(connection, query, workspace=workspace_id, limit=limit, offset=offset, **start.values)


def count(connection: Connection, workspace_id: WorkspaceId) -> int:
    """Count the keys of a workspace, revoked ones too."""
    query = "SELECT count(*) AS n FROM api_keys WHERE workspace_id = :workspace"
    (row,) = rows(connection, query, workspace=workspace_id)
    return int(row.n)


def revoke(connection: Connection, workspace_id: WorkspaceId, key_id: KeyId) -> bool:
    """Revoke a key from this commit on; False: the workspace has none with this id."""
    revoked = run(
        connection,
        """
        UPDATE api_keys SET revoked_at = coalesce(revoked_at, dialer_now())
        WHERE id = :id AND workspace_id = :workspace
        """,
        id=key_id,
        workspace=workspace_id,
    )
    return revoked == 1
