"""The leases that should exist according to the ledger: Redis is compared with them, and rebuilt from them."""

from collections.abc import Sequence
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import AttemptId, BatchId, NumberId
from dialer.domain.slots import Lease
from dialer.domain.states import AttemptState
from dialer.store.database import rows


def live(connection: Connection, attempt_ids: Sequence[AttemptId] | None = None) -> list[Lease]:
    """Read the leases of all live attempts, or of those of these attempts that are live."""
    among = "" if attempt_ids is None else "AND id = ANY(:ids)"
    values = {} if attempt_ids is None else {"ids": list(attempt_ids)}
    records = rows(
        connection,
        f"""
        SELECT id, batch_id, phone_number_id, trunk_id, utc_on FROM attempts
        WHERE rescue_at IS NOT NULL {among} ORDER BY id
        """,
        **values,
    )
    return [_lease(row) for row in records]


def of_attempts(connection: Connection, attempt_ids: Sequence[AttemptId]) -> list[tuple[Lease, AttemptState]]:
    """Read the leases, with the state of each, of those of these attempts that the ledger has."""
    records = rows(
        connection,
        "SELECT id, batch_id, phone_number_id, trunk_id, utc_on, state FROM attempts WHERE id = ANY(:ids)",
        ids=list(attempt_ids),
    )
    return [(_lease(row), AttemptState(row.state)) for row in records]


def counted(connection: Connection, now: DateTime) -> list[Lease]:
    """Read the attempts, live or over, that count toward the daily caps of numbers on the current UTC day."""
    records = rows(
        connection,
        """
        SELECT a.id, a.batch_id, a.phone_number_id, a.trunk_id, a.utc_on
        FROM phone_numbers n JOIN attempts a ON a.phone_number_id = n.id
        WHERE n.max_calls_per_day IS NOT NULL AND a.state <> 'refused'
          AND a.utc_on = CAST(CAST(:now AS timestamptz) AT TIME ZONE 'UTC' AS date)
        UNION ALL
        SELECT d.id, d.batch_id, d.phone_number_id, d.trunk_id, d.utc_on
        FROM phone_numbers n JOIN deleted_attempts d ON d.phone_number_id = n.id
        WHERE n.max_calls_per_day IS NOT NULL
          AND d.utc_on = CAST(CAST(:now AS timestamptz) AT TIME ZONE 'UTC' AS date)
        """,
        now=now,
    )
    return [_lease(row) for row in records]


def last_numbers(connection: Connection) -> dict[BatchId, NumberId]:
    """Read which number each running round-robin batch used last."""
    records = rows(
        connection,
        """
        SELECT b.id, last.phone_number_id FROM batches b
        CROSS JOIN LATERAL (SELECT phone_number_id FROM attempts a
                            WHERE a.batch_id = b.id ORDER BY a.id DESC LIMIT 1) AS last
        WHERE b.phone_rotation_strategy = 'round_robin' AND b.status IN ('active', 'paused', 'scheduled')
        """,
    )
    return {row.id: row.phone_number_id for row in records}


def _lease(row: Row[Any]) -> Lease:
    return Lease(row.id, row.batch_id, row.phone_number_id, row.trunk_id, row.utc_on)
