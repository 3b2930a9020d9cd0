"""Batches in SQL: their settings as the steps need them, and what an operator may change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pendulum
from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import RetryRules
from dialer.domain.rotation import RotationStrategy
from dialer.domain.states import BatchStatus
from dialer.domain.window import CallingWindow
from dialer.errors import InvalidInput
from dialer.store import quarantine
from dialer.store.database import rows, run


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as dispatch and settle need it: the settings of one `version`, and its counts when it was read.

    `window` None: it cannot be read on this system, so nothing is called. `talk_seconds`: how long a conversation
    typically lasts, once that is known. `ring_timeout_seconds`, `max_call_seconds` None: as long as any call may.
    """

    id: BatchId
    workspace_id: WorkspaceId
    name: str
    agent_id: AgentId
    status: BatchStatus
    version: int
    strategy: RotationStrategy
    window: CallingWindow | None
    retry: RetryRules
    max_concurrent_calls: int
    max_calls_per_day: int | None
    respect_contact_timezone: bool
    sticky_caller_id: bool
    expires_at: DateTime | None
    priority: int
    agent_is_active: bool
    connection: Mapping[str, Any]
    pending: int
    waiting: int
    dialing: int
    held_by: str | None = None
    talk_seconds: float | None = None
    ring_timeout_seconds: int | None = None
    max_call_seconds: int | None = None

    @property
    def has_lanes(self) -> bool:
        """Say whether its contacts may differ in when, or from which number, they can be called."""
        return self.respect_contact_timezone or self.sticky_caller_id


def load(connection: Connection, batch_ids: Collection[BatchId]) -> list[Batch]:
    """Read batches of any status, in id order; those that do not exist are left out."""
    found = rows(
        connection,
        """
        SELECT b.id, b.workspace_id, b.name, b.agent_id, b.status, b.version, b.phone_rotation_strategy, b.timezone,
               b.start_time, b.end_time, b.working_days, b.excluded_dates, b.retry_failed, b.max_retry_attempts,
               b.retry_machine, b.retry_delays, b.max_concurrent_calls, b.max_calls_per_day,
               b.respect_contact_timezone, b.sticky_caller_id, b.expires_at, b.priority, p.pending, p.waiting,
               p.dialing, p.held_by, p.talk_seconds, b.ring_timeout_seconds, b.max_call_seconds,
               a.status = 'active' AS agent_is_active, a.connection
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id JOIN agents a ON a.id = b.agent_id
        WHERE b.id = ANY(:ids) ORDER BY b.id
        """,
        ids=list(batch_ids),
    )
    return [_batch(row) for row in found]


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        id=row.id,
        workspace_id=row.workspace_id,
        name=row.name,
        agent_id=row.agent_id,
        status=BatchStatus(row.status),
        version=row.version,
        strategy=RotationStrategy(row.phone_rotation_strategy),
        window=_window(row),
        retry=RetryRules(
            enabled=row.retry_failed,
            max_attempts=row.max_retry_attempts,
            machine=row.retry_machine,
            delays={Outcome(outcome): minutes for outcome, minutes in row.retry_delays.items()},
        ),
        max_concurrent_calls=row.max_concurrent_calls,
        max_calls_per_day=row.max_calls_per_day,
        respect_contact_timezone=row.respect_contact_timezone,
        sticky_caller_id=row.sticky_caller_id,
        expires_at=pendulum.instance(row.expires_at) if row.expires_at else None,
        priority=row.priority,
        agent_is_active=row.agent_is_active,
        connection=row.connection,
        pending=row.pending,
        waiting=row.waiting,
        dialing=row.dialing,
        held_by=row.held_by,
        talk_seconds=row.talk_seconds,
        ring_timeout_seconds=row.ring_timeout_seconds,
        max_call_seconds=row.max_call_seconds,
    )


def _window(row: Row[Any]) -> CallingWindow | None:
    """Read the window; None: what an operator wrote in SQL, or another system's zones knew, is none here."""
    try:
        return CallingWindow(
            row.timezone, row.start_time, row.end_time, frozenset(row.working_days), frozenset(row.excluded_dates)
        )
    except InvalidInput:
        return None


def calls_today(connection: Connection, days: Mapping[BatchId, date]) -> dict[BatchId, int]:
    """Count the attempts that count toward each batch's cap on its own local day."""
    if not days:
        return {}
    found = rows(
        connection,
        """
        SELECT d.batch_id, d.attempts
        FROM batch_days d
        JOIN unnest(CAST(:ids AS uuid[]), CAST(:days AS date[])) AS asked (batch_id, local_on)
          ON (d.batch_id, d.local_on) = (asked.batch_id, asked.local_on)
        """,
        ids=list(days),
        days=list(days.values()),
    )
    return {row.batch_id: row.attempts for row in found}


def due_to_start(connection: Connection, now: DateTime) -> list[BatchId]:
    """List the scheduled batches whose time has come, without those that just failed to start."""
    found = rows(
        connection,
        f"""
        SELECT id FROM batches b WHERE status = 'scheduled' AND scheduled_at <= :now AND {quarantine.NOT_JUST_NOW}
        ORDER BY id
        """,
        now=now,
    )
    return [row.id for row in found]


def start_scheduled(connection: Connection, batch_ids: Sequence[BatchId], now: DateTime) -> int:
    """Make those of these batches active that are scheduled and whose time has come."""
    return run(
        connection,
        """
        UPDATE batches SET status = 'active'
        WHERE id IN (SELECT b.id FROM batches b JOIN batch_progress p ON p.batch_id = b.id
                     WHERE b.status = 'scheduled' AND b.scheduled_at <= :now AND b.id = ANY(:ids)
                     ORDER BY b.id FOR NO KEY UPDATE OF b, p SKIP LOCKED)
        """,
        ids=list(batch_ids),
        now=now,
    )


def finish(connection: Connection, batch_id: BatchId, status: BatchStatus, reason: str | None) -> bool:
    """Move an active batch to a final status; False: it was not active any more."""
    changed = run(
        connection,
        "UPDATE batches SET status = :status, status_reason = :reason WHERE id = :id AND status = 'active'",
        id=batch_id,
        status=status,
        reason=reason,
    )
    return changed == 1


def change_status(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    status: BatchStatus,
    among: Sequence[BatchStatus],
    *,
    version: int | None = None,
    hang_up: bool = False,
) -> BatchStatus | None:
    """Move a batch to `status` if it is in one of `among`; the new status is returned, None: it was in another.

    `version`: and if its settings are still those. `hang_up`: its calls in progress are to be ended, too.
    """
    changed = rows(
        connection,
        """
        UPDATE batches SET status = :status, status_reason = NULL, hang_up = :hang_up
        WHERE id = :id AND workspace_id = :workspace AND status = ANY(:among)
          AND (CAST(:version AS integer) IS NULL OR version = :version)
        RETURNING status
        """,
        id=batch_id,
        workspace=workspace_id,
        status=status,
        among=list(among),
        version=version,
        hang_up=hang_up,
    )
    return BatchStatus(changed[0].status) if changed else None


def scheduled_at(connection: Connection, batch_id: BatchId) -> DateTime | None:
    """Read when a scheduled batch starts; None: it starts at once."""
    found = rows(
        connection, "SELECT scheduled_at FROM batches WHERE id = :id AND schedule_type = 'scheduled'", id=batch_id
    )
    return pendulum.instance(found[0].scheduled_at) if found else None


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What reading contacts for a batch depends on."""

    status: BatchStatus
    timezone: str
    default_region: str | None
    respect_contact_timezone: bool


def import_settings(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> ImportSettings | None:
    """Read them, if there is such a batch in this workspace."""
    found = rows(
        connection,
        """
        SELECT status, timezone, default_region, respect_contact_timezone FROM batches
        WHERE id = :id AND workspace_id = :workspace
        """,
        id=batch_id,
        workspace=workspace_id,
    )
    if not found:
        return None
    (row,) = found
    return ImportSettings(BatchStatus(row.status), row.timezone, row.default_region, row.respect_contact_timezone)


def respects_contact_timezone(connection: Connection, batch_id: BatchId) -> bool:
    """Say whether its contacts are called by their own zones."""
    (row,) = rows(connection, "SELECT respect_contact_timezone FROM batches WHERE id = :id", id=batch_id)
    return bool(row.respect_contact_timezone)


def attempts_made(connection: Connection, batch_id: BatchId) -> int:
    """Count the attempts of a batch that were placed, or are on their way."""
    (row,) = rows(
        connection, "SELECT coalesce(sum(attempts), 0) AS n FROM batch_days WHERE batch_id = :id", id=batch_id
    )
    return int(row.n)


def results(connection: Connection, batch_id: BatchId) -> Sequence[Row[Any]]:
    """Count a batch's contacts by where they ended: status, outcome, reason, contacts, attempts."""
    return rows(
        connection,
        """
        SELECT status, outcome, CASE WHEN outcome IS NULL THEN status_reason END AS reason,
               count(*) AS contacts, sum(attempts) AS attempts
        FROM contacts WHERE batch_id = :id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """,
        id=batch_id,
    )
