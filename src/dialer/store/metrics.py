"""Gauges from the ledger. One statement; its cost grows with live batches and pending messages, not with contacts."""

from typing import Any

import redis
from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.ids import first_of
from dialer.domain.webhook import FAILING_AFTER
from dialer.store.database import rows

# A label has one value per trunk: those with the most calls.
MOST_TRUNKS = 200


def gauges(connection: Connection, now: DateTime, retention_days: int = 0) -> dict[str, Any]:
    """Read the gauges: numbers, and mappings from the value of a label to a number.

    `retention_days`: after how many days call reports are deleted, and the attempts of ended batches archived.
    """
    (row,) = rows(
        connection,
        """
        SELECT
            (SELECT json_object_agg(status, n) FROM (
                SELECT status, count(*) AS n FROM batches GROUP BY 1) AS s) AS batches,
            (SELECT json_build_object('pending', coalesce(sum(pending), 0), 'waiting', coalesce(sum(waiting), 0),
                                      'dialing', coalesce(sum(dialing), 0))
             FROM batch_progress p JOIN batches b ON b.id = p.batch_id
             WHERE b.status IN ('active', 'paused', 'scheduled') OR p.dialing > 0) AS contacts,
            (SELECT json_object_agg(state, n) FROM (
                SELECT state, count(*) AS n FROM attempts WHERE rescue_at IS NOT NULL GROUP BY 1) AS s) AS calls,
            (SELECT json_object_agg(trunk_id, n) FROM (
                SELECT trunk_id, count(*) AS n FROM attempts WHERE rescue_at IS NOT NULL
                GROUP BY 1 ORDER BY 2 DESC LIMIT :most_trunks) AS s) AS trunk_calls,
            (SELECT coalesce(sum(p.dialing), 0) FROM batch_progress p JOIN batches b ON b.id = p.batch_id
             WHERE b.status = 'active') AS slots_used,
            (SELECT coalesce(sum(max_concurrent_calls), 0) FROM batches WHERE status = 'active') AS slots_limit,
            (SELECT count(*) FROM inbox WHERE settled_at IS NULL) AS inbox_depth,
            -- Of the oldest report and the oldest attempt, each by the primary key, and of the batches.
            (SELECT extract(epoch FROM CAST(:now AS timestamptz) - least(
                (SELECT settled_at + keep FROM inbox ORDER BY id LIMIT 1),
                (SELECT min(completed_at) + keep FROM batches WHERE archived_at IS NULL),
                (SELECT archived_at FROM batches WHERE id = (SELECT batch_id FROM attempts ORDER BY id LIMIT 1))))
             FROM make_interval(days => :retention_days) AS keep) AS retention_overdue,
            (SELECT extract(epoch FROM CAST(:now AS timestamptz) - received_at) FROM inbox WHERE settled_at IS NULL
             ORDER BY id LIMIT 1) AS inbox_age,
            (SELECT extract(epoch FROM CAST(:now AS timestamptz) - min(next_dispatch_at)) FROM batch_progress
             WHERE next_dispatch_at IS NOT NULL) AS late,
            (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending') AS webhooks_pending,
            -- By its index, in place of the time at which they were written.
            (SELECT extract(epoch FROM CAST(:now AS timestamptz) + interval '1 day' - min(retry_until))
             FROM webhook_deliveries WHERE status = 'pending') AS webhooks_age,
            (SELECT count(*) FROM webhook_health h JOIN webhook_endpoints e ON e.id = h.endpoint_id
             WHERE h.failures >= :failing_after AND e.status = 'active') AS webhooks_failing,
            (SELECT count(*) FROM trunk_health WHERE opened_at IS NOT NULL) AS trunks_failing,
            (SELECT count(*) FROM bulk_changes) AS batches_finishing,
            (SELECT coalesce(sum(cardinality(phone_numbers)), 0) FROM suppressed_numbers) AS numbers_to_skip,
            -- Ids hold the millisecond of their making, so that these are found by the primary key.
            (SELECT json_object_agg(trunk_id, most) FROM (
                SELECT trunk_id, max(n) AS most FROM (
                    SELECT trunk_id, count(*) OVER (
                        PARTITION BY trunk_id ORDER BY sent_at
                        RANGE BETWEEN CURRENT ROW AND interval '999 milliseconds' FOLLOWING) AS n
                    FROM attempts WHERE id >= :since AND sent_at > CAST(:now AS timestamptz) - interval '1 minute'
                ) AS starts GROUP BY 1 ORDER BY 2 DESC LIMIT :most_trunks) AS s) AS most_starts,
            -- Of batches with a due contact, a free slot, and no reason why they are held: since when all of that has
            -- been so, as far as their last call, their start and that contact's due time tell.
            (SELECT extract(epoch FROM CAST(:now AS timestamptz) - min(greatest(b.started_at, next.due_at, last.at)))
             FROM batches b JOIN batch_progress p ON p.batch_id = b.id
             CROSS JOIN LATERAL (SELECT due_at FROM contacts WHERE batch_id = b.id AND status = 'pending'
                                 ORDER BY lane, priority, due_at LIMIT 1) AS next
             LEFT JOIN LATERAL (SELECT created_at AS at FROM attempts WHERE batch_id = b.id
                                ORDER BY id DESC LIMIT 1) AS last ON true
             WHERE b.status = 'active' AND p.held_by IS NULL AND p.pending > 0
               AND p.dialing < b.max_concurrent_calls) AS idle,
            (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dialer') AS connections,
            CAST(current_setting('max_connections') AS integer) AS connections_limit,
            (SELECT json_object_agg(kind, n) FROM (
                SELECT k.kind, count(s.kind) AS n FROM unnest(ARRAY['report', 'attempt', 'batch']) AS k (kind)
                LEFT JOIN quarantine s ON s.kind = k.kind GROUP BY 1) AS s) AS set_aside
        """,
        now=now,
        failing_after=FAILING_AFTER,
        most_trunks=MOST_TRUNKS,
        since=first_of(now.subtract(minutes=2)),
        retention_days=retention_days,
    )
    return dict(row._mapping)


def queue_depths(broker_url: str, queues: tuple[str, ...]) -> dict[str, int]:
    """Count the waiting tasks of each queue; empty where the broker is not Redis, or is away."""
    if not broker_url.startswith(("redis://", "rediss://")):
        return {}
    try:
        with redis.Redis.from_url(broker_url, socket_timeout=1, socket_connect_timeout=1) as client:
            return {queue: int(client.llen(queue)) for queue in queues}
    except redis.RedisError:
        return {}
