"""The table of quarantine: what fails is kept with its error, so that it does not stop the others and can be retried.

A `report` is here because its own data cannot be settled, or stored. An `attempt` or a `batch` is only passed over for
now: it is tried again automatically, and removed when that succeeds. What is put here, and when, is decided in
engine/quarantine.py.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

import pendulum
from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.call import CallEvent, CallFacts, EventKind
from dialer.domain.ids import AttemptId, TrunkId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.quarantine import MOST_EQUAL, Failure
from dialer.errors import UnreadableReport
from dialer.store.database import moment, rows, run
from dialer.store.database_errors import data_error
from dialer.store.pages import count

Kind = Literal["report", "attempt", "batch"]
# A batch that was passed over is tried again after this.
AGAIN_SECONDS = 60
LONGEST_ERROR = 500
# SQL: a batch b was not passed over within the last minute.
NOT_JUST_NOW = f"""NOT EXISTS (
    SELECT 1 FROM quarantine s WHERE s.kind = 'batch' AND s.subject = CAST(b.id AS text)
    AND s.last_at > dialer_now() - interval '{AGAIN_SECONDS} seconds')"""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row failed. `kind`: SQLSTATE or name of the exception. `is_of_data`: the row's own values are wrong."""

    kind: str
    error: str
    is_of_data: bool


def fault_of(error: Exception) -> Fault:
    """Classify an error that was not raised as Unavailable or Contended."""
    state = type(error).__name__ if isinstance(error, UnreadableReport) else data_error(error)
    return Fault(state or _name(error), storable(repr(error))[:LONGEST_ERROR], is_of_data=state is not None)


def _name(error: Exception) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or type(error).__name__


def note(connection: Connection, kind: Kind, subject: object, error: Exception, attempt_id: UUID | None = None) -> None:
    """Write that a row is passed over for now, and how often it was."""
    fault = fault_of(error)
    run(
        connection,
        """
        INSERT INTO quarantine (kind, subject, attempt_id, error_kind, error)
        VALUES (:kind, :subject, :attempt, :error_kind, :error)
        ON CONFLICT (kind, subject) DO UPDATE
        SET error = excluded.error, error_kind = excluded.error_kind, times = quarantine.times + 1,
            last_at = dialer_now()
        """,
        kind=kind,
        subject=str(subject),
        attempt=attempt_id,
        error_kind=fault.kind,
        error=fault.error,
    )


def forget(connection: Connection, kind: Kind, subjects: Sequence[object]) -> None:
    """Remove rows that could be processed."""
    run(
        connection,
        "DELETE FROM quarantine WHERE kind = :kind AND subject = ANY(:subjects)",
        kind=kind,
        subjects=[str(subject) for subject in subjects],
    )


def keep_settled(connection: Connection, row_ids: Sequence[int]) -> None:
    """Keep these reports of the inbox, which this transaction has closed, with their errors from there."""
    run(
        connection,
        """
        INSERT INTO quarantine (kind, subject, attempt_id, error_kind, error, times, since)
        SELECT 'report', CAST(id AS text), attempt_id, error_kind, error, tries, failing_since
        FROM inbox WHERE id = ANY(:ids)
        ON CONFLICT (kind, subject) DO UPDATE
        SET error = excluded.error, error_kind = excluded.error_kind, times = excluded.times, since = excluded.since,
            last_at = dialer_now()
        """,
        ids=list(row_ids),
    )


def count_refused(connection: Connection, trunk_id: TrunkId, event: CallEvent, error: Exception) -> bool:
    """Count that a report could not be stored; True: it is kept here, now or already, and counts as received."""
    fault = fault_of(error)
    (row,) = rows(
        connection,
        """
        INSERT INTO quarantine AS q (kind, subject, attempt_id, trunk_id, error_kind, error)
        VALUES ('report', :subject, :attempt, :trunk, :error_kind, :error)
        ON CONFLICT (kind, subject) DO UPDATE
        SET error = excluded.error, error_kind = excluded.error_kind, times = q.times + 1, last_at = dialer_now()
        RETURNING id, payload IS NOT NULL AS is_kept, times, extract(epoch FROM dialer_now() - since) AS seconds,
            (SELECT received_at FROM inbox ORDER BY id DESC LIMIT 1) > since AS others_go_well
        """,
        subject=f"{trunk_id} {event.key}",
        attempt=event.attempt_id,
        trunk=trunk_id,
        error_kind=fault.kind,
        error=fault.error,
    )
    (equal,) = rows(
        connection,
        f"""
        SELECT count(*) AS n FROM (
            SELECT 1 FROM quarantine WHERE kind = 'report' AND trunk_id IS NOT NULL AND payload IS NULL
            AND error_kind = :kind AND last_at > dialer_now() - interval '10 minutes' LIMIT {MOST_EQUAL + 1}) AS s
        """,
        kind=fault.kind,
    )
    failure = Failure(fault.is_of_data, row.times, float(row.seconds), equal.n, bool(row.others_go_well))
    if row.is_kept or not failure.is_the_rows_own:
        return bool(row.is_kept)
    run(connection, "UPDATE quarantine SET payload = :payload WHERE id = :id", id=row.id, payload=_payload(event))
    return True


def _payload(event: CallEvent) -> str:
    return json.dumps(
        {
            "key": event.key,
            "attempt_id": str(event.attempt_id),
            "kind": event.kind,
            "at": event.at.isoformat(),
            "outcome": event.outcome,
            "cause": event.cause,
            "talk_seconds": event.talk_seconds,
            "provider_call_id": event.provider_call_id,
            "facts": asdict(event.facts),
        }
    )


def _event(payload: str) -> CallEvent:
    values = json.loads(payload)
    at = pendulum.parse(values["at"])
    assert isinstance(at, DateTime)
    return CallEvent(
        **values
        | {
            "attempt_id": AttemptId(UUID(values["attempt_id"])),
            "kind": EventKind(values["kind"]),
            "at": at,
            "outcome": Outcome(values["outcome"]) if values["outcome"] else None,
            # The previous release stored no facts.
            "facts": CallFacts(**values.get("facts", {})),
        }
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of quarantine. `subject`: the id of a batch, an attempt or a report. `report`: to be received again."""

    id: int
    kind: Kind
    subject: str
    attempt_id: UUID | None
    error_kind: str | None
    error: str
    tries: int
    since: DateTime
    trunk_id: TrunkId | None
    report: CallEvent | None

    @property
    def row_id(self) -> UUID:
        """The id of the batch or the attempt."""
        return UUID(self.subject)

    @property
    def report_id(self) -> int | None:
        """The id of the report in the inbox; None: it could not be stored there."""
        return int(self.subject) if self.subject.isdecimal() else None


_ENTRY = "id, kind, subject, attempt_id, error_kind, error, times, since, trunk_id, payload"


def entries(connection: Connection, limit: int | None = None) -> list[Entry]:
    """Read the oldest entries, the oldest first; `limit` None: all."""
    found = rows(connection, f"SELECT {_ENTRY} FROM quarantine ORDER BY id LIMIT :limit", limit=limit)
    return [_entry(row) for row in found]


def find(connection: Connection, entry_id: int) -> Entry | None:
    """Read one entry and lock it, so that it is retried once."""
    records = rows(connection, f"SELECT {_ENTRY} FROM quarantine WHERE id = :id FOR UPDATE", id=entry_id)
    return _entry(records[0]) if records else None


# SQL: the workspace of an entry `q`; NULL: it cannot be told. A report belongs to the trunk whose network sent it.
_WORKSPACE = """
CASE q.kind
    WHEN 'batch' THEN (SELECT b.workspace_id FROM batches b WHERE b.id = CAST(q.subject AS uuid))
    WHEN 'attempt' THEN (SELECT b.workspace_id FROM attempts a JOIN batches b ON b.id = a.batch_id
                         WHERE a.id = CAST(q.subject AS uuid))
    ELSE (SELECT t.workspace_id FROM trunks t
          WHERE t.id = coalesce(q.trunk_id, (
              SELECT i.trunk_id FROM inbox i
              WHERE i.id = CAST(CASE WHEN q.subject ~ '^[0-9]{1,18}$' THEN q.subject END AS bigint))))
END"""
# What its workspace may see of an entry: no text of an error, which can name parts of the installation.
_SHOWN = f"""
SELECT q.id, q.kind, b.id AS batch_id, a.contact_id, a.id AS attempt_id, q.error_kind,
       q.times AS tries, q.since, q.last_at
FROM quarantine q
LEFT JOIN attempts a ON a.id = q.attempt_id
    AND EXISTS (SELECT 1 FROM batches o WHERE o.id = a.batch_id AND o.workspace_id = :workspace)
LEFT JOIN batches b ON b.id = coalesce(a.batch_id, CAST(CASE WHEN q.kind = 'batch' THEN q.subject END AS uuid))
WHERE {_WORKSPACE} = :workspace
"""


def entries_of(
    connection: Connection, workspace_id: WorkspaceId, limit: int, offset: int, after: int | None = None
) -> tuple[Sequence[Row[Any]], int]:
    """Read a page of the entries of a workspace after the one with this id, the oldest first; and count them."""
    page = f"{_SHOWN} AND q.id > :after ORDER BY q.id LIMIT :limit OFFSET :offset"
    entries = rows(connection, page, workspace=workspace_id, after=after or 0, limit=limit, offset=offset)
    return entries, count(connection, f"FROM quarantine q WHERE {_WORKSPACE} = :workspace", workspace=workspace_id)


def find_of(connection: Connection, workspace_id: WorkspaceId, entry_id: int) -> Entry | None:
    """Read one entry of a workspace and lock it, so that it is retried once."""
    is_own = f"SELECT 1 FROM quarantine q WHERE q.id = :id AND {_WORKSPACE} = :workspace"
    return find(connection, entry_id) if rows(connection, is_own, id=entry_id, workspace=workspace_id) else None


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        attempt_id=row.attempt_id,
        error_kind=row.error_kind,
        error=row.error,
        tries=row.times,
        since=moment(row.since),
        trunk_id=row.trunk_id,
        report=_event(row.payload) if row.payload else None,
    )


def sentences(connection: Connection, limit: int = 20) -> list[str]:
    """Describe the entries for operators, the latest first."""
    records = rows(
        connection,
        """
        SELECT id, kind, subject, error, times, since FROM quarantine ORDER BY last_at DESC LIMIT :limit
        """,
        limit=limit,
    )
    return [
        f"{row.kind.capitalize()} {row.subject} is in quarantine since {row.since:%Y-%m-%d %H:%M:%S} UTC, "
        f"{row.times} times: {row.error} (try it again: dialer quarantine retry {row.id})"
        for row in records
    ]


def remove_reports(connection: Connection, before: DateTime, limit: int) -> int:
    """Remove a page of the old reports, and of those that were refused and not sent again within an hour."""
    return run(
        connection,
        """
        DELETE FROM quarantine WHERE id IN (
            SELECT id FROM quarantine WHERE kind = 'report'
            AND (last_at < :before
                 OR (trunk_id IS NOT NULL AND payload IS NULL AND last_at < dialer_now() - interval '1 hour'))
            LIMIT :limit FOR UPDATE SKIP LOCKED)
        """,
        before=before,
        limit=limit,
    )


def storable(text: str) -> str:
    """Replace what Postgres cannot store: NUL, and surrogates without their pair."""
    return text.replace("\x00", "\\0").encode("utf-8", "replace").decode()
