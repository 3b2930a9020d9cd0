"""Sessions of the console. Only the hash of a session's secret is stored."""

from collections.abc import Collection
from typing import Any

from pendulum import Duration
from sqlalchemy import Connection, Row

from dialer.domain.ids import KeyId
from dialer.store.database import rows, run

EXPIRED_PAGE = 100


def insert(connection: Connection, secret_hash: bytes, key_id: KeyId, lifetime: Duration) -> None:
    """Store a new session, and remove a page of those that have expired."""
    run(
        connection,
        """
        DELETE FROM console_sessions WHERE secret_hash IN (
            SELECT secret_hash FROM console_sessions WHERE expires_at <= dialer_now()
            ORDER BY expires_at LIMIT :page FOR UPDATE SKIP LOCKED)
        """,
        page=EXPIRED_PAGE,
    )
    run(
        connection,
        """
        INSERT INTO console_sessions (secret_hash, key_id, expires_at)
        VALUES (:hash, :key, dialer_now() + CAST(:lifetime AS interval))
        """,
        hash=secret_hash,
        key=key_id,
        lifetime=lifetime,
    )


def find_live(connection: Connection, secret_hash: bytes) -> Row[Any] | None:
    """Read a session that has not expired and whose key is not revoked, with the key and its workspace."""
    sessions = rows(
        connection,
        """
        SELECT k.id, k.workspace_id, w.name AS workspace, k.name AS key_name, k.role, s.expires_at
        FROM console_sessions s JOIN api_keys k ON k.id = s.key_id JOIN workspaces w ON w.id = k.workspace_id
        WHERE s.secret_hash = :hash AND s.expires_at > dialer_now() AND k.revoked_at IS NULL
        """,
        hash=secret_hash,
    )
    return sessions[0] if sessions else None


def live_among(connection: Connection, secret_hashes: Collection[bytes]) -> set[bytes]:
    """Return those of these sessions that have not ended."""
    sessions = rows(
        connection,
        """
        SELECT s.secret_hash FROM unnest(CAST(:hashes AS text[])) AS asked (hash)
        JOIN console_sessions s ON s.secret_hash = decode(asked.hash, 'hex') JOIN api_keys k ON k.id = s.key_id
        WHERE s.expires_at > dialer_now() AND k.revoked_at IS NULL
        """,
        hashes=[secret_hash.hex() for secret_hash in secret_hashes],
    )
    return {row.secret_hash for row in sessions}


def delete(connection: Connection, secret_hash: bytes) -> None:
    """End a session; does nothing where it has ended already."""
    run(connection, "DELETE FROM console_sessions WHERE secret_hash = :hash", hash=secret_hash)
