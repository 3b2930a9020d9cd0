"""Reports of a call: what its agent learnt. A report may come while the call is up, or at any time after it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from dialer.domain.ids import AttemptId, BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.errors import InvalidInput, NotFound, StateConflict
from dialer.service import results
from dialer.service.fields import Flag, InputModel, storable
from dialer.store import call_reports, call_views
from dialer.store.database import Connection, Database

Disposition = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(storable)]


class CallReport(InputModel):
    """What the agent of a call reports. `disposition`: its own word for what became of the call. `opt_out`: true where
    the person asked not to be called again; the number is suppressed at once. `outcome`: no agent joined the call.
    """

    model_config = ConfigDict(
        json_schema_extra={"example": {"disposition": "appointment made", "opt_out": False}, "minProperties": 1}
    )

    disposition: Disposition | None = None
    opt_out: Flag | None = None
    outcome: Literal[Outcome.ANSWERED_NO_AGENT] | None = None


def report(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, attempt_id: AttemptId, given: CallReport
) -> dict[str, Any]:
    """Store what the agent of a call reports; called twice: the same. Given fields replace those of earlier reports.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the call.
        attempt_id: the call.
        given: the report.

    Returns:
        The call.

    Raises:
        NotFound: this workspace has no such batch, or the batch no such call.
        InvalidInput: nothing is reported.
        StateConflict: the call is over, and its outcome is another one (`call_is_over`).
    """
    fields = given.model_dump(exclude_none=True)
    if not fields:
        raise InvalidInput.of("body", "must have disposition, opt_out or outcome")
    return db.insist(lambda connection: _store(connection, workspace_id, batch_id, attempt_id, fields))


def _store(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    attempt_id: AttemptId,
    fields: dict[str, Any],
) -> dict[str, Any]:
    results.require(connection, workspace_id, batch_id)
    call = call_reports.lock(connection, batch_id, attempt_id)
    if call is None:
        raise NotFound("No such call in this batch")
    if "outcome" in fields and call.ended_at is not None and call.outcome != fields["outcome"]:
        raise StateConflict(
            f"The call is over, as {call.outcome or call.state}; its outcome cannot be changed", code="call_is_over"
        )
    call_reports.write(connection, call, fields)
    return dict(call_views.read(connection, attempt_id)._mapping)
