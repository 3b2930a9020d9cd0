"""Changes of single contacts by an operator, each under the lock of its row."""

import json
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.store.database import rows, run


def lock(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId
) -> Row[Any] | None:
    """Lock a contact, and before it the counts of its batch; None: there is no such contact in this batch.

    A claim or a change of the batch's status is either seen in what is returned, or waits until this transaction ends.
    """
    counts = """
    SELECT 1 FROM batch_progress p JOIN batches b ON b.id = p.batch_id
    WHERE b.id = :batch AND b.workspace_id = :workspace FOR NO KEY UPDATE OF p
    """
    if not rows(connection, counts, batch=batch_id, workspace=workspace_id):
        return None
    contacts = rows(
        connection,
        """
        SELECT c.phone_number, c.name, c.timezone, c.priority, c.external_id, c.expires_at, c.not_before,
               c.variables, c.lane, c.status, b.status AS batch_status, b.timezone AS batch_timezone,
               b.respect_contact_timezone
        FROM contacts c JOIN batches b ON b.id = c.batch_id WHERE c.id = :id AND c.batch_id = :batch
        FOR NO KEY UPDATE OF c
        """,
        id=contact_id,
        batch=batch_id,
    )
    return contacts[0] if contacts else None


def update(connection: Connection, contact_id: ContactId, changed: NewContact, lane: str) -> None:
    """Write what an operator may change of a contact that this transaction has locked."""
    run(
        connection,
        """
        UPDATE contacts SET name = :name, timezone = :timezone, priority = :priority, external_id = :external_id,
                            variables = CAST(:variables AS jsonb), lane = :lane
        WHERE id = :id
        """,
        id=contact_id,
        name=changed.name,
        timezone=changed.timezone,
        priority=changed.priority,
        external_id=changed.external_id,
        variables=json.dumps(changed.variables),
        lane=lane,
    )


def move(connection: Connection, contact_id: ContactId, not_before: DateTime | None, now: DateTime) -> None:
    """Have a pending or waiting contact that this transaction has locked called from this time on; None: from now on.

    What is due later for another reason, as a retry or a callback, stays as it is.
    """
    run(
        connection,
        """
        UPDATE contacts SET not_before = t.at,
            status = CASE WHEN is_later THEN 'waiting' WHEN waits_for = 'not_before' THEN 'pending' ELSE status END,
            waits_for = CASE WHEN is_later THEN 'not_before' ELSE nullif(waits_for, 'not_before') END,
            due_at = CASE WHEN is_later THEN t.at WHEN waits_for = 'not_before' THEN t.now ELSE due_at END
        FROM (SELECT CAST(:at AS timestamptz) AS at, CAST(:now AS timestamptz) AS now) AS t,
             LATERAL (SELECT t.at > t.now AND (status = 'pending' OR waits_for = 'not_before' OR due_at < t.at) IS TRUE
                      AS is_later FROM contacts WHERE id = :id) AS l
        WHERE id = :id
        """,
        id=contact_id,
        at=not_before,
        now=now,
    )


def cancel(connection: Connection, contact_id: ContactId) -> None:
    """End a contact that this transaction has locked and that nobody is calling."""
    run(
        connection,
        """
        UPDATE contacts SET status = 'cancelled', status_reason = 'removed', finished_at = dialer_now() WHERE id = :id
        """,
        id=contact_id,
    )


def delete(connection: Connection, contact_id: ContactId) -> None:
    """Delete a contact of a draft, which has no attempts."""
    run(connection, "DELETE FROM contacts WHERE id = :id", id=contact_id)
