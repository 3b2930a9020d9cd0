"""Actions on a batch: create, schedule, pause, resume, cancel and delete it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Literal, TypeVar

import structlog
from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.batch import Batch
from dialer.domain.batch_progress import Progress
from dialer.domain.ids import BatchId, FolderId, WorkspaceId, uuid7
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.domain.trunk import OutboundNumber, Trunk
from dialer.engine import journal, rescue
from dialer.engine.context import EngineContext
from dialer.errors import Contended, DialerError, InvalidInput, NotFound, StateConflict, Unavailable
from dialer.service import agents, contacts, readiness
from dialer.service.fields import InputModel, Reason
from dialer.service.new_batch import NewBatch
from dialer.store import batch_edits, batches, configuration, folder_contacts, numbers, resources
from dialer.store import progress as batch_progress
from dialer.store.database import Connection, Database

T = TypeVar("T")
DELETABLE = FINAL_BATCH | {BatchStatus.DRAFT}
IS_LIVE = "batch_is_live"
TRIES = 3
LIVE = (BatchStatus.DRAFT, BatchStatus.SCHEDULED, BatchStatus.ACTIVE, BatchStatus.PAUSED)

log = structlog.get_logger()


def create(db: Database, workspace_id: WorkspaceId, new: NewBatch, now: DateTime, rng: Random) -> BatchId:
    """Create a draft.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        new: the settings of the batch.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        The id of the batch.

    Raises:
        InvalidInput: a field refers to an id that is not in this workspace; nothing is stored.
        StateConflict: the agent is not ready (`agent_not_ready`), or there is no number to call from
            (`no_outbound_number`).
    """
    with db.begin() as connection:
        batch_id = insert(connection, workspace_id, new, now, rng)
        if new.contact_folder_id is not None:
            in_order = folder_contacts.everyone(connection, FolderId(new.contact_folder_id))
            contacts.load(db.within(connection), batch_id, in_order, now, rng)
    journal.batch(db, batch_id, BatchStatus.DRAFT)
    return batch_id


def insert(connection: Connection, workspace_id: WorkspaceId, new: NewBatch, now: DateTime, rng: Random) -> BatchId:
    """Store a draft without contacts.

    Args:
        connection: an open transaction.
        workspace_id: the workspace of the caller.
        new: the settings of the batch.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        The id of the batch.

    Raises:
        InvalidInput: a field refers to an id that is not in this workspace.
        StateConflict: as in `create`.
    """
    check_ready(connection, workspace_id, new)
    batch_id = BatchId(uuid7(now, rng))
    values = new.columns() | {"id": batch_id, "workspace_id": workspace_id}
    batch_edits.insert(connection, values, new.phone_number_ids)
    return batch_id


def check_ready(connection: Connection, workspace_id: WorkspaceId, new: NewBatch) -> None:
    """Check that the agent and the outbound numbers of a batch can be used.

    Args:
        connection: an open transaction.
        workspace_id: the workspace of the caller.
        new: the settings of the batch.

    Raises:
        InvalidInput: a field refers to an id that is not in this workspace.
        StateConflict: the agent is not ready (`agent_not_ready`), or there is no number to call from
            (`no_outbound_number`).
    """
    agent = configuration.find_agent(connection, workspace_id, str(new.agent_id))
    if agent is None:
        raise InvalidInput.of("agent_id", "no such agent in this workspace")
    if not configuration.knows_zone(connection, new.timezone):
        raise InvalidInput.of("timezone", "is not known to Postgres")
    numbers_found = configuration.outbound(connection, workspace_id, new.phone_number_ids, agent.id)
    if new.contact_folder_id and not resources.exists(
        connection, resources.FOLDERS, workspace_id, new.contact_folder_id
    ):
        raise InvalidInput.of("contact_folder_id", "no such folder in this workspace")
    missing = set(new.phone_number_ids) - {row.id for row in numbers_found}
    if missing:
        raise InvalidInput.of("phone_number_ids", f"no such number in this workspace: {min(missing)}")
    usable = [row for row in numbers_found if row.status == "active" and row.trunk_status == "active"]
    if not usable or (new.phone_number_ids and len(usable) < len(numbers_found)):
        raise StateConflict(
            "Every outbound number of a batch must be active, and there must be one", code="no_outbound_number"
        )
    trunks = {row.trunk_id: Trunk(row.trunk_id, row.provider, row.config, name=row.trunk_name) for row in usable}
    agents.check_ready(agent.status == "active", agent.connection, trunks.values())


class _SettingsChanged(Exception):
    """The settings of a batch have changed since they were checked."""


def schedule(context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime) -> BatchStatus:
    """Start a draft: it becomes active now, or scheduled if its time lies ahead.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        now: the current time.

    Returns:
        The new status.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is no draft, has no contacts, its window never opens, its agent is not ready, or a trunk
            cannot place calls; the batch stays as it is.
        Contended: other requests keep changing it.
    """
    return schedule_within(context, workspace_id, batch_id, now, lambda start: start(context.db))


def schedule_within(
    context: EngineContext,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    now: DateTime,
    commit: Callable[[Callable[[Database], BatchStatus]], T],
) -> T:
    """Start a draft in a transaction that does more than that. No transaction is open while trunks are checked.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        now: the current time.
        commit: begins a transaction and calls the step that it is given, which changes the status; called again where
            the settings have changed since they were checked.

    Returns:
        What `commit` returns.

    Raises:
        DialerError: as `schedule`.
    """
    for _ in range(TRIES):
        start = _checked_start(context, workspace_id, batch_id, now)
        with suppress(_SettingsChanged):
            return commit(start)
    raise Contended("Other requests keep changing this batch; try again later")


def _checked_start(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> Callable[[Database], BatchStatus]:
    """Return the step that starts a draft with the settings that are checked here."""
    batch, starts_at, outbound = context.db.insist(
        lambda connection: _read_for_start(connection, workspace_id, batch_id)
    )
    for problem in readiness.problems(context, batch, starts_at, outbound, now):
        raise problem
    status = BatchStatus.SCHEDULED if starts_at and starts_at > now else BatchStatus.ACTIVE
    among = [BatchStatus.DRAFT]

    def change(connection: Connection) -> BatchStatus:
        new = batches.change_status(connection, workspace_id, batch_id, status, among, version=batch.version)
        if new is None:
            raise _SettingsChanged
        return new

    def start(db: Database) -> BatchStatus:
        changed = db.insist(change)
        journal.batch(db, batch_id, changed)
        return changed

    return start


def _read_for_start(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId
) -> tuple[Batch, DateTime | None, Sequence[OutboundNumber]]:
    """Read a batch, its start time and its numbers in one consistent state; raises NotFound."""
    if not batch_edits.hold(connection, workspace_id, batch_id):
        raise NotFound("No such batch in this workspace")
    (batch,) = batches.load(connection, [batch_id])
    outbound = numbers.of_batches(connection, [batch_id]).get(batch_id, [])
    return batch, batches.scheduled_at(connection, batch_id), outbound


def is_reachable(context: EngineContext, batch_id: BatchId) -> bool:
    """Check whether every trunk that the batch may use can place calls now.

    Args:
        context: what the engine works with.
        batch_id: the batch.

    Returns:
        Whether all of them can.
    """
    with context.db.begin() as connection:
        outbound = numbers.of_batches(connection, [batch_id]).get(batch_id, [])
    trunks = {number.trunk.id: number.trunk for number in outbound if number.is_usable}
    return all(context.providers.health(trunk) is None for trunk in trunks.values())


def discard(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Delete a draft with its contacts.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.

    Returns:
        Whether it was deleted; False: it is no draft any more.
    """
    with db.begin() as connection:
        is_deleted = batch_edits.delete_draft(connection, workspace_id, batch_id)
    if is_deleted:
        journal.batch(db, batch_id, journal.DELETED)
    return is_deleted


class Pause(InputModel):
    """Why a batch is paused. `reason`: shown as its `status_reason` and kept in its history."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "the office is closed"}})

    reason: Reason | None = None


def pause(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, reason: str | None = None) -> BatchStatus:
    """Pause a batch. Once this returns, no new attempt is created (P4). Calls in progress finish.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        reason: why, for the history.

    Returns:
        The new status.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is neither active nor scheduled (`batch_not_active`).
    """
    among = [BatchStatus.ACTIVE, BatchStatus.SCHEDULED]
    return _change(db, workspace_id, batch_id, BatchStatus.PAUSED, among, "paused", "batch_not_active", reason)


def resume(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> BatchStatus:
    """Resume a paused batch: active, or scheduled again while its time still lies ahead.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.

    Returns:
        The new status.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is not paused (`batch_not_paused`).
    """
    return _change(db, workspace_id, batch_id, BatchStatus.ACTIVE, [BatchStatus.PAUSED], "resumed", "batch_not_paused")


class Cancellation(InputModel):
    """How a batch is cancelled. `in_progress`: what becomes of the calls that there are. `reason`: shown as its
    `status_reason` and kept in its history.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"in_progress": "hang_up"}})

    in_progress: Literal["finish", "hang_up"] = "finish"
    reason: Reason | None = None


def cancel(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, how: Cancellation | None = None) -> BatchStatus:
    """End a batch for good: its contacts that are not being called become cancelled.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        how: whether calls in progress finish (the default) or are hung up, by rescue within seconds or by `hang_up`
            below at once.

    Returns:
        The new status.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is over already (`batch_is_final`).
    """
    how = how or Cancellation()
    return _change(
        db,
        workspace_id,
        batch_id,
        BatchStatus.CANCELLED,
        LIVE,
        "cancelled",
        "batch_is_final",
        how.reason,
        hang_up=how.in_progress == "hang_up",
    )


def hang_up(context: EngineContext, batch_id: BatchId, rng: Random) -> None:
    """Hang up the calls of a batch that was cancelled with `hang_up`. What fails here is left to rescue.

    Args:
        context: what the engine works with.
        batch_id: the batch.
        rng: source of random numbers, for ids.
    """
    try:
        rescue.hang_up(context, rng, batch_id)
    except (Contended, Unavailable) as error:
        log.warning("calls not hung up yet", batch_id=str(batch_id), error=str(error))


def delete(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    """Delete a batch that is not live. Its contacts and attempts are removed in the background.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: it is live, or calls of it are still in progress (`batch_is_live`).
    """
    db.insist(lambda connection: _delete(connection, workspace_id, batch_id))
    journal.batch(db, batch_id, journal.DELETED)


def _delete(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    status = batch_edits.lock(connection, workspace_id, batch_id)
    if status is None:
        raise NotFound("No such batch in this workspace")
    if status not in DELETABLE:
        raise _conflict(status, "only one that is draft, completed, failed or cancelled can be deleted", IS_LIVE)
    if in_progress := batch_edits.calls_in_progress(connection, batch_id):
        raise _conflict(status, f"{in_progress} of its calls are still in progress", IS_LIVE)
    batch_edits.delete(connection, batch_id)


def first_retry_at(db: Database, batch_id: BatchId) -> DateTime | None:
    """Read when the first of a batch's waiting contacts may be called again.

    Args:
        db: the database.
        batch_id: the batch.

    Returns:
        The time; None: no contact is waiting.
    """
    with db.begin() as connection:
        return batch_progress.first_retry_at(connection, batch_id)


def read_progress(db: Database, batch_id: BatchId) -> Progress:
    """Read the progress of a batch.

    Args:
        db: the database.
        batch_id: the batch.

    Returns:
        Its status and counts.

    Raises:
        NotFound: there is no such batch.
    """
    with db.begin() as connection:
        progress = batch_progress.read(connection, batch_id)
    if progress is None:
        raise NotFound(f"No batch {batch_id}")
    return progress


def _change(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    status: BatchStatus,
    among: Sequence[BatchStatus],
    done: str,
    code: str,
    reason: str | None = None,
    *,
    hang_up: bool = False,
) -> BatchStatus:
    def change(connection: Connection) -> BatchStatus:
        new_status = batches.change_status(
            connection, workspace_id, batch_id, status, among, reason=reason, hang_up=hang_up
        )
        if new_status is not None:
            return new_status
        progress = batch_progress.read(connection, batch_id)
        if progress is None or configuration.workspace_of(connection, batch_id) != workspace_id:
            raise NotFound("No such batch in this workspace")
        article, allowed = "an" if among[0] == "active" else "a", " or ".join(among)
        raise _conflict(progress.status, f"only {article} {allowed} batch can be {done}", code)

    changed = db.insist(change)
    journal.batch(db, batch_id, changed, reason)
    return changed


def _conflict(status: BatchStatus, rule: str, code: str) -> DialerError:
    return StateConflict(f"Batch is {status}; {rule}", code=code)
