"""Figures of a batch's latest calls: outcomes, numbers, series over time. The cost is bounded."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.ids import BatchId
from dialer.store.database import rows

# Intervals of a series, in seconds. The first one is taken that makes fewer than MOST_POINTS.
INTERVALS = (5, 15, 60, 300, 900, 3_600, 21_600, 86_400)
MOST_POINTS = 150
_COLUMNS = "id, from_number, state, outcome, created_at, ended_at"


def of_batch(connection: Connection, batch_id: BatchId, limit: int) -> Row[Any]:
    """Read the figures of the latest calls of a batch, at most `limit`. Weekdays and hours are those of its zone."""
    (row,) = rows(
        connection,
        f"""
        WITH calls AS MATERIALIZED (
            SELECT {_COLUMNS} FROM (
                (SELECT {_COLUMNS} FROM attempts WHERE batch_id = :batch ORDER BY id DESC LIMIT :limit)
                UNION ALL
                (SELECT {_COLUMNS} FROM attempts_archive WHERE batch_id = :batch ORDER BY id DESC LIMIT :limit)) AS a
            ORDER BY id DESC LIMIT :limit),
        span AS (
            SELECT coalesce((SELECT i FROM unnest(CAST(:intervals AS integer[])) AS i
                             WHERE extract(epoch FROM ends_at - begins_at) / i < :most
                             ORDER BY i LIMIT 1), :longest) AS seconds
            FROM (SELECT min(created_at) AS begins_at, max(coalesce(ended_at, dialer_now())) AS ends_at
                  FROM calls) AS b)
        SELECT
            (SELECT count(*) FROM calls) AS calls,
            (SELECT min(created_at) FROM calls) AS since,
            (SELECT seconds FROM span) AS interval_seconds,
            (SELECT coalesce(json_object_agg(what, n), '{{}}') FROM (
                SELECT coalesce(outcome, CASE WHEN state = 'refused' THEN 'refused' ELSE 'in_progress' END) AS what,
                       count(*) AS n FROM calls GROUP BY 1) AS o) AS outcomes,
            (SELECT coalesce(json_agg(json_build_object(
                 'phone_number', from_number, 'calls', calls, 'answered', answered, 'in_progress', in_progress)
                 ORDER BY calls DESC, from_number), '[]') FROM (
                SELECT from_number, count(*) FILTER (WHERE state <> 'refused') AS calls,
                       count(*) FILTER (WHERE outcome IN ('answered', 'machine')) AS answered,
                       count(*) FILTER (WHERE ended_at IS NULL) AS in_progress
                FROM calls GROUP BY 1) AS n) AS numbers,
            (SELECT coalesce(json_agg(json_build_object(
                 'at', at, 'started', started, 'ended', ended, 'answered', answered) ORDER BY at), '[]') FROM (
                SELECT CAST(floor(extract(epoch FROM moment) / seconds) * seconds AS bigint) AS at,
                       count(*) FILTER (WHERE begins) AS started, count(*) FILTER (WHERE NOT begins) AS ended,
                       count(*) FILTER (WHERE NOT begins AND outcome IN ('answered', 'machine')) AS answered
                FROM span, calls, LATERAL (VALUES (created_at, true), (ended_at, false)) AS m (moment, begins)
                WHERE moment IS NOT NULL GROUP BY 1) AS s) AS series,
            (SELECT coalesce(json_agg(json_build_object(
                 'weekday', weekday, 'hour', hour, 'calls', calls, 'answered', answered) ORDER BY weekday, hour), '[]')
             FROM (
                SELECT CAST(extract(isodow FROM at) AS integer) AS weekday,
                       CAST(extract(hour FROM at) AS integer) AS hour,
                       count(*) AS calls, count(*) FILTER (WHERE outcome IN ('answered', 'machine')) AS answered
                FROM calls, LATERAL (SELECT timezone(
                    (SELECT timezone FROM batches WHERE id = :batch), created_at) AS at) AS local
                WHERE outcome IS NOT NULL GROUP BY 1, 2) AS h) AS hours
        """,
        batch=batch_id,
        limit=limit,
        intervals=list(INTERVALS),
        most=MOST_POINTS,
        longest=INTERVALS[-1],
    )
    return row


def room_of_numbers(connection: Connection, batch_id: BatchId, numbers: Sequence[str]) -> Sequence[Row[Any]]:
    """Read the limits of these numbers of the batch's workspace, and what all batches use of them now.

    `calls_today`: on the current UTC day, as the daily cap counts them; None without a cap.
    """
    return rows(
        connection,
        """
        SELECT n.phone_number, n.max_concurrent_calls, n.max_calls_per_day,
               (SELECT count(*) FROM attempts a WHERE a.phone_number_id = n.id AND a.utc_on >= d.utc_on - 1
                AND a.rescue_at IS NOT NULL) AS calls_now,
               CASE WHEN n.max_calls_per_day IS NOT NULL THEN
                   (SELECT count(*) FROM attempts a
                    WHERE a.phone_number_id = n.id AND a.utc_on = d.utc_on AND a.state <> 'refused')
                   + (SELECT count(*) FROM deleted_attempts a WHERE a.phone_number_id = n.id AND a.utc_on = d.utc_on)
               END AS calls_today
        FROM phone_numbers n, (SELECT CAST(dialer_now() AT TIME ZONE 'UTC' AS date) AS utc_on) AS d
        WHERE n.workspace_id = (SELECT workspace_id FROM batches WHERE id = :batch) AND n.phone_number = ANY(:numbers)
        """,
        batch=batch_id,
        numbers=list(numbers),
    )
