"""What an operator can ask for a batch: create it, start it, pause, resume and cancel it."""

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any, Literal

import structlog
from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.ids import BatchId, FolderId, WorkspaceId, uuid7
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.engine import rescue
from dialer.engine.context import EngineContext
from dialer.errors import Contended, DialerError, InvalidInput, NotFound, StateConflict, Unavailable
from dialer.providers import registry
from dialer.service import contacts
from dialer.service.fields import Fields
from dialer.service.new_batch import NewBatch
from dialer.store import batch_edits, batches, configuration, numbers, resources
from dialer.store import progress as progressing
from dialer.store.batches import Batch
from dialer.store.database import Connection, Database
from dialer.store.numbers import OutboundNumber, Trunk
from dialer.store.progress import Progress

DELETABLE = FINAL_BATCH | {BatchStatus.DRAFT}
IS_LIVE = "batch_is_live"
TRIES = 3
LIVE = (BatchStatus.DRAFT, BatchStatus.SCHEDULED, BatchStatus.ACTIVE, BatchStatus.PAUSED)

log = structlog.get_logger()


def create(db: Database, workspace_id: WorkspaceId, new: NewBatch, now: DateTime, rng: Random) -> BatchId:
    """Create a draft.

    Raises:
        InvalidInput: an id that it names is not in this workspace; nothing is stored.
        StateConflict: the agent is not ready (`agent_not_ready`), or there is no number to call from
            (`no_outbound_number`).
    """
    batch_id = BatchId(uuid7(now, rng))
    with db.begin() as connection:
        check_ready(connection, workspace_id, new)
        values = new.columns() | {"id": batch_id, "workspace_id": workspace_id}
        batch_edits.insert(connection, values, new.phone_number_ids)
        if new.contact_folder_id is not None:
            contacts.load_folder(db.within(connection), batch_id, FolderId(new.contact_folder_id), now, rng)
    return batch_id


def check_ready(connection: Connection, workspace_id: WorkspaceId, new: NewBatch) -> None:
    """Raise InvalidInput or StateConflict unless the agent and the numbers of a batch can be used."""
    agent = configuration.find_agent(connection, workspace_id, str(new.agent_id))
    if agent is None:
        raise InvalidInput.of("agent_id", "no such agent in this workspace")
    if not configuration.knows_zone(connection, new.timezone):
        raise InvalidInput.of("timezone", "is not known to Postgres")
    found = configuration.outbound(connection, workspace_id, new.phone_number_ids, agent.id)
    if new.contact_folder_id and not resources.exists(
        connection, resources.FOLDERS, workspace_id, new.contact_folder_id
    ):
        raise InvalidInput.of("contact_folder_id", "no such folder in this workspace")
    missing = set(new.phone_number_ids) - {row.id for row in found}
    if missing:
        raise InvalidInput.of("phone_number_ids", f"no such number in this workspace: {min(missing)}")
    usable = [row for row in found if row.status == "active" and row.trunk_status == "active"]
    if not usable or (new.phone_number_ids and len(usable) < len(found)):
        raise StateConflict(
            "Every outbound number of a batch must be active, and there must be one", code="no_outbound_number"
        )
    trunks = {row.trunk_id: Trunk(row.trunk_id, row.provider, row.config) for row in usable}
    _check_agent(f"Agent {agent.name}", agent.status == "active", agent.connection, trunks.values())


def _check_agent(agent: str, is_active: bool, connection: Mapping[str, Any], trunks: Collection[Trunk]) -> None:
    unconnected = {trunk.provider for trunk in trunks if connection.get(trunk.provider) is None}
    if unconnected:
        raise StateConflict(f"{agent} has no connection for {', '.join(sorted(unconnected))}", code="agent_not_ready")
    for trunk in trunks:
        if not registry.permits_agent(trunk.provider, trunk.config, connection[trunk.provider]):
            raise StateConflict(
                f"{agent} may not connect calls there on its {trunk.provider} trunk: an admin names it in the trunk's "
                "context or destinations",
                code="agent_not_ready",
            )
    if not is_active:
        raise StateConflict(f"{agent} is inactive", code="agent_not_ready")


def schedule(context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime) -> BatchStatus:
    """Start a draft: it becomes active now, or scheduled if its time lies ahead.

    Raises:
        NotFound: no such batch in this workspace.
        StateConflict: it is no draft, has no contacts, its window never opens, its agent is not ready, or a trunk
            cannot place calls; the batch stays as it is.
        Contended: it is being changed again and again.
    """
    for _ in range(TRIES):
        if became := _schedule(context, workspace_id, batch_id, now):
            return became
    raise Contended("The batch is being changed again and again; try again when it is not")


def _schedule(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> BatchStatus | None:
    """Start a draft with the settings that were checked. None: they were changed meanwhile, and nothing was done."""
    batch, starts_at, outbound = context.db.insist(lambda connection: _held(connection, workspace_id, batch_id))
    if batch.status is not BatchStatus.DRAFT:
        raise _conflict(batch.status, "only a draft batch can be scheduled", "batch_not_draft")
    if not batch.pending:
        raise StateConflict("The batch has no contacts to call", code="batch_has_no_contacts")
    if batch.window is None or batch.window.next_open(max(now, starts_at or now)) is None:
        raise StateConflict("The calling window never opens", code="window_never_opens")
    _check_outbound(context, batch, outbound)
    status = BatchStatus.SCHEDULED if starts_at and starts_at > now else BatchStatus.ACTIVE
    among = [BatchStatus.DRAFT]
    return context.db.insist(
        lambda connection: batches.change_status(
            connection, workspace_id, batch_id, status, among, version=batch.version
        )
    )


def _held(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId
) -> tuple[Batch, DateTime | None, Sequence[OutboundNumber]]:
    """Read a batch, its time and its numbers as they are at one moment; raises NotFound."""
    if not batch_edits.hold(connection, workspace_id, batch_id):
        raise NotFound("No such batch in this workspace")
    (batch,) = batches.load(connection, [batch_id])
    outbound = numbers.of_batches(connection, [batch_id]).get(batch_id, [])
    return batch, batches.scheduled_at(connection, batch_id), outbound


def _check_outbound(context: EngineContext, batch: Batch, outbound: Sequence[OutboundNumber]) -> None:
    usable = {number.trunk.id: number.trunk for number in outbound if number.is_usable}
    if not usable:
        raise StateConflict("The batch has no active outbound number", code="no_outbound_number")
    _check_agent("The agent of the batch", batch.agent_is_active, batch.connection, usable.values())
    for trunk in usable.values():
        if reason := context.providers.health(trunk):
            raise StateConflict(f"The trunk cannot place calls: {reason}", code="provider_error")
        if reason := context.providers.missing_destination(trunk, batch.connection[trunk.provider]):
            raise StateConflict(f"Answered calls would have nowhere to go: {reason}", code="agent_not_ready")


def is_reachable(context: EngineContext, batch_id: BatchId) -> bool:
    """Say whether every trunk that the batch may use can place calls now."""
    with context.db.begin() as connection:
        outbound = numbers.of_batches(connection, [batch_id]).get(batch_id, [])
    trunks = {number.trunk.id: number.trunk for number in outbound if number.is_usable}
    return all(context.providers.health(trunk) is None for trunk in trunks.values())


def discard(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> bool:
    """Delete a batch that was never started, with its contacts; say whether there was one."""
    with db.begin() as connection:
        return batch_edits.delete_draft(connection, workspace_id, batch_id)


def pause(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> BatchStatus:
    """Stop creating attempts; once this returns, none is created (P4). Calls in progress finish."""
    among = [BatchStatus.ACTIVE, BatchStatus.SCHEDULED]
    return _change(db, workspace_id, batch_id, BatchStatus.PAUSED, among, "paused", "batch_not_active")


def resume(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> BatchStatus:
    """Go on: active, or scheduled again while its time still lies ahead."""
    return _change(db, workspace_id, batch_id, BatchStatus.ACTIVE, [BatchStatus.PAUSED], "resumed", "batch_not_paused")


class Cancellation(Fields):
    """How a batch is cancelled. `in_progress`: what becomes of the calls that there are."""

    model_config = ConfigDict(json_schema_extra={"example": {"in_progress": "hang_up"}})

    in_progress: Literal["finish", "hang_up"] = "finish"


def cancel(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, how: Cancellation | None = None) -> BatchStatus:
    """End a batch for good: contacts that nobody is calling become cancelled.

    Calls in progress finish; or, with `hang_up`, rescue ends them within seconds (`hang_up` below: at once).
    """
    is_hard = how is not None and how.in_progress == "hang_up"
    return _change(
        db, workspace_id, batch_id, BatchStatus.CANCELLED, LIVE, "cancelled", "batch_is_final", hang_up=is_hard
    )


def hang_up(context: EngineContext, batch_id: BatchId, rng: Random) -> None:
    """End the calls of a batch that was cancelled with them; rescue ends those that are not reached here."""
    try:
        rescue.hang_up(context, rng, batch_id)
    except (Contended, Unavailable) as error:
        log.warning("calls not hung up yet", batch_id=str(batch_id), error=str(error))


def delete(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    """Delete a batch that is not live, with its contacts and its attempts.

    Raises:
        NotFound: no such batch in this workspace.
        StateConflict: it is live, or calls of it are still in progress (`batch_is_live`).
    """
    db.insist(lambda connection: _delete(connection, workspace_id, batch_id))


def _delete(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    status = batch_edits.lock(connection, workspace_id, batch_id)
    if status is None:
        raise NotFound("No such batch in this workspace")
    if status not in DELETABLE:
        raise _conflict(status, "only one that is draft, completed, failed or cancelled can be deleted", IS_LIVE)
    if in_progress := batch_edits.calls_in_progress(connection, batch_id):
        raise _conflict(status, f"{in_progress} of its calls are still in progress", IS_LIVE)
    batch_edits.delete(connection, batch_id)


def progress(db: Database, batch_id: BatchId) -> Progress:
    """Say where a batch stands."""
    with db.begin() as connection:
        found = progressing.read(connection, batch_id)
    if found is None:
        raise NotFound(f"No batch {batch_id}")
    return found


def _change(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    status: BatchStatus,
    among: Sequence[BatchStatus],
    done: str,
    code: str,
    *,
    hang_up: bool = False,
) -> BatchStatus:
    def change(connection: Connection) -> BatchStatus:
        became = batches.change_status(connection, workspace_id, batch_id, status, among, hang_up=hang_up)
        if became is not None:
            return became
        found = progressing.read(connection, batch_id)
        if found is None or configuration.workspace_of(connection, batch_id) != workspace_id:
            raise NotFound("No such batch in this workspace")
        article, wanted = "an" if among[0] == "active" else "a", " or ".join(among)
        raise _conflict(found.status, f"only {article} {wanted} batch can be {done}", code)

    return db.insist(change)


def _conflict(status: BatchStatus, rule: str, code: str) -> DialerError:
    return StateConflict(f"Batch is {status}; {rule}", code=code)
