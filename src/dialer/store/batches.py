"""Batches in SQL: their settings as the engine needs them, and the changes that an operator may make."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.batch import Batch
from dialer.domain.calling_hours import CallingHours
from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.public_holidays import PublicHolidays
from dialer.domain.retry import RetryRules
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.states import BatchStatus
from dialer.domain.window import CallingWindow
from dialer.errors import InvalidInput
from dialer.store import quarantine
from dialer.store.database import moment, optional_moment, rows, run


def load(connection: Connection, batch_ids: Collection[BatchId]) -> list[Batch]:
    """Read batches of any status, in id order; those that do not exist are left out."""
    records = rows(
        connection,
        """
        SELECT b.id, b.workspace_id, b.name, b.agent_id, b.status, b.version, b.phone_rotation_strategy, b.timezone,
               b.start_time, b.end_time, b.working_days, b.excluded_dates, b.calling_hours, b.holidays, b.retry_failed,
               b.max_retry_attempts, b.retry_machine, b.retry_delays, b.max_concurrent_calls, b.max_calls_per_day,
               b.respect_contact_timezone, b.sticky_caller_id, b.expires_at, b.priority, p.pending, p.waiting,
               p.dialing, p.held_by, p.talk_seconds, b.ring_timeout_seconds, b.max_call_seconds,
               a.status = 'active' AS agent_is_active, a.connection
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id JOIN agents a ON a.id = b.agent_id
        WHERE b.id = ANY(:ids) ORDER BY b.id
        """,
        ids=list(batch_ids),
    )
    return [_batch(row) for row in records]


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
        expires_at=optional_moment(row.expires_at),
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
    """Read the window; None: it was written in SQL and is invalid, or its zone is not known on this system."""
    try:
        return CallingWindow(
            row.timezone,
            row.start_time,
            row.end_time,
            frozenset(row.working_days),
            frozenset(row.excluded_dates),
            None if row.calling_hours is None else CallingHours.read(row.calling_hours),
            None if row.holidays is None else PublicHolidays(**row.holidays),
        )
    except (InvalidInput, TypeError, AttributeError):
        return None


def calls_today(connection: Connection, days: Mapping[BatchId, date]) -> dict[BatchId, int]:
    """Count the attempts that count toward each batch's cap on its own local day."""
    if not days:
        return {}
    records = rows(
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
    return {row.batch_id: row.attempts for row in records}


def due_to_start(connection: Connection, now: DateTime) -> list[BatchId]:
    """List the scheduled batches whose time has come, without those that failed to start within the last minute."""
    records = rows(
        connection,
        f"""
        SELECT id FROM batches b WHERE status = 'scheduled' AND scheduled_at <= :now AND {quarantine.NOT_JUST_NOW}
        ORDER BY id
        """,
        now=now,
    )
    return [row.id for row in records]


def start_scheduled(connection: Connection, batch_ids: Sequence[BatchId], now: DateTime) -> list[BatchId]:
    """Activate those of these batches that are scheduled and whose time has come; return them."""
    started = rows(
        connection,
        """
        UPDATE batches SET status = 'active'
        WHERE id IN (SELECT b.id FROM batches b JOIN batch_progress p ON p.batch_id = b.id
                     WHERE b.status = 'scheduled' AND b.scheduled_at <= :now AND b.id = ANY(:ids)
                     ORDER BY b.id FOR NO KEY UPDATE OF b, p SKIP LOCKED)
        RETURNING id
        """,
        ids=list(batch_ids),
        now=now,
    )
    return [row.id for row in started]


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
    reason: str | None = None,
    hang_up: bool = False,
) -> BatchStatus | None:
    """Move a batch to `status` if its status is one of `among`; return the new status, None: it had another one.

    `version`: only if its settings still have this version. `reason`: why, for operators.
    `hang_up`: its calls in progress are to be ended, too.
    """
    changed = rows(
        connection,
        """
        UPDATE batches SET status = :status, status_reason = :reason, hang_up = :hang_up
        WHERE id = :id AND workspace_id = :workspace AND status = ANY(:among)
          AND (CAST(:version AS integer) IS NULL OR version = :version)
        RETURNING status
        """,
        id=batch_id,
        workspace=workspace_id,
        status=status,
        among=list(among),
        version=version,
        reason=reason,
        hang_up=hang_up,
    )
    return BatchStatus(changed[0].status) if changed else None


def scheduled_at(connection: Connection, batch_id: BatchId) -> DateTime | None:
    """Read when a scheduled batch starts; None: it starts at once."""
    records = rows(
        connection, "SELECT scheduled_at FROM batches WHERE id = :id AND schedule_type = 'scheduled'", id=batch_id
    )
    return moment(records[0].scheduled_at) if records else None


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """The settings of a batch that the reading of its contacts depends on."""

    status: BatchStatus
    timezone: str
    default_region: str | None
    respect_contact_timezone: bool


def import_settings(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, *, keep: bool = False
) -> ImportSettings | None:
    """Read them; None: there is no such batch in this workspace.

    `keep`: the batch is not deleted before this transaction ends. Otherwise its new contacts would be refused by the
    foreign key, which leaves an ERROR in the log of Postgres.
    """
    records = rows(
        connection,
        f"""
        SELECT status, timezone, default_region, respect_contact_timezone FROM batches
        WHERE id = :id AND workspace_id = :workspace {"FOR KEY SHARE" if keep else ""}
        """,
        id=batch_id,
        workspace=workspace_id,
    )
    if not records:
        return None
    (row,) = records
    return ImportSettings(BatchStatus(row.status), row.timezone, row.default_region, row.respect_contact_timezone)


def respects_contact_timezone(connection: Connection, batch_id: BatchId) -> bool:
    """Say whether the calling window must be open in each contact's own time zones."""
    (row,) = rows(connection, "SELECT respect_contact_timezone FROM batches WHERE id = :id", id=batch_id)
    return bool(row.respect_contact_timezone)


def attempts_made(connection: Connection, batch_id: BatchId) -> int:
    """Count the attempts of a batch that were placed, or are on their way."""
    (row,) = rows(
        connection, "SELECT coalesce(sum(attempts), 0) AS n FROM batch_days WHERE batch_id = :id", id=batch_id
    )
    return int(row.n)


def talk(connection: Connection, batch_id: BatchId) -> Row[Any]:
    """Count a batch's answered calls, and the seconds of talk of all; reads all its attempts but archived ones."""
    (row,) = rows(
        connection,
        """
        SELECT count(*) FILTER (WHERE outcome = 'answered') AS answered, coalesce(sum(talk_seconds), 0) AS seconds
        FROM attempts WHERE batch_id = :id
        """,
        id=batch_id,
    )
    return row


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
