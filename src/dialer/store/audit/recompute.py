"""Runs all rules as one statement, on one snapshot, so that work in progress never looks like a broken rule."""

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
from dialer.store.audit import rules_never_outside, rules_never_over, rules_never_twice, rules_nothing_lost
from dialer.store.audit.rule import Promise, Rule
from dialer.store.database import rows

RULES = (*rules_never_twice.RULES, *rules_never_over.RULES, *rules_never_outside.RULES, *rules_nothing_lost.RULES)
ROWS_SHOWN = 20

# Nested loops and JIT pay off only if row estimates are right, and a young ledger has no statistics. A generic plan
# saves planning, which takes longer than reading a small ledger.
STEADY_PLANS = """
    SELECT set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true)
"""

_NUMBERS = (
    "version", "max_concurrent_calls", "max_calls_per_day", "max_attempts", "number_max_concurrent_calls",
    "number_max_calls_per_day", "trunk_max_concurrent_calls", "trunk_rate_limit", "trunk_rate_window_ms",
)  # fmt: skip
_TERMS = {name: f"CAST(allowed_by ->> '{name}' AS integer)" for name in _NUMBERS} | {
    "day_timezone": "allowed_by ->> 'day_timezone'",
    "person_limits": "allowed_by -> 'person_limits'",
    "has_window": "allowed_by ?& '{timezones,start_time,end_time,working_days,excluded_dates}'",
}
TERMS = ", ".join(f"{sql} AS {name}" for name, sql in _TERMS.items())

# The columns that rules may read of each table.
BATCH = "id, status, version, scheduled_at, respect_contact_timezone, sticky_caller_id"
CONTACT = "id, batch_id, status, outcome, attempts, due_at, lane"
ATTEMPT = ", ".join(COLUMNS)
REPORT = "id, trunk_id, attempt_id, kind, outcome, received_at, settled_at, verdict"

# A call whose events came before the network's answer was recorded was placed too; a refused attempt made no call.
PLACED_AT = "CASE WHEN state <> 'refused' THEN coalesce(placed_at, sent_at) END AS placed_at"

LEDGER = f"""
    SELECT id, batch_id, contact_id, workspace_id, to_number, trunk_id, phone_number_id, state, outcome,
           reported_outcome, callback_at, provider_call_id, local_on, utc_on, is_counted, {PLACED_AT}, created_at,
           sent_at, ended_at, rescue_at, state NOT IN ('ended', 'refused') AS is_live, {TERMS},
           max(coalesce(ended_at, 'infinity')) OVER (course ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
               AS busy_until,
           lead(id) OVER course IS NULL AS is_latest,
           count(*) FILTER (WHERE state <> 'refused' AND is_counted IS NOT FALSE)
               OVER (course ROWS UNBOUNDED PRECEDING) AS counted
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
           coalesce(l.live, 0) AS live, coalesce(l.counted, 0) AS counted, coalesce(l.over, 0) AS over,
           greatest(l.max_attempts, l.granted) AS max_attempts,
           l.latest_state, l.latest_outcome, l.latest_created_at, l.settled_since
    FROM these_contacts c
    LEFT JOIN (
        SELECT contact_id, count(*) FILTER (WHERE is_live) AS live, count(*) FILTER (WHERE NOT is_live) AS over,
               count(*) FILTER (WHERE state <> 'refused' AND is_counted IS NOT FALSE) AS counted,
               max(max_attempts) FILTER (WHERE is_latest) AS max_attempts,
               max(state) FILTER (WHERE is_latest) AS latest_state,
               max(outcome) FILTER (WHERE is_latest) AS latest_outcome,
               max(created_at) AS latest_created_at,
               -- A callback grants one attempt more than were made by then.
               max(counted) FILTER (WHERE callback_at IS NOT NULL) + 1 AS granted,
               min(created_at) FILTER (WHERE outcome IN ('answered', 'invalid_number', 'cancelled', 'unknown')
                                       AND callback_at IS NULL) AS settled_since
        FROM ledger GROUP BY contact_id
    ) AS l ON l.contact_id = c.id
"""

EXTENT = """
    SELECT (SELECT count(*) FROM these_attempts) AS attempts, (SELECT count(*) FROM these_contacts) AS contacts,
           (SELECT count(*) FROM these_batches) AS batches
"""

ROWS_WITHOUT_BATCH = """
    SELECT r.kind, r.id, r.batch_id
    FROM (SELECT 'Contact' AS kind, id, batch_id FROM contacts
          UNION ALL SELECT 'Attempt', id, batch_id FROM attempts) AS r
    WHERE NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = r.batch_id)
"""

UNKNOWN_ZONES = """
    SELECT zone FROM (SELECT allowed_by ->> 'day_timezone' AS zone FROM these_attempts
                      UNION SELECT jsonb_array_elements_text(allowed_by -> 'timezones') FROM these_attempts) AS used
    WHERE zone IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_timezone_names WHERE lower(name) = lower(used.zone))
"""


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that is broken."""

    promise: Promise
    rule: str
    message: str  #: About the first row.
    rows: tuple[str, ...]  #: The first ids that break the rule.
    count: int  #: How many break it.


def violations(connection: Connection, now: DateTime, batch_id: BatchId | None) -> tuple[BrokenRule, ...]:
    """Check every rule for all batches, or for one; limits of numbers and trunks always for all that share them."""
    rows(connection, STEADY_PLANS)
    breaches = _breaches(connection, {"now": now} | _batch_parameter(batch_id))
    return tuple(_broken(RULES[rule], list(same)) for rule, same in groupby(breaches, lambda row: row.rule))


def extent(connection: Connection, batch_id: BatchId | None) -> tuple[int, int, int]:
    """Count the attempts, contacts and batches that an audit covers."""
    (row,) = rows(connection, _scope(batch_id is not None) + EXTENT, **_batch_parameter(batch_id))
    return row.attempts, row.contacts, row.batches


def _batch_parameter(batch_id: BatchId | None) -> dict[str, Any]:
    return {} if batch_id is None else {"batch_id": batch_id}


def _breaches(connection: Connection, values: dict[str, Any]) -> Sequence[Row[Any]]:
    """Run all rules. Postgres lists its zones slowly, so they are read only if a zone turns out to be unknown."""
    statement = _statement("batch_id" in values)
    try:
        with connection.begin_nested():
            return rows(connection, statement, **values, unknown_zones=[])
    except DataError as error:
        if not isinstance(error.orig, InvalidParameterValue):
            raise
    unknown = rows(connection, _scope("batch_id" in values) + UNKNOWN_ZONES, **values)
    return rows(connection, statement, **values, unknown_zones=[row.zone for row in unknown])


def _broken(rule: Rule, breaches: Sequence[Row[Any]]) -> BrokenRule:
    first = breaches[0]
    more = f" ({first.total - 1} more like it)" if first.total > 1 else ""
    return BrokenRule(rule.promise, rule.name, f"{first.fact}{more}.", tuple(row.id for row in breaches), first.total)


@cache
def _statement(one_batch: bool) -> str:
    ledger = f", ledger AS MATERIALIZED ({LEDGER}), people AS MATERIALIZED ({PEOPLE})"
    # If all batches are audited, every attempt is in the ledger already.
    neighbours = f"MATERIALIZED ({NEIGHBOURS})" if one_batch else f"NOT MATERIALIZED (SELECT {NEIGHBOUR} FROM ledger)"
    breaches = " UNION ALL ".join(_breaches_of(index, rule) for index, rule in enumerate(RULES))
    return f"{_scope(one_batch)} {ledger}, neighbours AS {neighbours} {breaches} ORDER BY rule, id"


def _breaches_of(index: int, rule: Rule) -> str:
    return f"""
    (SELECT {index} AS rule, CAST(id AS text) AS id, fact, count(*) OVER () AS total FROM ({rule.sql}) AS breaches
     ORDER BY id LIMIT {ROWS_SHOWN})
    """


@cache
def _scope(one_batch: bool) -> str:
    own = " AND batch_id = :batch_id" if one_batch else ""
    its_id = " AND id = :batch_id" if one_batch else ""
    # The attempts of an archived batch are in another table; those of a deleted one are being removed.
    kept = f"WHERE batch_id IN (SELECT id FROM batches WHERE archived_at IS NULL){own}"
    reports = f"SELECT {REPORT} FROM inbox" + (
        " WHERE attempt_id IN (SELECT id FROM these_attempts)" if one_batch else ""
    )
    return f"""
    WITH these_batches AS NOT MATERIALIZED (SELECT {BATCH} FROM batches WHERE archived_at IS NULL{its_id}),
    these_contacts AS NOT MATERIALIZED (SELECT {CONTACT} FROM contacts {kept}),
    these_attempts AS NOT MATERIALIZED (SELECT {ATTEMPT} FROM attempts {kept}),
    these_reports AS NOT MATERIALIZED ({reports}),
    rows_without_batch AS NOT MATERIALIZED ({ROWS_WITHOUT_BATCH if not one_batch else f"{ROWS_WITHOUT_BATCH} LIMIT 0"})
    """
