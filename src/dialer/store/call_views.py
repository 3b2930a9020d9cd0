"""The calls of a batch as the API shows them: all attempts, also archived ones, and the rows of `results.csv`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from dialer.domain.call import EventKind
from dialer.domain.ids import AttemptId, BatchId, ContactId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.store.contact_groups import is_in_groups
from dialer.store.contact_views import ContactFilter
from dialer.store.database import rows
from dialer.store.pages import Listed, count

_FACTS = "sip_code, q850_cause, sip_call_id, hung_up_by, disposition, opt_out, callback_at, callback_refused"
COLUMNS = f"""
id, batch_id, contact_id, phone_number_id, to_number, from_number, state AS status, outcome, cause, provider_call_id,
local_on, created_at, placed_at, ringing_at, answered_at, ended_at, talk_seconds, {_FACTS}
"""
SHOWN = COLUMNS.replace("state AS ", "")
_LAST = f"id, created_at, answered_at, ended_at, talk_seconds, from_number, cause, {_FACTS}"
# Ids hold the time of their making. The calls of a batch are of the one table or the other, while they are archived of
# both.
CALLS = Listed("attempts", "id", "batch_id", {"created_at": ("id",)}, "-created_at")


def reports(connection: Connection, attempt_id: AttemptId) -> Sequence[Row[Any]]:
    """Read what the network has reported of a call, in the order of its arrival, as long as the inbox keeps it.

    Found by the unique key of a report: the inbox has no index of all reports by attempt.
    """
    return rows(
        connection,
        """
        SELECT i.kind, i.at, i.received_at, i.settled_at, i.verdict, i.outcome, i.cause
        FROM attempts a JOIN inbox i ON i.trunk_id = a.trunk_id AND i.event_key = ANY(:keys)
        WHERE a.id = :id ORDER BY i.id
        """,
        id=attempt_id,
        keys=[f"{attempt_id}:{kind}" for kind in EventKind],
    )


def read(connection: Connection, attempt_id: AttemptId) -> Row[Any]:
    """Read one call, which exists."""
    (row,) = rows(
        connection,
        f"""
        SELECT {COLUMNS} FROM attempts WHERE id = :id UNION ALL SELECT {COLUMNS} FROM attempts_archive WHERE id = :id
        """,
        id=attempt_id,
    )
    return row


def page(
    connection: Connection,
    batch_id: BatchId,
    status: AttemptState | None,
    outcome: Outcome | None,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the calls of a batch; and count those that match."""
    values = {"batch_id": batch_id, "state": status, "outcome": outcome}
    filters = {column: value for column, value in values.items() if value is not None}
    where = " AND ".join(f"{column} = :{column}" for column in filters)
    start = CALLS.start(connection, batch_id, after, sort)
    some = f"WHERE {where}{start.condition} ORDER BY {start.order} LIMIT :most"
    query = f"""
    SELECT {SHOWN} FROM (
        (SELECT {COLUMNS} FROM attempts {some}) UNION ALL (SELECT {COLUMNS} FROM attempts_archive {some})
    ) AS calls ORDER BY {start.order} LIMIT :limit OFFSET :offset
    """
    calls = rows(connection, query, most=offset + limit, limit=limit, offset=offset, **filters, **start.values)
    ids = f"SELECT id FROM attempts WHERE {where} UNION ALL SELECT id FROM attempts_archive WHERE {where}"
    return calls, count(connection, f"FROM ({ids}) AS calls", **filters)


def of_contact(connection: Connection, contact_id: ContactId) -> Sequence[Row[Any]]:
    """Read the calls of one contact, oldest first."""
    return rows(
        connection,
        f"""
        SELECT {COLUMNS} FROM attempts WHERE contact_id = :id
        UNION ALL SELECT {COLUMNS} FROM attempts_archive WHERE contact_id = :id ORDER BY id
        """,
        id=contact_id,
    )


def results(connection: Connection, which: ContactFilter, after: int, limit: int) -> Sequence[Row[Any]]:
    """Read the results of contacts after this position, in their order: outcome and last call of each.

    Contacts of a batch that is over, which a bulk change has still to end, are shown as it will.
    """
    return rows(
        connection,
        f"""
        SELECT c.position, c.id AS contact_id, c.phone_number, c.name, c.external_id,
               CASE WHEN over.is_so THEN 'cancelled' ELSE c.status END AS status,
               CASE WHEN over.is_so THEN 'batch_' || b.status ELSE c.status_reason END AS status_reason,
               c.outcome, c.attempts, c.created_at, f.first_attempt_at, l.created_at AS last_attempt_at, l.answered_at,
               l.ended_at, l.talk_seconds, l.from_number, l.cause, l.sip_code, l.q850_cause, l.sip_call_id,
               l.hung_up_by, l.disposition, l.opt_out, l.callback_at, l.callback_refused,
               coalesce(c.finished_at, CASE WHEN over.is_so THEN b.completed_at END) AS finished_at, c.variables
        FROM contacts c JOIN batches b ON b.id = c.batch_id
        CROSS JOIN LATERAL (
            SELECT c.id AS contact_id,
                   c.status IN ('pending', 'waiting') AND b.completed_at IS NOT NULL AS is_so) AS over
        LEFT JOIN LATERAL (
            SELECT min(created_at) AS first_attempt_at FROM (
                SELECT created_at FROM attempts WHERE contact_id = c.id
                UNION ALL SELECT created_at FROM attempts_archive WHERE contact_id = c.id) AS a) AS f ON true
        LEFT JOIN LATERAL (
            SELECT {_LAST} FROM attempts WHERE contact_id = c.id
            UNION ALL SELECT {_LAST} FROM attempts_archive WHERE contact_id = c.id
            ORDER BY id DESC LIMIT 1) AS l ON true
        WHERE c.batch_id = :batch_id AND c.position > :after
          AND (CAST(:status AS text) IS NULL OR CASE WHEN over.is_so THEN 'cancelled' ELSE c.status END = :status)
          AND (CAST(:outcome AS text) IS NULL OR c.outcome = :outcome)
          AND (CAST(:phone_number AS text) IS NULL OR c.phone_number = :phone_number)
          AND (CAST(:external_id AS text) IS NULL OR c.external_id = :external_id)
          {f"AND {is_in_groups('over.contact_id')}" if which.because else ""}
        ORDER BY c.position LIMIT :limit
        """,
        after=after,
        limit=limit,
        **which.values(),
    )
