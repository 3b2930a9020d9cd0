"""Drafts made of other batches: of their settings, or also of the contacts that were not reached."""

from random import Random
from typing import Annotated, Any

from pendulum import DateTime
from pydantic import AfterValidator, ConfigDict, Field

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import DEFAULT_DELAY_MINUTES
from dialer.domain.states import BatchStatus
from dialer.domain.validation import wrong_field
from dialer.engine import journal
from dialer.errors import NotFound, StateConflict
from dialer.service import batches, contacts, edit_batch
from dialer.service.fields import UNIQUE, InputModel, Name, each_once
from dialer.store import batch_views, contact_copies
from dialer.store.database import Connection, Database

LONGEST_NAME = 255


class Clone(InputModel):
    """A draft with the settings of another batch. `name`: by default that of the batch and "(copy)"."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Appointment reminders, May"}})

    name: Name | None = None


def _not_answered(outcome: Outcome) -> Outcome:
    if outcome is Outcome.ANSWERED:
        raise wrong_field("is no failure")
    return outcome


class RetryFailed(InputModel):
    """A draft with the settings of another batch and those of its contacts that were not reached.

    `name`: by default that of the batch and "(retry)". `outcomes`: of the contacts' last calls.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"outcomes": ["no_answer", "busy"]}})

    name: Name | None = None
    outcomes: Annotated[
        list[Annotated[Outcome, AfterValidator(_not_answered)]],
        Field(min_length=1, json_schema_extra=UNIQUE),
        AfterValidator(each_once),
    ] = list(DEFAULT_DELAY_MINUTES)


def clone(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, copy: Clone, now: DateTime, rng: Random
) -> BatchId:
    """Create a draft with the settings of a batch in any status, without contacts.

    Times that have passed are left out: the draft then starts at once and does not expire.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch whose settings are taken.
        copy: how the draft is named.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        The id of the draft.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: its agent is not ready any more (`agent_not_ready`), or a number of it cannot be used
            (`no_outbound_number`).
    """
    with db.begin() as connection:
        draft_id = _draft(connection, workspace_id, batch_id, copy.name, "copy", now, rng)
    journal.batch(db, draft_id, BatchStatus.DRAFT)
    return draft_id


def retry_failed(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, retry: RetryFailed, now: DateTime, rng: Random
) -> BatchId:
    """Create a draft as `clone` does, and add the contacts that are over with one of these outcomes.

    Contacts that have expired or are suppressed are left out.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch whose contacts are taken; contacts that it still calls are not.
        retry: the outcomes, and how the draft is named.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        The id of the draft.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: as in `clone`; or no contact is left (`batch_has_no_contacts`), and there is no draft.
    """
    with db.begin() as connection:
        draft_id = _draft(connection, workspace_id, batch_id, retry.name, "retry", now, rng)
        failed = contact_copies.ended_with(connection, batch_id, retry.outcomes)
        if not contacts.load(db.within(connection), draft_id, failed, now, rng).imported:
            raise StateConflict(
                f"No contact of this batch ended with {' or '.join(retry.outcomes)} and can be called",
                code="batch_has_no_contacts",
            )
    journal.batch(db, draft_id, BatchStatus.DRAFT)
    return draft_id


def _draft(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    name: str | None,
    suffix: str,
    now: DateTime,
    rng: Random,
) -> BatchId:
    row = batch_views.read(connection, workspace_id, batch_id)
    if row is None:
        raise NotFound("No such batch in this workspace")
    changes: dict[str, Any] = {"name": name or f"{row.name[: LONGEST_NAME - len(suffix) - 3]} ({suffix})"}
    if row.scheduled_at is not None and row.scheduled_at <= now:
        changes["schedule_type"] = "immediate"
    if row.expires_at is not None and row.expires_at <= now:
        changes["expires_at"] = None
    new = edit_batch.merged(row, changes).model_copy(update={"contact_source": "manual", "contact_folder_id": None})
    return batches.insert(connection, workspace_id, new, now, rng)
