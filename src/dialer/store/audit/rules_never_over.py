"""P2: no limit was ever exceeded. Each attempt is checked against the limits that were stored when it was created."""

from dialer.store.audit.rule import Rule, known_zone


def _limit(name: str, table: str, key: str, limit: str, until: str, counts: str) -> Rule:
    """Return the rule that at most `limit` attempts with the same `key` count at once, each from creation to `until`.

    One pass over all starts and ends in order of time. At the same time, ends come before starts. An attempt that ended
    when it started occupies nothing, but needed a free slot. Of those that started together, the strictest limit counts
    first.
    """
    used = key.partition(",")[0]
    return Rule(
        "P2",
        name,
        f"""
        SELECT id, format('Attempt %s was created at %s as number %s {counts}; %s are allowed', id, at, held, most)
                   AS fact
        FROM (
            SELECT id, at, most, CASE step WHEN 0 THEN 1 ELSE 0 END
                      + sum(step) OVER (PARTITION BY {key} ORDER BY at, step, most ROWS UNBOUNDED PRECEDING) AS held
            FROM (
                SELECT id, {key}, created_at AS at, CASE WHEN {until} = created_at THEN 0 ELSE 1 END AS step,
                       {limit} AS most
                FROM {table} WHERE {used} IN (SELECT {used} FROM ledger WHERE {limit} IS NOT NULL)
                UNION ALL
                SELECT NULL, {key}, {until}, -1, NULL
                FROM {table} WHERE {used} IN (SELECT {used} FROM ledger WHERE {limit} IS NOT NULL)
                               AND {until} > created_at
            ) AS moments
        ) AS counted
        WHERE held > most
        """,
    )


# A day counts placed attempts; the allowance of a refused attempt is given back when it ends.
GIVEN_BACK = "CASE WHEN state = 'refused' THEN ended_at END"

BATCH_SLOTS = _limit(
    "batch_concurrency", "ledger", "batch_id", "max_concurrent_calls", "ended_at", "in flight of its batch"
)
NUMBER_SLOTS = _limit(
    "number_concurrency",
    "neighbours",
    "phone_number_id",
    "number_max_concurrent_calls",
    "ended_at",
    "in flight from its number",
)
TRUNK_SLOTS = _limit(
    "trunk_concurrency", "neighbours", "trunk_id", "trunk_max_concurrent_calls", "ended_at", "in flight on its trunk"
)
BATCH_DAY = _limit(
    "batch_daily_cap", "ledger", "batch_id, local_on", "max_calls_per_day", GIVEN_BACK, "of its batch that day"
)
NUMBER_DAY = _limit(
    "number_daily_cap",
    "neighbours",
    "phone_number_id, utc_on",
    "number_max_calls_per_day",
    GIVEN_BACK,
    "from its number that day",
)

# The recorded times of two requests may be a little closer together than the requests were.
NOTED_WITHIN = "0.95"

RATE = Rule(
    "P2",
    "trunk_rate",
    f"""
    SELECT id, format('Attempt %s was placed at %s as call %s of its trunk within %s; %s in %s ms are allowed',
                      id, placed_at, trunk_rate_limit + 1, took, trunk_rate_limit, trunk_rate_window_ms) AS fact
    FROM (SELECT id, placed_at, trunk_rate_limit, trunk_rate_window_ms,
                 placed_at - lag(placed_at, trunk_rate_limit) OVER (PARTITION BY trunk_id ORDER BY placed_at) AS took
          FROM neighbours
          WHERE placed_at IS NOT NULL
            AND trunk_id IN (SELECT trunk_id FROM ledger WHERE trunk_rate_limit IS NOT NULL)) AS paced
    WHERE took < trunk_rate_window_ms * {NOTED_WITHIN} * interval '1 millisecond'
    """,
)

LOCAL_DAY = Rule(
    "P2",
    "wrong_local_day",
    f"""
    SELECT id, format('Attempt %s, created at %s, counts to %s in %s', id, created_at, local_on, day_timezone) AS fact
    FROM ledger WHERE local_on <> CAST(created_at AT TIME ZONE {known_zone("day_timezone")} AS date)
                  AND day_timezone <> ALL(CAST(:unknown_zones AS text[]))
    """,
)

UTC_DAY = Rule(
    "P2",
    "wrong_utc_day",
    """
    SELECT id, format('Attempt %s, created at %s, counts to %s in UTC', id, created_at, utc_on) AS fact
    FROM ledger WHERE utc_on <> CAST(created_at AT TIME ZONE 'UTC' AS date)
    """,
)

NO_LIMITS = Rule(
    "P2",
    "limits_not_stored",
    # Without these nothing of P1 to P3 can be recomputed, and every other rule would pass over the attempt.
    """
    SELECT id, format('Attempt %s does not say by what it was allowed', id) AS fact
    FROM ledger WHERE max_concurrent_calls IS NULL OR max_attempts IS NULL OR day_timezone IS NULL OR NOT has_window
    """,
)

SETTINGS = Rule(
    "P2",
    "settings_not_current",
    # Of each version that attempts name: the settings that it stands for, and how long they held. What was claimed
    # before the first settings were kept is passed over. Changes of status raise the version without a row.
    """
    SELECT l.id, format('Attempt %s, created at %s, was allowed by version %s of its batch, which was not current then',
                        l.id, l.created_at, l.version) AS fact
    FROM ledger l
    JOIN (SELECT batch_id, min(at) AS first_at FROM batch_settings GROUP BY batch_id) AS kept
         ON kept.batch_id = l.batch_id AND kept.first_at <= l.created_at
    JOIN these_batches b ON b.id = l.batch_id
    LEFT JOIN (SELECT named.batch_id, named.version, s.at, s.until
               FROM (SELECT DISTINCT batch_id, version FROM ledger) AS named
               JOIN (SELECT batch_id, version, at, lead(version) OVER versions AS next, lead(at) OVER versions AS until
                     FROM batch_settings WINDOW versions AS (PARTITION BY batch_id ORDER BY version)) AS s
                    ON s.batch_id = named.batch_id AND s.version <= named.version
                       AND (s.next > named.version OR s.next IS NULL)) AS settings
         ON settings.batch_id = l.batch_id AND settings.version = l.version
    WHERE l.version IS NOT NULL
      AND (settings.at IS NULL OR l.version > b.version OR l.created_at < settings.at OR l.created_at > settings.until)
    """,
)

PERSON = Rule(
    "P2",
    "person_limit",
    """
    SELECT DISTINCT ON (id) id, format('Attempt %s is number %s to its person within %s hours; %s are allowed',
                                       id, n, hours, most) AS fact
    FROM (SELECT l.id, most.hours, most.attempts AS most, count(*) AS n
          FROM ledger l
          CROSS JOIN LATERAL (SELECT DISTINCT attempts, hours FROM jsonb_to_recordset(l.person_limits)
                              AS stored (attempts integer, hours integer)) AS most
          JOIN attempts a ON (a.workspace_id, a.to_number) = (l.workspace_id, l.to_number) AND a.state <> 'refused'
               AND a.created_at <= l.created_at AND a.created_at > l.created_at - most.hours * interval '1 hour'
          WHERE l.state <> 'refused' GROUP BY l.id, most.hours, most.attempts) AS counted
    WHERE n > most ORDER BY id, hours
    """,
)

RULES = (
    BATCH_SLOTS,
    NUMBER_SLOTS,
    TRUNK_SLOTS,
    BATCH_DAY,
    NUMBER_DAY,
    PERSON,
    RATE,
    LOCAL_DAY,
    UTC_DAY,
    NO_LIMITS,
    SETTINGS,
)
