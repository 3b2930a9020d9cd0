"""What a forecast reads: contacts in cohorts, limits, earlier calls; and the forecasts that were made."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.forecast.calibration import PastForecast
from dialer.domain.forecast.history import CallSums
from dialer.domain.forecast.situation import Cohort
from dialer.domain.forecast.timetable import OUTCOMES
from dialer.domain.ids import BatchId, NumberId, TrunkId, WorkspaceId, first_of
from dialer.domain.lane import Lane
from dialer.domain.outcomes import Outcome
from dialer.store.database import moment, optional_moment, rows, run

# History is read from so many of the newest batches, and so many of the last calls of each.
MOST_BATCHES = 50
MOST_CALLS = 2_000
# Times of contacts are put together, so that however many there are, there are about so many.
MOST_TIMES = 200
MOST_PAST_FORECASTS = 1_000
MOST_ACTIVE = 1_000
MOST_KEPT = 20


@dataclass(frozen=True, slots=True)
class OtherBatch:
    """An active batch that shares a trunk. `contacts`: those that are not final."""

    id: BatchId
    priority: int
    max_concurrent_calls: int
    contacts: int


def cohorts(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime, until: DateTime
) -> tuple[list[Cohort], int]:
    """Count the open contacts of a batch that are alike; and those of suppressed numbers, which are in no cohort.

    Reads each open contact once, by index. Due and expiry times are rounded up to a step that is at least a minute;
    those after `until`, which lies beyond the horizon, are read as `until`.
    """
    records = rows(
        connection,
        """
        WITH open AS (
            SELECT split_part(c.lane, '|', 1) AS zones, c.priority, c.attempts, c.refusals, c.status,
                   least(c.expires_at, :until) AS expires_at,
                   c.status <> 'dialing' AND c.attempts < c.attempts_allowed AS is_called_back,
                   CASE WHEN c.status = 'waiting' AND c.due_at > :now THEN least(c.due_at, :until) END AS due_at,
                   c.status <> 'dialing' AND s.phone_number IS NOT NULL AS is_suppressed
            FROM contacts c LEFT JOIN suppressions s ON s.workspace_id = :workspace AND s.phone_number = c.phone_number
            WHERE c.batch_id = :batch AND c.status IN ('pending', 'waiting', 'dialing')),
        steps AS (
            SELECT greatest(interval '1 minute', (max(due_at) - min(due_at)) / :times) AS due,
                   greatest(interval '1 minute', (max(expires_at) - min(expires_at)) / :times) AS expiry FROM open)
        SELECT zones, priority, attempts, refusals, status = 'dialing' AS is_dialing, is_suppressed,
               is_called_back, date_bin(steps.due, due_at, :now) + steps.due AS due_at,
               date_bin(steps.expiry, expires_at, :now) + steps.expiry AS expires_at, count(*) AS n
        FROM open, steps GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 2, 8 NULLS FIRST, 1, 3, 4, 5, 7, 9
        """,
        workspace=workspace_id,
        batch=batch_id,
        now=now,
        until=until,
        times=MOST_TIMES,
    )
    found = [
        Cohort(
            count=row.n,
            zones=Lane.parse(row.zones).zones,
            priority=row.priority,
            attempts=row.attempts,
            refusals=row.refusals,
            expires_at=optional_moment(row.expires_at),
            due_at=optional_moment(row.due_at),
            is_dialing=row.is_dialing,
            is_called_back=row.is_called_back,
        )
        for row in records
        if not row.is_suppressed
    ]
    return found, sum(row.n for row in records if row.is_suppressed)


def other_batches(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, trunk_ids: Collection[TrunkId]
) -> list[OtherBatch]:
    """List the other active batches whose numbers are on these trunks and which have contacts to call.

    Among the MOST_ACTIVE newest batches of the workspace, which are read by index.
    """
    records = rows(
        connection,
        """
        SELECT b.id, b.priority, b.max_concurrent_calls, p.pending + p.waiting + p.dialing AS contacts
        FROM (SELECT id, agent_id, priority, max_concurrent_calls, status FROM batches
              WHERE workspace_id = :workspace ORDER BY id DESC LIMIT :most) AS b
        JOIN batch_progress p ON p.batch_id = b.id
        WHERE b.status = 'active' AND b.id <> :batch AND p.pending + p.waiting + p.dialing > 0
          AND EXISTS (SELECT 1 FROM phone_numbers n LEFT JOIN batch_numbers bn ON bn.phone_number_id = n.id
                      WHERE n.trunk_id = ANY(:trunks) AND (bn.batch_id = b.id OR n.agent_id = b.agent_id))
        ORDER BY b.id
        """,
        workspace=workspace_id,
        batch=batch_id,
        trunks=list(trunk_ids),
        most=MOST_ACTIVE,
    )
    return [OtherBatch(row.id, row.priority, row.max_concurrent_calls, row.contacts) for row in records]


def number_calls(connection: Connection, number_ids: Collection[NumberId], now: DateTime) -> int:
    """Count the attempts of these numbers that count to their daily caps on the current UTC day."""
    (row,) = rows(
        connection,
        """
        SELECT count(*) AS n FROM attempts WHERE phone_number_id = ANY(:ids) AND state <> 'refused'
        AND utc_on = CAST(CAST(:now AS timestamptz) AT TIME ZONE 'UTC' AS date)
        """,
        ids=list(number_ids),
        now=now,
    )
    return int(row.n)


def call_sums(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    timezone: str,
    since: DateTime,
) -> list[CallSums]:
    """Sum up the last calls of the batch and of the newest called batches of its workspace, by outcome and local hour.

    At most MOST_CALLS calls of each batch are read, by index. Calls that ended as cancelled or unknown say nothing.
    """
    records = rows(
        connection,
        """
        WITH asked AS (
            (SELECT b.id FROM batches b WHERE b.workspace_id = :workspace AND EXISTS (
                 SELECT 1 FROM attempts a WHERE a.batch_id = b.id AND a.id >= :first AND a.outcome = ANY(:outcomes))
             ORDER BY b.id DESC LIMIT :batches)
            UNION SELECT CAST(:batch AS uuid))
        SELECT asked.id AS batch_id, CAST(extract(hour FROM a.created_at AT TIME ZONE :timezone) AS integer) AS hour,
               a.outcome, count(*) AS calls, sum(a.slot) AS slot_seconds, sum(a.slot * a.slot) AS slot_squares,
               sum(coalesce(a.talk_seconds, 0)) AS talk_seconds
        FROM asked CROSS JOIN LATERAL (
            SELECT created_at, outcome, talk_seconds,
                   CAST(extract(epoch FROM ended_at - created_at) AS double precision) AS slot
            FROM attempts WHERE batch_id = asked.id AND id >= :first ORDER BY id DESC LIMIT :calls) AS a
        WHERE a.outcome = ANY(:outcomes) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """,
        workspace=workspace_id,
        batch=batch_id,
        timezone=timezone,
        first=first_of(since),
        batches=MOST_BATCHES,
        calls=MOST_CALLS,
        outcomes=list(OUTCOMES),
    )
    return [CallSums(**dict(row._mapping) | {"outcome": Outcome(row.outcome)}) for row in records]


def insert(connection: Connection, values: Mapping[str, Any]) -> None:
    """Keep a forecast, unless its batch was deleted meanwhile or has MOST_KEPT with the same settings already."""
    run(
        connection,
        """
        INSERT INTO forecasts (id, workspace_id, batch_id, batch_version, history_id, contacts, starts_at, made_at,
                               p10, p50, p90, assumed)
        SELECT :id, b.workspace_id, b.id, :batch_version,
               (SELECT max(h.id) FROM batch_history h WHERE h.batch_id = b.id), :contacts, :starts_at, :made_at,
               CAST(:p10 AS timestamptz), CAST(:p50 AS timestamptz), CAST(:p90 AS timestamptz), CAST(:assumed AS jsonb)
        FROM batches b
        WHERE b.id = :batch_id
          AND (SELECT count(*) FROM forecasts f WHERE f.batch_id = b.id AND f.batch_version = :batch_version) < :most
        FOR KEY SHARE OF b
        """,
        most=MOST_KEPT,
        **values,
    )


def latest(connection: Connection, batch_ids: Collection[BatchId]) -> dict[BatchId, dict[str, Any]]:
    """Read the newest forecast of each batch that has one: `made_at`, `p10`, `p50`, `p90` and `batch_version`."""
    records = rows(
        connection,
        """
        SELECT f.batch_id, f.batch_version, f.made_at, f.p10, f.p50, f.p90
        FROM unnest(CAST(:ids AS uuid[])) AS wanted (id)
        CROSS JOIN LATERAL (SELECT batch_id, batch_version, made_at, p10, p50, p90 FROM forecasts
                            WHERE batch_id = wanted.id ORDER BY id DESC LIMIT 1) AS f
        """,
        ids=list(batch_ids),
    )
    return {row.batch_id: dict(row._mapping) for row in records}


def past(connection: Connection, workspace_id: WorkspaceId) -> list[PastForecast]:
    """Read the first forecast of each completed batch that ran as it was forecast, among the newest forecasts.

    Not where it was started at another time, paused, changed or given contacts after the forecast. Each change of a
    batch adds one to its version; those of its status are in its history.
    """
    records = rows(
        connection,
        """
        SELECT DISTINCT ON (f.batch_id) f.p10, f.p50, f.p90, b.completed_at
        FROM (SELECT id, batch_id, batch_version, history_id, contacts, starts_at, p10, p50, p90 FROM forecasts
              WHERE workspace_id = :workspace ORDER BY id DESC LIMIT :limit) AS f
        JOIN batches b ON b.id = f.batch_id JOIN batch_progress p ON p.batch_id = f.batch_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS changes, count(*) FILTER (WHERE to_status = 'paused') AS pauses
            FROM batch_history h WHERE h.batch_id = b.id AND h.id > f.history_id) AS since
        WHERE b.status = 'completed' AND b.started_at <= f.starts_at + interval '1 minute' AND p.total = f.contacts
          AND since.pauses = 0 AND b.version = f.batch_version + since.changes
        ORDER BY f.batch_id, f.id
        """,
        workspace=workspace_id,
        limit=MOST_PAST_FORECASTS,
    )
    return [
        PastForecast(
            optional_moment(row.p10), optional_moment(row.p50), optional_moment(row.p90), moment(row.completed_at)
        )
        for row in records
    ]
