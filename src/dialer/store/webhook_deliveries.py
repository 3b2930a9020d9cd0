"""The outbox of webhook events: messages that are due, what became of them, and the health of their endpoints.

The triggers of the schema write the messages. A sender takes an endpoint until a moment, sends without a transaction,
and records the answers; what it has not recorded by then is sent again.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import EndpointId
from dialer.domain.webhook import Answer, DeliveryStatus, Message, Target
from dialer.store.database import moment, rows, run
from dialer.store.pages import Listed, count

_SELECT = """
SELECT position, id, type, batch_id, sequence, status, attempts, created_at,
       CASE WHEN status = 'pending' THEN due_at END AS due_at, last_attempt_at, response_status, error,
       finished_at, data
FROM webhook_deliveries
"""


def due_endpoints(connection: Connection, now: DateTime, limit: int) -> list[EndpointId]:
    """Return endpoints that have messages to send now, those that work first."""
    records = rows(
        connection,
        """
        SELECT e.id FROM webhook_endpoints e JOIN webhook_health h ON h.endpoint_id = e.id
        WHERE e.status = 'active' AND h.free_at <= :now
          AND EXISTS (SELECT 1 FROM webhook_deliveries d
                      WHERE d.endpoint_id = e.id AND d.status = 'pending' AND d.due_at <= :now)
        ORDER BY h.failures, h.free_at LIMIT :limit
        """,
        now=now,
        limit=limit,
    )
    return [row.id for row in records]


def take_endpoint(connection: Connection, endpoint_id: EndpointId, now: DateTime, free_at: DateTime) -> Target | None:
    """Take an endpoint until `free_at`; None: another sender has it, or nothing may be sent to it.

    SKIP LOCKED: another sender is just taking it.
    """
    records = rows(
        connection,
        """
        WITH taken AS MATERIALIZED (
            SELECT endpoint_id FROM webhook_health WHERE endpoint_id = :id AND free_at <= :now
            FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE webhook_health h SET free_at = :free_at FROM taken, webhook_endpoints e
        WHERE h.endpoint_id = taken.endpoint_id AND e.id = taken.endpoint_id AND e.status = 'active'
        RETURNING e.url, e.secret, CASE WHEN e.previous_until > :now THEN e.previous_secret END AS previous, h.failures
        """,
        id=endpoint_id,
        now=now,
        free_at=free_at,
    )
    if not records:
        return None
    (row,) = records
    return Target(endpoint_id, row.url, tuple(filter(None, (row.secret, row.previous))), row.failures)


def take_messages(connection: Connection, endpoint_id: EndpointId, now: DateTime, limit: int) -> list[Message]:
    """Read the messages of a taken endpoint that are due, oldest first, and number those that are sent for the first
    time. Their numbers follow the order in which the facts were committed.
    """
    run(
        connection,
        """
        WITH page AS MATERIALIZED (
            SELECT position, batch_id, sequence FROM webhook_deliveries
            WHERE endpoint_id = :id AND status = 'pending' AND due_at <= :now ORDER BY due_at, position LIMIT :limit),
        fresh AS MATERIALIZED (
            SELECT position, batch_id, row_number() OVER (PARTITION BY batch_id ORDER BY position) AS nth,
                   count(*) OVER (PARTITION BY batch_id) AS n
            FROM page WHERE sequence IS NULL),
        counted AS (
            INSERT INTO webhook_sequences AS s (endpoint_id, batch_id, last)
            SELECT :id, batch_id, count(*) FROM fresh GROUP BY batch_id
            ON CONFLICT (endpoint_id, batch_id) DO UPDATE SET last = s.last + excluded.last RETURNING batch_id, last)
        UPDATE webhook_deliveries d SET sequence = counted.last - fresh.n + fresh.nth
        FROM fresh JOIN counted USING (batch_id) WHERE d.position = fresh.position
        """,
        id=endpoint_id,
        now=now,
        limit=limit,
    )
    records = rows(
        connection,
        """
        SELECT position, id, type, batch_id, sequence, created_at, attempts, data FROM webhook_deliveries
        WHERE endpoint_id = :id AND status = 'pending' AND due_at <= :now AND sequence IS NOT NULL
        ORDER BY due_at, position LIMIT :limit
        """,
        id=endpoint_id,
        now=now,
        limit=limit,
    )
    return [_message(row) for row in records]


def _message(row: Row[Any]) -> Message:
    return Message(
        row.position,
        row.id,
        row.type,
        row.batch_id,
        row.sequence,
        moment(row.created_at),
        row.attempts,
        row.data,
    )


def record_answers(
    connection: Connection, answers: Mapping[int, Answer], due_at: Mapping[int, DateTime], now: DateTime
) -> int:
    """Write what was answered to messages, by position; those that failed are due again at `due_at`."""
    return run(
        connection,
        """
        UPDATE webhook_deliveries d SET
            status = CASE WHEN a.error IS NULL THEN 'delivered' ELSE 'pending' END,
            finished_at = CASE WHEN a.error IS NULL THEN CAST(:now AS timestamptz) END,
            due_at = coalesce(a.due_at, d.due_at),
            attempts = d.attempts + 1, last_attempt_at = :now, response_status = a.status, error = a.error
        FROM unnest(CAST(:positions AS bigint[]), CAST(:statuses AS integer[]), CAST(:errors AS text[]),
                    CAST(:due AS timestamptz[])) AS a (position, status, error, due_at)
        WHERE d.position = a.position AND d.status = 'pending'
        """,
        now=now,
        positions=list(answers),
        statuses=[answer.status for answer in answers.values()],
        errors=[answer.error for answer in answers.values()],
        due=[due_at.get(position) for position in answers],
    )


def record_health(
    connection: Connection,
    endpoint_id: EndpointId,
    answers: Sequence[Answer],
    failures: int,
    now: DateTime,
    free_at: DateTime,
) -> None:
    """Write how an endpoint is after these answers, and let it be taken again from `free_at` on.

    `failures`: in a row, up to now.
    """
    errors = [answer.error for answer in answers if answer.error is not None]
    has_success = len(errors) < len(answers)
    run(
        connection,
        """
        UPDATE webhook_health SET
            free_at = :free_at,
            failures = :failures,
            failing_since = CASE WHEN :failures = 0 THEN NULL
                                 WHEN :has_success OR failing_since IS NULL THEN CAST(:now AS timestamptz)
                                 ELSE failing_since END,
            last_success_at = CASE WHEN :has_success THEN CAST(:now AS timestamptz) ELSE last_success_at END,
            last_failure_at = CASE WHEN :has_failure THEN CAST(:now AS timestamptz) ELSE last_failure_at END,
            last_error = coalesce(:error, last_error)
        WHERE endpoint_id = :id
        """,
        id=endpoint_id,
        now=now,
        free_at=free_at,
        has_success=has_success,
        has_failure=bool(errors),
        failures=failures,
        error=errors[-1] if errors else None,
    )


def disable(connection: Connection, endpoint_id: EndpointId, reason: str) -> None:
    """Set an endpoint inactive; its messages stay pending until they are given up."""
    run(connection, "UPDATE webhook_endpoints SET status = 'inactive' WHERE id = :id", id=endpoint_id)
    run(
        connection,
        "UPDATE webhook_health SET disabled_reason = :reason WHERE endpoint_id = :id",
        id=endpoint_id,
        reason=reason,
    )


def give_up(connection: Connection, now: DateTime, limit: int) -> int:
    """Make at most `limit` messages dead letters whose time is over; return how many."""
    return run(
        connection,
        """
        UPDATE webhook_deliveries SET status = 'dead', finished_at = :now,
                                      error = coalesce(error, 'the endpoint could not be tried within a day')
        WHERE position IN (
            SELECT position FROM webhook_deliveries WHERE status = 'pending' AND retry_until <= :now
            ORDER BY retry_until LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        """,
        now=now,
        limit=limit,
    )


def replay(connection: Connection, endpoint_id: EndpointId, since: DateTime | None, now: DateTime) -> int:
    """Make messages due again, with the same ids: the dead letters, or all since a time; return how many."""
    return run(
        connection,
        """
        UPDATE webhook_deliveries
        SET status = 'pending', due_at = :now, retry_until = CAST(:now AS timestamptz) + interval '1 day',
            finished_at = NULL
        WHERE endpoint_id = :id AND status <> 'pending'
          AND CASE WHEN CAST(:since AS timestamptz) IS NULL THEN status = 'dead' ELSE created_at >= :since END
        """,
        id=endpoint_id,
        since=since,
        now=now,
    )


DELIVERIES = Listed("webhook_deliveries", "id", "endpoint_id", {"created_at": ("position",)}, "-created_at")


def page(
    connection: Connection,
    endpoint_id: EndpointId,
    status: DeliveryStatus | None,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of an endpoint's messages; and count those that match."""
    of_status = {} if status is None else {"status": status}
    where = "endpoint_id = :id" + " AND status = :status" * len(of_status)
    start = DELIVERIES.start(connection, endpoint_id, after, sort)
    query = f"{_SELECT} WHERE {where}{start.condition} ORDER BY {start.order} LIMIT :limit OFFSET :offset"
    messages = rows(connection, query, id=endpoint_id, limit=limit, offset=offset, **of_status, **start.values)
    return messages, count(connection, f"FROM webhook_deliveries WHERE {where}", id=endpoint_id, **of_status)


def before(
    connection: Connection, endpoint_id: EndpointId, status: DeliveryStatus | None, position: int | None, limit: int
) -> Sequence[Row[Any]]:
    """Read an endpoint's messages before a position (None: from the newest on), newest first."""
    return rows(
        connection,
        f"""
        {_SELECT} WHERE endpoint_id = :id AND position < :before
          AND (CAST(:status AS text) IS NULL OR status = :status)
        ORDER BY position DESC LIMIT :limit
        """,
        id=endpoint_id,
        status=status,
        before=2**63 - 1 if position is None else position,
        limit=limit,
    )


def rotate_secret(connection: Connection, endpoint_id: UUID, secret: str, previous_until: DateTime) -> None:
    """Replace the secret of an endpoint; the previous one signs too until a moment."""
    run(
        connection,
        """
        UPDATE webhook_endpoints SET previous_secret = secret, previous_until = :until, secret = :secret WHERE id = :id
        """,
        id=endpoint_id,
        secret=secret,
        until=previous_until,
    )


def remove_finished(connection: Connection, before: DateTime, limit: int) -> int:
    """Delete at most `limit` messages that were delivered or given up before this time; return how many."""
    return run(
        connection,
        """
        DELETE FROM webhook_deliveries WHERE position IN (
            SELECT position FROM webhook_deliveries WHERE finished_at < :before
            ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED)
        """,
        before=before,
        limit=limit,
    )


def remove_orphans(connection: Connection, limit: int) -> int:
    """Delete at most `limit` messages of endpoints that are deleted; return how many."""
    return run(
        connection,
        """
        DELETE FROM webhook_deliveries WHERE position IN (
            SELECT d.position FROM webhook_deliveries d
            WHERE NOT EXISTS (SELECT 1 FROM webhook_endpoints e WHERE e.id = d.endpoint_id)
            LIMIT :limit FOR UPDATE SKIP LOCKED)
        """,
        limit=limit,
    )
