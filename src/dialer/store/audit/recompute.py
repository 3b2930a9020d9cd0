"""All rules as one statement: one snapshot, so that work in progress is never mistaken for a breach."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from pendulum import DateTime
from psycopg.errors import InvalidParameterValue
from sqlalchemy import Connection, Row
from sqlalchemy.exc import DataError

from dialer.domain.ids import BatchId
from dialer.store.attempts import COLUMNS
from dialer.store.audit import never_outside, never_over, never_twice, nothing_lost
from dialer.store.audit.rule import Promise, Rule
from dialer.store.database import rows

RULES = (*never_twice.RULES, *never_over.RULES, *never_outside.RULES, *nothing_lost.RULES)
ROWS_SHOWN = 20

# Nested loops and compiled code are bets on how many rows there are; a young ledger has no statistics to bet on. And
# the plan, which takes longer than a small ledger, is the same each time.
STEADY_PLANS = """
    SELECT set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true)
"""

_NUMBERS = (
    "max_concurrent_calls", "max_calls_per_day", "max_attempts", "number_max_concurrent_calls",
    "number_max_calls_per_day", "trunk_max_concurrent_calls", "trunk_rate_limit", "trunk_rate_window_ms",
)  # fmt: skip
_TERMS = {name: f"CAST(allowed_by ->> '{name}' AS integer)" for name in _NUMBERS} | {
    "day_timezone": "allowed_by ->> 'day_timezone'",
    "has_window": "allowed_by ?& '{timezones,start_time,end_time,working_days,excluded_dates}'",
}
TERMS = ", ".join(f"{sql} AS {name}" for name, sql in _TERMS.items())

# What the rules read of each table.
BATCH = "id, status, scheduled_at, respect_contact_timezone, sticky_caller_id"
CONTACT = "id, batch_id, status, outcome, attempts, due_at, lane"
ATTEMPT = ", ".join(COLUMNS)
REPORT = "id, trunk_id, attempt_id, kind, outcome, received_at, settled_at, verdict"

# A call whose reports came before the network's answer was noted has left all the same; what was refused made no call.
PLACED_AT = "CASE WHEN state <> 'refused' THEN coalesce(placed_at, sent_at) END AS placed_at"

LEDGER = f"""
    SELECT id, batch_id, contact_id, trunk_id, phone_number_id, state, outcome, provider_call_id, local_on, utc_on,
           is_counted, {PLACED_AT}, created_at, sent_at, ended_at, rescue_at,
           state NOT IN ('ended', 'refused') AS is_live, {TERMS},
           max(coalesce(ended_at, 'infinity')) OVER (course ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
               AS busy_until,
           lead(id) OVER course IS NULL AS is_latest
    FROM these_attempts WINDOW course AS (PARTITION BY contact_id ORDER BY created_at, ended_at, id)
"""

OWN = "id, batch_id, trunk_id, phone_number_id, state, provider_call_id, utc_on, created_at, ended_at"
NEIGHBOUR = f"{OWN}, placed_at, {', '.join(_TERMS)}"
NEIGHBOURS = f"""
    SELECT {OWN}, {PLACED_AT}, {TERMS}
    FROM attempts
    WHERE trunk_id IN (SELECT trunk_id FROM ledger) OR phone_number_id IN (SELECT phone_number_id FROM ledger)
"""

PEOPLE = """
    SELECT c.id, c.batch_id, c.status, c.outcome, c.attempts, c.due_at, c.lane,
           coalesce(l.live, 0) AS live, coalesce(l.counted, 0) AS counted, coalesce(l.over, 0) AS over, l.max_attempts,
           l.latest_state, l.latest_outcome, l.latest_created_at, l.settled_since
    FROM these_contacts c
    LEFT JOIN (
        SELECT contact_id, count(*) FILTER (WHERE is_live) AS live, count(*) FILTER (WHERE NOT is_live) AS over,
               count(*) FILTER (WHERE state <> 'refused' AND is_counted IS NOT FALSE) AS counted,
               max(max_attempts) FILTER (WHERE is_latest) AS max_attempts,
               max(state) FILTER (WHERE is_latest) AS latest_state,
               max(outcome) FILTER (WHERE is_latest) AS latest_outcome,
               max(created_at) AS latest_created_at,
               min(created_at) FILTER (WHERE outcome IN ('answered', 'invalid_number', 'cancelled', 'unknown'))
                   AS settled_since
        FROM ledger GROUP BY contact_id
    ) AS l ON l.contact_id = c.id
"""

EXTENT = """
    SELECT (SELECT count(*) FROM these_attempts) AS attempts, (SELECT count(*) FROM these_contacts) AS contacts,
           (SELECT count(*) FROM these_batches) AS batches
"""

UNKNOWN_ZONES = """
    SELECT zone FROM (SELECT allowed_by ->> 'day_timezone' AS zone FROM these_attempts
                      UNION SELECT jsonb_array_elements_text(allowed_by -> 'timezones') FROM these_attempts) AS used
    WHERE zone IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_timezone_names WHERE lower(name) = lower(used.zone))
"""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is broken. `count`: how often; `rows`: the ids concerned, the first ones of them."""

    promise: Promise
    rule: str
    message: str
    rows: tuple[str, ...]
    count: int


def violations(connection: Connection, now: DateTime, batch_id: BatchId | None) -> tuple[Violation, ...]:
    """Check every rule over all batches, or over one; limits of numbers and trunks over all that share them."""
    rows(connection, STEADY_PLANS)
    found = _breaches(connection, {"now": now} | _one(batch_id))
    return tuple(_violation(RULES[rule], list(breaches)) for rule, breaches in groupby(found, lambda row: row.rule))


def extent(connection: Connection, batch_id: BatchId | None) -> tuple[int, int, int]:
    """Count the attempts, contacts and batches that an audit looks at."""
    (row,) = rows(connection, _scope(batch_id is not None) + EXTENT, **_one(batch_id))
    return row.attempts, row.contacts, row.batches


def _one(batch_id: BatchId | None) -> dict[str, Any]:
    return {} if batch_id is None else {"batch_id": batch_id}


def _breaches(connection: Connection, values: dict[str, Any]) -> Sequence[Row[Any]]:
    """Run all rules. Only by trying does Postgres say cheaply whether it knows a zone, so its names are read if not."""
    statement = _statement("batch_id" in values)
    try:
        with connection.begin_nested():
            return rows(connection, statement, **values, unknown_zones=[])
    except DataError as error:
        if not isinstance(error.orig, InvalidParameterValue):
            raise
    unknown = rows(connection, _scope("batch_id" in values) + UNKNOWN_ZONES, **values)
    return rows(connection, statement, **values, unknown_zones=[row.zone for row in unknown])


def _violation(rule: Rule, breaches: Sequence[Row[Any]]) -> Violation:
    first = breaches[0]
    more = f" ({first.total - 1} more like it)" if first.total > 1 else ""
    return Violation(rule.promise, rule.name, f"{first.fact}{more}.", tuple(row.id for row in breaches), first.total)


@cache
def _statement(of_one: bool) -> str:
    ledger = f", ledger AS MATERIALIZED ({LEDGER}), people AS MATERIALIZED ({PEOPLE})"
    # Where all batches are looked at, every attempt is in the ledger already.
    neighbours = f"MATERIALIZED ({NEIGHBOURS})" if of_one else f"NOT MATERIALIZED (SELECT {NEIGHBOUR} FROM ledger)"
    asked = " UNION ALL ".join(_asked(index, rule) for index, rule in enumerate(RULES))
    return f"{_scope(of_one)} {ledger}, neighbours AS {neighbours} {asked} ORDER BY rule, id"


def _asked(index: int, rule: Rule) -> str:
    return f"""
    (SELECT {index} AS rule, CAST(id AS text) AS id, fact, count(*) OVER () AS total FROM ({rule.sql}) AS breaches
     ORDER BY id LIMIT {ROWS_SHOWN})
    """


@cache
def _scope(of_one: bool) -> str:
    own = " AND batch_id = :batch_id" if of_one else ""
    one = " AND id = :batch_id" if of_one else ""
    # Of a batch that was archived the attempts are elsewhere.
    kept = f"WHERE batch_id NOT IN (SELECT id FROM batches WHERE archived_at IS NOT NULL){own}"
    reports = f"SELECT {REPORT} FROM inbox" + (" WHERE attempt_id IN (SELECT id FROM these_attempts)" if of_one else "")
    return f"""
    WITH these_batches AS NOT MATERIALIZED (SELECT {BATCH} FROM batches WHERE archived_at IS NULL{one}),
    these_contacts AS NOT MATERIALIZED (SELECT {CONTACT} FROM contacts {kept}),
    these_attempts AS NOT MATERIALIZED (SELECT {ATTEMPT} FROM attempts {kept}),
    these_reports AS NOT MATERIALIZED ({reports})
    """
