"""The history of a batch: its changes of status and the versions of its settings, in one list."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId
from dialer.store.database import rows
from dialer.store.pages import count

_STATUSES = """
SELECT id, at, 'status' AS kind, from_status, to_status, CAST(NULL AS integer) AS version,
       CAST(NULL AS jsonb) AS settings, by, source, key_id, reason
FROM batch_history WHERE batch_id = :batch
"""
_SETTINGS = """
SELECT id, at, 'settings', NULL, NULL, version, settings, by, source, key_id, reason
FROM batch_settings WHERE batch_id = :batch
"""
_IDS = """
FROM (SELECT id FROM batch_history WHERE batch_id = :batch
      UNION ALL SELECT id FROM batch_settings WHERE batch_id = :batch) AS c
"""


def page(
    connection: Connection, batch_id: BatchId, limit: int, offset: int, after: int | None, *, oldest_first: bool
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the changes of a batch after the one with this id, and count them.

    `before` of each: the settings of the version before; NULL: there is none.
    """
    order, sign = ("ASC", ">") if oldest_first else ("DESC", "<")
    condition = "" if after is None else f"AND id {sign} :after"
    some = f"{condition} ORDER BY id {order} LIMIT :most"
    changes = rows(
        connection,
        f"""
        SELECT c.id, c.at, c.kind, c.from_status, c.to_status, c.version, c.settings,
               (SELECT b.settings FROM batch_settings b WHERE b.batch_id = :batch AND b.version < c.version
                ORDER BY b.version DESC LIMIT 1) AS before,
               coalesce(k.name, c.by) AS by, c.key_id, c.source, c.reason
        FROM (({_STATUSES} {some}) UNION ALL ({_SETTINGS} {some})
              ORDER BY id {order} LIMIT :limit OFFSET :offset) AS c
        LEFT JOIN api_keys k ON k.id = c.key_id
        ORDER BY c.id {order}
        """,
        batch=batch_id,
        most=offset + limit,
        limit=limit,
        offset=offset,
        **({} if after is None else {"after": after}),
    )
    return changes, count(connection, _IDS, batch=batch_id)
