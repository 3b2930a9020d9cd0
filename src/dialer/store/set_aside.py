"""What fails whenever it is tried: passed over, with its error, until it goes well or someone has looked."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.store.database import rows, run

Kind = Literal["report", "attempt", "batch"]
# A batch that was passed over is tried again after this.
AGAIN_SECONDS = 60
LONGEST_ERROR = 500
# Of a batch b: whether it may be tried (again).
NOT_JUST_NOW = f"""NOT EXISTS (
    SELECT 1 FROM set_aside s WHERE s.kind = 'batch' AND s.subject = CAST(b.id AS text)
    AND s.last_at > dialer_now() - interval '{AGAIN_SECONDS} seconds')"""


def note(connection: Connection, kind: Kind, subject: object, error: Exception, attempt_id: UUID | None = None) -> None:
    """Write down what was passed over, and how often."""
    run(
        connection,
        """
        INSERT INTO set_aside (kind, subject, attempt_id, error) VALUES (:kind, :subject, :attempt, :error)
        ON CONFLICT (kind, subject) DO UPDATE
        SET error = excluded.error, times = set_aside.times + 1, last_at = dialer_now()
        """,
        kind=kind,
        subject=_storable(str(subject)),
        attempt=attempt_id,
        error=_storable(repr(error)),
    )


def forget(connection: Connection, kind: Kind, subjects: Sequence[object]) -> None:
    """Take back what was written of these: they went well."""
    run(
        connection,
        "DELETE FROM set_aside WHERE kind = :kind AND subject = ANY(:subjects)",
        kind=kind,
        subjects=[str(subject) for subject in subjects],
    )


def sentences(connection: Connection, limit: int = 20) -> list[str]:
    """Say for operators what was passed over, the latest first."""
    found = rows(
        connection,
        "SELECT kind, subject, error, times, since FROM set_aside ORDER BY last_at DESC LIMIT :limit",
        limit=limit,
    )
    return [
        f"{row.kind.capitalize()} {row.subject} is set aside since {row.since:%Y-%m-%d %H:%M:%S} UTC, "
        f"{row.times} times: {row.error}"
        for row in found
    ]


def remove_reports(connection: Connection, before: DateTime, limit: int) -> int:
    """Remove a page of the reports that were set aside long ago."""
    return run(
        connection,
        """
        DELETE FROM set_aside WHERE (kind, subject) IN (
            SELECT kind, subject FROM set_aside WHERE kind = 'report' AND last_at < :before LIMIT :limit)
        """,
        before=before,
        limit=limit,
    )


def _storable(said: str) -> str:
    """Keep what Postgres can hold of it, and no more than an operator wants to read."""
    return said.replace("\x00", "\\0").encode("utf-8", "replace").decode()[:LONGEST_ERROR]
