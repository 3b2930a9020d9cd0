"""The versions of a batch's settings, and what a change of them means for its contacts. Triggers write the versions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId
from dialer.domain.lane import Lane
from dialer.domain.outcomes import Outcome
from dialer.domain.settings_impact import OpenContacts
from dialer.store.database import rows


def note_reason(connection: Connection, reason: str | None) -> None:
    """Set why this transaction changes settings, for the version that it makes."""
    rows(connection, "SELECT set_config('dialer.reason', :reason, true)", reason=reason or "")


def version_to_restore(connection: Connection, batch_id: BatchId, fields: Sequence[str]) -> Row[Any] | None:
    """Read the newest version in which one of these fields differs from now; None: there is none.

    These fields, `listed_version`, and `settings`: all of the version as JSON. It lacks settings that are newer.
    """
    columns = ", ".join(f"b.{name}" for name in fields if name != "phone_number_ids")
    versions = rows(
        connection,
        f"""
        WITH versions AS MATERIALIZED (
            SELECT version, settings,
                   (SELECT jsonb_object_agg(key, value) FROM jsonb_each(settings) WHERE key = ANY(:fields)) AS compared
            FROM batch_settings WHERE batch_id = :id)
        SELECT {columns}, v.version AS listed_version, v.settings
        FROM versions v, jsonb_populate_record(CAST(NULL AS batches), v.settings) AS b
        WHERE v.compared <> (SELECT compared FROM versions ORDER BY version DESC LIMIT 1)
        ORDER BY v.version DESC LIMIT 1
        """,
        id=batch_id,
        fields=list(fields),
    )
    return versions[0] if versions else None


def open_contacts(
    connection: Connection, batch_id: BatchId, new_delays: Mapping[Outcome, float] | None, now: DateTime
) -> list[OpenContacts]:
    """Count the contacts that are pending or wait for a retry, in groups that are called under the same conditions.

    Suppressed and expired contacts are left out. `new_delays`: outcome -> minutes, where the due times of retries would
    be computed again, as the trigger follow_retry_rules does; None: they stay.
    """
    records = rows(
        connection,
        """
        -- The call that a callback has granted is no retry.
        SELECT c.lane, CASE WHEN c.attempts < c.attempts_allowed THEN 0 ELSE c.attempts END AS attempts,
               coalesce(c.outcome = 'machine', false) AS is_machine,
               c.status = 'pending' OR c.due_at <= :now AS is_due,
               c.status = 'pending' OR coalesce(moved.due_at, c.due_at) <= :now AS becomes_due,
               coalesce(moved.due_at <> c.due_at, false) AS moves, count(*) AS count
        FROM contacts c JOIN batches b ON b.id = c.batch_id
        LEFT JOIN LATERAL (
            SELECT last.ended_at + retry_delay(CAST(:delays AS jsonb), last.outcome) AS due_at
            FROM (SELECT a.state, a.outcome, a.ended_at FROM attempts a
                  WHERE a.contact_id = c.id ORDER BY a.id DESC LIMIT 1) AS last
            WHERE last.state = 'ended' AND c.status = 'waiting' AND CAST(:delays AS jsonb) IS NOT NULL) AS moved ON true
        WHERE c.batch_id = :id AND c.status IN ('pending', 'waiting') AND coalesce(c.expires_at > :now, true)
          AND NOT EXISTS (SELECT 1 FROM suppressions s
                          WHERE s.workspace_id = b.workspace_id AND s.phone_number = c.phone_number)
        GROUP BY 1, 2, 3, 4, 5, 6
        """,
        id=batch_id,
        delays=None if new_delays is None else json.dumps(new_delays),
        now=now,
    )
    return [OpenContacts(**{**row._mapping, "lane": Lane.parse(row.lane)}) for row in records]
