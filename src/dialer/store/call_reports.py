"""What agents report of their calls. A trigger suppresses the numbers of people who opted out."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from dialer.domain.ids import AttemptId, BatchId
from dialer.store.database import rows, run


def lock(connection: Connection, batch_id: BatchId, attempt_id: AttemptId) -> Row[Any] | None:
    """Lock an attempt, or one that is archived, and read its state; None: the batch has no such attempt."""
    for table in ("attempts", "attempts_archive"):
        query = f"""
        SELECT '{table}' AS stored_in, id, state, outcome, ended_at FROM {table} WHERE id = :id AND batch_id = :batch
        FOR NO KEY UPDATE
        """
        if locked := rows(connection, query, id=attempt_id, batch=batch_id):
            return locked[0]
    return None


def write(connection: Connection, call: Row[Any], fields: Mapping[str, Any]) -> None:
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
