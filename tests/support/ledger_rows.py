"""Writes attempts straight into the tables, so that an audit finds violations that the engine would never cause.

Times are in seconds after MONDAY. Contacts, counts and days are written to agree with the attempts.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import uuid7
from dialer.engine.audit import audit
from support.world import MONDAY, World

NOW = MONDAY.add(minutes=5)

TERMS: Mapping[str, Any] = {
    "timezones": ["UTC"],
    "day_timezone": "UTC",
    "start_time": None,
    "end_time": None,
    "working_days": [1, 2, 3, 4, 5, 6, 7],
    "excluded_dates": [],
    "max_concurrent_calls": 10,
    "max_calls_per_day": None,
    "max_attempts": 1,
    "number_max_concurrent_calls": None,
    "number_max_calls_per_day": None,
    "trunk_max_concurrent_calls": None,
    "trunk_rate_limit": None,
    "trunk_rate_window_ms": None,
}

# The contacts as settle would have written them.
SQUARE_CONTACTS = """
UPDATE contacts c SET attempts = l.counted, outcome = l.outcome,
    status = CASE WHEN l.live THEN 'dialing' WHEN l.outcome IN ('answered', 'machine') THEN 'completed'
                  WHEN l.outcome IS NULL THEN 'waiting' ELSE 'failed' END,
    finished_at = CASE WHEN NOT l.live THEN l.finished_at END
FROM (SELECT contact_id, count(*) FILTER (WHERE state <> 'refused') AS counted, bool_or(ended_at IS NULL) AS live,
             (array_agg(outcome ORDER BY created_at DESC, ended_at DESC NULLS FIRST))[1] AS outcome,
             CASE WHEN bool_or(outcome IS NOT NULL) THEN max(ended_at) END AS finished_at
      FROM attempts WHERE batch_id = :batch GROUP BY contact_id) AS l
WHERE c.id = l.contact_id
"""
SQUARE_DAYS = """
INSERT INTO batch_days (batch_id, local_on, attempts)
SELECT batch_id, local_on, count(*) FROM attempts WHERE batch_id = :batch AND state <> 'refused' GROUP BY 1, 2
"""


class Ledger:
    """One active batch and its attempts; `write` stores them."""

    def __init__(self, world: World, contacts: int = 6, **options: Any) -> None:
        self.world = world
        self.batch_id = world.batch(contacts, **options)
        contact_rows = world.rows("SELECT id FROM contacts WHERE batch_id = :id ORDER BY position", id=self.batch_id)
        self.contacts = [str(row.id) for row in contact_rows]
        self._attempts: list[dict[str, Any]] = []

    def attempt(
        self, contact: int, begin: float, end: float | None = None, outcome: str | None = "no_answer", **given: Any
    ) -> str:
        """Add an attempt and return its id. `end` None: live; `outcome` None: refused; `given`: more columns, terms."""
        created_at = given.get("created_at") or MONDAY.add(seconds=begin)
        attempt_id = str(uuid7(created_at, self.world.rng))
        installed = self.world.installed
        ended = {"state": "ended" if outcome else "refused", "outcome": outcome, "ended_at": _at(end)}
        columns: dict[str, Any] = {
            "id": attempt_id,
            "batch_id": self.batch_id,
            "contact_id": self.contacts[contact],
            "trunk_id": installed.trunk_id,
            "phone_number_id": installed.number_ids[0],
            "to_number": f"+1201555{contact:04}",
            "from_number": "+12025550191",
            "provider_call_id": attempt_id,
            "local_on": created_at.date(),
            "utc_on": created_at.date(),
            "granted_at": created_at,
            "created_at": created_at,
            "allowed_by": {name: given.pop(name, value) for name, value in TERMS.items()},
        }
        live = {"state": "ringing", "rescue_at": NOW}
        self._attempts.append(columns | (live if end is None else ended) | given)
        return attempt_id

    def write(self) -> None:
        """Store the attempts, make contacts and days agree with them, and set the clock to MONDAY + 5 minutes."""
        self.world.sql(
            "INSERT INTO attempts SELECT * FROM jsonb_populate_recordset(CAST(NULL AS attempts), CAST(:rows AS jsonb))",
            rows=json.dumps(self._attempts, default=_plain),
        )
        self.world.sql(SQUARE_CONTACTS, batch=self.batch_id)
        self.world.sql(SQUARE_DAYS, batch=self.batch_id)
        self.world.clock.now = NOW

    def report(self, attempt_id: str, kind: str, verdict: str | None, outcome: str | None = None) -> str:
        """Put a call event of this moment into the inbox, settled if there is a verdict; return its id."""
        (row,) = self.world.rows(
            """
            INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, outcome, settled_at, verdict)
            VALUES (:trunk, gen_random_uuid(), :attempt, :kind, dialer_now(), :outcome,
                    CASE WHEN CAST(:verdict AS text) IS NOT NULL THEN dialer_now() END, :verdict) RETURNING id
            """,
            trunk=self.world.installed.trunk_id,
            attempt=attempt_id,
            kind=kind,
            outcome=outcome,
            verdict=verdict,
        )
        return str(row.id)

    def violations(self) -> dict[str, tuple[str, ...]]:
        """Audit this batch; return the broken rules, each with the rows that break it."""
        report = audit(self.world.db, self.world.clock.now, self.batch_id)
        return {f"{breach.promise} {breach.rule}": breach.rows for breach in report.violations}


def audit_violations(world: World) -> dict[str, tuple[str, ...]]:
    """Audit all batches; return the broken rules, each with the rows that break it."""
    report = audit(world.db, world.clock.now)
    return {f"{breach.promise} {breach.rule}": breach.rows for breach in report.violations}


def _at(seconds: float | None) -> DateTime | None:
    return None if seconds is None else MONDAY.add(seconds=seconds)


def _plain(value: UUID | date | DateTime) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
