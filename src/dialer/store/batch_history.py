"""The history of a batch: its changes of status and the versions of its settings, in one list."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId
from dialer.store.database import rows

# `before`: the settings of the version before; NULL: there is none.
_CHANGES = """
SELECT id, at, 'status' AS kind, from_status, to_status, CAST(NULL AS integer) AS version,
       CAST(NULL AS jsonb) AS settings, CAST(NULL AS jsonb) AS before, by, source, key_id, reason
FROM batch_history WHERE batch_id = :batch
UNION ALL
SELECT id, at, 'settings', NULL, NULL, version, settings, lag(settings) OVER (ORDER BY version), by, source, key_id,
       reason
FROM batch_settings WHERE batch_id = :batch
"""


def page(connection: Connection, batch_id: BatchId, limit: int, offset: int) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the changes of a batch, newest first; and count all."""
    (counted,) = rows(connection, f"SELECT count(*) AS n FROM ({_CHANGES}) AS c", batch=batch_id)
    changes = rows(
        connection,
        f"""
        SELECT c.id, c.at, c.kind, c.from_status, c.to_status, c.version, c.settings, c.before,
               coalesce(k.name, c.by) AS by, c.key_id, c.source, c.reason
        FROM ({_CHANGES}) AS c LEFT JOIN api_keys k ON k.id = c.key_id
        ORDER BY c.id DESC LIMIT :limit OFFSET :offset
        """,
        batch=batch_id,
        limit=limit,
        offset=offset,
    )
    return changes, counted.n
