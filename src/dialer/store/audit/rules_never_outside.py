"""P3 and P4: attempts were created inside their calling window, and while their batch was active."""

from dialer.store.audit.rule import Rule, known_zone

OUTSIDE_WINDOW = Rule(
    "P3",
    "outside_window",
    # The wall clock, set back by the window's start, shows the day on which the window began and how long ago.
    f"""
    SELECT DISTINCT ON (a.id) a.id,
           format('Attempt %s was created at %s, outside %s in %s', a.id, a.created_at,
                  coalesce(a.allowed_by ->> 'calling_hours',
                           format('%s to %s on the days %s', coalesce(a.allowed_by ->> 'start_time', '00:00'),
                                  coalesce(a.allowed_by ->> 'end_time', '00:00'), a.allowed_by ->> 'working_days')),
                  zone) AS fact
    FROM these_attempts a
    CROSS JOIN LATERAL jsonb_array_elements_text(a.allowed_by -> 'timezones') AS zone
    WHERE zone <> ALL(CAST(:unknown_zones AS text[])) AND NOT EXISTS (
        SELECT 1 FROM (
            SELECT coalesce(a.allowed_by ->> 'start_time', '00:00') AS begin,
                   coalesce(a.allowed_by ->> 'end_time', '00:00') AS until, a.allowed_by -> 'working_days' AS days
            WHERE NOT a.allowed_by ? 'calling_hours'
            UNION ALL
            SELECT span ->> 0, span ->> 1, to_jsonb(CAST(of_day.day AS integer))
            FROM jsonb_each(a.allowed_by -> 'calling_hours') AS of_day (day, spans)
            CROSS JOIN LATERAL jsonb_array_elements(of_day.spans) AS span
            WHERE a.allowed_by ? 'calling_hours') AS times
        CROSS JOIN LATERAL (
            SELECT (a.created_at AT TIME ZONE {known_zone("zone")}) - CAST(times.begin AS interval) AS shown,
                   CAST(times.until AS time) - CAST(times.begin AS interval) AS length OFFSET 0) AS clock
        WHERE (clock.length = '00:00' OR CAST(clock.shown AS time) < clock.length)
          AND times.days @> to_jsonb(CAST(extract(isodow FROM clock.shown) AS integer))
          AND NOT a.allowed_by -> 'excluded_dates' ? to_char(clock.shown, 'YYYY-MM-DD'))
    ORDER BY a.id
    """,
)

UNKNOWN_ZONE = Rule(
    "P3",
    "unknown_zone",
    """
    SELECT id, format('Attempt %s was allowed in a time zone that Postgres does not know: one of %s, %s', id,
                      allowed_by ->> 'timezones', allowed_by ->> 'day_timezone') AS fact
    FROM these_attempts
    WHERE cardinality(CAST(:unknown_zones AS text[])) > 0
      AND (allowed_by -> 'timezones' ?| CAST(:unknown_zones AS text[])
           OR allowed_by ->> 'day_timezone' = ANY(CAST(:unknown_zones AS text[])))
    """,
)


def _while_stopped(name: str, moment: str) -> Rule:
    """Return the rule that no attempt has reached this state while its batch was not active."""
    return Rule(
        "P4",
        f"{name}_while_stopped",
        f"""
        SELECT l.id, format('Attempt %s was {name} at %s, while batch %s was not active', l.id, l.{moment}, l.batch_id)
                     AS fact
        FROM ledger l
        WHERE EXISTS (
            SELECT 1 FROM (
                SELECT h.batch_id, h.to_status, h.at AS since, min(h.at) FILTER (WHERE h.to_status = 'active')
                           OVER (PARTITION BY h.batch_id ORDER BY h.id
                                 ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS until
                FROM batch_history h JOIN these_batches b ON b.id = h.batch_id) AS s
            WHERE s.batch_id = l.batch_id AND s.to_status <> 'active'
              AND s.since < l.{moment} AND (s.until IS NULL OR l.{moment} < s.until))
        """,
    )


NOT_ACTIVE = _while_stopped("created", "created_at")
SENT_WHILE_STOPPED = _while_stopped("sent", "sent_at")

RULES = (OUTSIDE_WINDOW, UNKNOWN_ZONE, NOT_ACTIVE, SENT_WHILE_STOPPED)
