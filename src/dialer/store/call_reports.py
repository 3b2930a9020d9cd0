"""What agents report of their calls. A trigger suppresses the numbers of people who opted out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.ids import AttemptId, BatchId, ContactId
from dialer.domain.states import AttemptState
from dialer.store.database import optional_moment, rows, run


@dataclass(frozen=True, slots=True)
class ReportedCall:
    """An attempt whose row is locked, with what a report depends on. `stored_in`: its table."""

    stored_in: str
    id: AttemptId
    batch_id: BatchId
    contact_id: ContactId
    state: AttemptState
    outcome: str | None
    ended_at: DateTime | None
    opt_out: bool | None
    callback_at: DateTime | None


def lock(connection: Connection, attempt_id: AttemptId) -> ReportedCall | None:
    """Lock an attempt, or one that is archived, and read it; None: there is none."""
    for table in ("attempts", "attempts_archive"):
        query = f"""
        SELECT '{table}' AS stored_in, id, batch_id, contact_id, state, outcome, ended_at, opt_out, callback_at
        FROM {table} WHERE id = :id FOR NO KEY UPDATE
        """
        if locked := rows(connection, query, id=attempt_id):
            values = dict(locked[0]._mapping)
            times = {name: optional_moment(values[name]) for name in ("ended_at", "callback_at")}
            return ReportedCall(**values | times | {"state": AttemptState(values["state"])})
    return None


def write(connection: Connection, call: ReportedCall, fields: Mapping[str, Any]) -> None:
    """Write the given fields of a report to a locked attempt. An opt-out is never taken back."""
    run(
        connection,
        f"""
        UPDATE {call.stored_in} SET disposition = coalesce(:disposition, disposition),
            opt_out = coalesce(opt_out OR :opt_out, :opt_out, opt_out),
            reported_outcome = coalesce(:outcome, reported_outcome)
        WHERE id = :id
        """,
        id=call.id,
        disposition=fields.get("disposition"),
        opt_out=fields.get("opt_out"),
        outcome=fields.get("outcome"),
    )


def grant_callback(connection: Connection, call: ReportedCall, at: DateTime) -> None:
    """Write when the person of a locked call is called back."""
    run(
        connection,
        f"UPDATE {call.stored_in} SET callback_at = :at, callback_refused = NULL WHERE id = :id",
        id=call.id,
        at=at,
    )


def refuse_callback(connection: Connection, call: ReportedCall, reason: str) -> None:
    """Write why a callback that was reported of a locked call is not granted. One that was granted before stays."""
    run(
        connection,
        f"UPDATE {call.stored_in} SET callback_refused = :reason WHERE id = :id",
        id=call.id,
        reason=reason,
    )


def suppressed(connection: Connection, attempt_ids: Sequence[AttemptId]) -> set[AttemptId]:
    """Return those of these attempts whose numbers are suppressed."""
    records = rows(
        connection,
        """
        SELECT a.id FROM attempts a JOIN batches b ON b.id = a.batch_id
        JOIN suppressions s ON s.workspace_id = b.workspace_id AND s.phone_number = a.to_number
        WHERE a.id = ANY(:ids)
        """,
        ids=list(attempt_ids),
    )
    return {row.id for row in records}


def was_called_again(connection: Connection, call: ReportedCall) -> bool:
    """Say whether the contact of a call has had another that counts since, or is in one."""
    later = rows(
        connection,
        """
        SELECT 1 FROM attempts a JOIN attempts own ON own.id = :id
        WHERE a.contact_id = :contact AND (a.created_at, a.id) > (own.created_at, own.id)
          AND a.state <> 'refused' AND a.is_counted IS NOT FALSE LIMIT 1
        """,
        id=call.id,
        contact=call.contact_id,
    )
    return bool(later)
