"""What is held on one telephone number in a workspace, over all its tables: read it, or erase it.

Contacts are found by the unique index of each batch, calls by their contacts. A number that is erased is replaced by
`erased:` and the id of its contact.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.store.attempts import LIVE
from dialer.store.call_views import COLUMNS as CALL
from dialer.store.contact_views import COLUMNS as CONTACT
from dialer.store.database import rows, run

# SQL: the messages to the endpoints of a workspace about a number, by the index of each endpoint.
_MESSAGES = """
FROM webhook_endpoints e JOIN webhook_deliveries d ON d.endpoint_id = e.id
WHERE e.workspace_id = :workspace AND d.data ->> 'phone_number' = :number
"""


def find_contacts(connection: Connection, workspace_id: WorkspaceId, number: str) -> Mapping[ContactId, BatchId]:
    """Find the contacts with this number in all batches of a workspace."""
    # Without statistics Postgres would read the table from its beginning.
    rows(connection, "SELECT set_config('enable_seqscan', 'off', true)")
    records = rows(
        connection,
        """
        SELECT c.id, b.id AS batch_id FROM batches b
        -- The LIMIT makes this one probe of the unique index for each batch.
        CROSS JOIN LATERAL (SELECT id FROM contacts WHERE batch_id = b.id AND phone_number = :number LIMIT 1) AS c
        WHERE b.workspace_id = :workspace ORDER BY c.id
        """,
        workspace=workspace_id,
        number=number,
    )
    return {row.id: row.batch_id for row in records}


def lock_calls(connection: Connection, contact_ids: Sequence[ContactId]) -> bool:
    """Lock the calls of these contacts, in the order of their ids; return whether one of them is in progress."""
    records = rows(
        connection,
        f"""
        SELECT state IN {LIVE} AS is_live FROM attempts WHERE contact_id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE
        """,
        ids=list(contact_ids),
    )
    return any(row.is_live for row in records)


def lock_contacts(connection: Connection, contact_ids: Sequence[ContactId]) -> bool:
    """Lock contacts whose batches' counts are locked; return whether one of them is being called."""
    records = rows(
        connection,
        "SELECT status = 'dialing' AS is_live FROM contacts WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE",
        ids=list(contact_ids),
    )
    return any(row.is_live for row in records)


def erase_contacts(connection: Connection, contact_ids: Sequence[ContactId]) -> int:
    """Replace the numbers of locked contacts, remove what was loaded with them, and cancel those that are open."""
    return run(
        connection,
        """
        UPDATE contacts SET phone_number = 'erased:' || id, name = NULL, timezone = NULL, external_id = NULL,
            variables = '{}', lane = '', finished_at = coalesce(finished_at, dialer_now()),
            status = CASE WHEN finished_at IS NULL THEN 'cancelled' ELSE status END,
            status_reason = CASE WHEN finished_at IS NULL THEN 'erased' ELSE status_reason END
        WHERE id = ANY(:ids)
        """,
        ids=list(contact_ids),
    )


def erase_calls(connection: Connection, contact_ids: Sequence[ContactId]) -> int:
    """Replace the number in the calls of these contacts, also archived ones, and remove the words of their agents."""
    ids = list(contact_ids)
    run(
        connection,
        """
        UPDATE inbox SET disposition = NULL WHERE disposition IS NOT NULL AND attempt_id IN (
            SELECT id FROM attempts WHERE contact_id = ANY(:ids)
            UNION ALL SELECT id FROM attempts_archive WHERE contact_id = ANY(:ids))
        """,
        ids=ids,
    )
    return sum(
        run(
            connection,
            f"""
            UPDATE {table} SET to_number = 'erased:' || contact_id, disposition = NULL, sip_call_id = NULL
            WHERE contact_id = ANY(:ids)
            """,
            ids=ids,
        )
        for table in ("attempts", "attempts_archive")
    )


def erase_elsewhere(connection: Connection, workspace_id: WorkspaceId, number: str) -> Mapping[str, int]:
    """Remove the number from folders, webhook messages, reports in quarantine and stored responses; count the rows.

    A message that is still to be sent goes without the number. Reads the messages of the workspace that are kept, and
    its responses of the last days.
    """
    statements = {
        "folder_contacts": """
        DELETE FROM folder_contacts USING contact_folders f
        WHERE f.workspace_id = :workspace AND folder_id = f.id AND phone_number = :number
        """,
        "webhook_messages": f"""
        UPDATE webhook_deliveries SET data = data || (
            SELECT jsonb_object_agg(key, NULL) FROM jsonb_object_keys(data) AS key
            WHERE key IN ('phone_number', 'external_id', 'disposition'))
        WHERE position IN (SELECT d.position {_MESSAGES})
        """,
        "quarantined_reports": """
        UPDATE quarantine SET payload = NULL, error = 'erased' FROM trunks t
        WHERE t.workspace_id = :workspace AND trunk_id = t.id AND strpos(payload, ltrim(:number, '+')) > 0
        """,
        "stored_responses": """
        UPDATE idempotency_keys SET body = replace(body, :number, 'erased')
        WHERE workspace_id = :workspace AND strpos(body, :number) > 0
        """,
    }
    return {name: run(connection, sql, workspace=workspace_id, number=number) for name, sql in statements.items()}


def held(connection: Connection, workspace_id: WorkspaceId, number: str) -> dict[str, Any]:
    """Read what is held on a number, as the API shows it: lists of rows by kind, and the suppression or None."""
    ids = list(find_contacts(connection, workspace_id, number))
    contacts = f"SELECT {CONTACT} FROM contacts WHERE id = ANY(:ids) ORDER BY id"
    calls = f"""
    SELECT {CALL} FROM attempts WHERE contact_id = ANY(:ids)
    UNION ALL SELECT {CALL} FROM attempts_archive WHERE contact_id = ANY(:ids) ORDER BY id
    """
    folders = """
    SELECT f.name AS folder, p.name, p.timezone, p.priority, p.external_id, p.expires_at, p.not_before, p.variables,
           p.created_at
    FROM contact_folders f CROSS JOIN LATERAL (
        SELECT name, timezone, priority, external_id, expires_at, not_before, variables, created_at
        FROM folder_contacts WHERE folder_id = f.id AND phone_number = :number LIMIT 1) AS p
    WHERE f.workspace_id = :workspace ORDER BY f.name
    """
    messages = f"SELECT d.id, d.type, d.status, d.created_at, d.data {_MESSAGES} ORDER BY d.position"
    suppressions = """
    SELECT reason, created_at FROM suppressions WHERE workspace_id = :workspace AND phone_number = :number
    """
    whose = {"workspace": workspace_id, "number": number}
    suppressed = _dicts(rows(connection, suppressions, **whose))
    return {
        "contacts": _dicts(rows(connection, contacts, ids=ids)),
        "calls": _dicts(rows(connection, calls, ids=ids)),
        "folder_contacts": _dicts(rows(connection, folders, **whose)),
        "webhook_messages": _dicts(rows(connection, messages, **whose)),
        "suppression": suppressed[0] if suppressed else None,
    }


def record(
    connection: Connection,
    workspace_id: WorkspaceId,
    action: Literal["export", "erase"],
    masked_number: str,
    result: Mapping[str, int],
) -> None:
    """Write who has exported or erased a person, and how many rows it concerned."""
    run(
        connection,
        """
        INSERT INTO person_requests (workspace_id, action, masked_number, result)
        VALUES (:workspace, :action, :masked, CAST(:result AS jsonb))
        """,
        workspace=workspace_id,
        action=action,
        masked=masked_number,
        result=json.dumps(result),
    )


def _dicts(records: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in records]
