"""Reports of a call: what its agent learnt. A report may come while the call is up, or at any time after it."""

from typing import Annotated, Any, Literal

from pendulum import DateTime
from pydantic import AfterValidator, ConfigDict, Field

from dialer.domain.ids import AttemptId, BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.engine import callbacks
from dialer.errors import InvalidInput, NotFound, StateConflict
from dialer.service import results
from dialer.service.fields import Flag, InputModel, Moment, storable
from dialer.store import call_reports, call_views
from dialer.store.database import Connection, Database

Disposition = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(storable)]


class CallReport(InputModel):
    """What the agent of a call reports. `disposition`: its own word for what became of the call. `opt_out`: true where
    the person asked not to be called again; the number is suppressed at once. `outcome`: no agent joined the call.
    `callback_at`: the person asked to be called again then; without an offset it is read in the batch's zone.
    """

    model_config = ConfigDict(
        json_schema_extra={"example": {"disposition": "appointment made", "opt_out": False}, "minProperties": 1}
    )

    disposition: Disposition | None = None
    opt_out: Flag | None = None
    outcome: Literal[Outcome.ANSWERED_NO_AGENT] | None = None
    callback_at: Moment | None = None


def report(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    attempt_id: AttemptId,
    given: CallReport,
    now: DateTime,
) -> dict[str, Any]:
    """Store what the agent of a call reports; called twice: the same. Given fields replace those of earlier reports.

    A person who has opted out is not called back: `callback_refused` of the call says so.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the call.
        attempt_id: the call.
        given: the report.
        now: the current time.

    Returns:
        The call.

    Raises:
        NotFound: this workspace has no such batch, or the batch no such call.
        InvalidInput: nothing is reported; or `callback_at` does not lie ahead, or no call may start then.
        StateConflict: the call is over, and its outcome is another one (`call_is_over`). Or nobody can be called back:
            the batch is over (`batch_is_final`), the contact was taken out or skipped (`contact_is_final`), it has been
            called again since (`call_is_not_last`), its number is suppressed (`number_suppressed`), or there was no
            call (`call_was_refused`).
    """
    fields = given.model_dump(exclude_none=True)
    if not fields:
        raise InvalidInput.of("body", "must have disposition, opt_out, outcome or callback_at")
    return db.insist(lambda connection: _store(connection, workspace_id, batch_id, attempt_id, fields, now))


def _store(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    attempt_id: AttemptId,
    fields: dict[str, Any],
    now: DateTime,
) -> dict[str, Any]:
    results.require(connection, workspace_id, batch_id)
    call = call_reports.lock(connection, attempt_id)
    if call is None or call.batch_id != batch_id:
        raise NotFound("No such call in this batch")
    if "outcome" in fields and call.ended_at is not None and call.outcome != fields["outcome"]:
        raise StateConflict(
            f"The call is over, as {call.outcome or call.state}; its outcome cannot be changed", code="call_is_over"
        )
    call_reports.write(connection, call, fields)
    if "callback_at" in fields:
        if call.opt_out or fields.get("opt_out"):
            call_reports.refuse_callback(connection, call, callbacks.OPTED_OUT)
        elif not callbacks.call_back(connection, call, fields["callback_at"], now):
            raise NotFound("No such call in this batch")
    return dict(call_views.read(connection, attempt_id)._mapping)
