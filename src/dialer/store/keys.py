"""API keys in SQL. The hash of a secret goes in and comes out; the secret is never here."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.ids import KeyId, WorkspaceId
from dialer.domain.roles import Role
from dialer.store.database import rows, run

COLUMNS = "id, workspace_id, name, role, created_at, revoked_at"


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
    """Read a key that was not revoked, with its hash and the name of its workspace."""
    found = rows(
        connection,
        """
        SELECT k.id, k.workspace_id, w.name AS workspace, k.role, k.secret_hash
        FROM api_keys k JOIN workspaces w ON w.id = k.workspace_id WHERE k.id = :id AND k.revoked_at IS NULL
        """,
        id=key_id,
    )
    return found[0] if found else None


def read(connection: Connection, workspace_id: WorkspaceId, key_id: KeyId) -> Row[Any] | None:
    """Read one key of this workspace."""
    one = f"SELECT {COLUMNS} FROM api_keys WHERE id = :id AND workspace_id = :workspace"
    found = rows(connection, one, id=key_id, workspace=workspace_id)
    return found[0] if found else None


def of_workspace(
    connection: Connection, workspace_id: WorkspaceId, limit: int | None = None, offset: int = 0
) -> Sequence[Row[Any]]:
    """Read the keys of a workspace, newest first."""
    return rows(
        connection,
        f"SELECT {COLUMNS} FROM api_keys WHERE workspace_id = :of ORDER BY id DESC LIMIT :limit OFFSET :offset",
        of=workspace_id,
        limit=limit,
        offset=offset,
    )


def count(connection: Connection, workspace_id: WorkspaceId) -> int:
    """Count the keys of a workspace, the revoked ones too."""
    (row,) = rows(connection, "SELECT count(*) AS n FROM api_keys WHERE workspace_id = :of", of=workspace_id)
    return int(row.n)


def revoke(connection: Connection, workspace_id: WorkspaceId, key_id: KeyId) -> bool:
    """Make a key worthless from this commit on; False: the workspace has none of this id."""
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
