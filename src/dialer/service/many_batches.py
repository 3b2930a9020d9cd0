"""Actions on all batches that match a filter: how many they concern, and what became of each."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.states import BatchStatus
from dialer.engine.context import EngineContext
from dialer.errors import Contended, NotFound, StateConflict
from dialer.service import batches
from dialer.service.batches import Cancellation
from dialer.store import batch_views
from dialer.store.database import Database


class Action(StrEnum):
    """What can be done with many batches at once."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DELETE = "delete"


# In which status a batch must be for each.
ALLOWED: Mapping[Action, frozenset[BatchStatus]] = {
    Action.PAUSE: frozenset({BatchStatus.ACTIVE, BatchStatus.SCHEDULED}),
    Action.RESUME: frozenset({BatchStatus.PAUSED}),
    Action.CANCEL: frozenset({BatchStatus.SCHEDULED, BatchStatus.ACTIVE, BatchStatus.PAUSED}),
    Action.DELETE: frozenset(batches.DELETABLE),
}


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which batches of a workspace are meant; None: any."""

    status: BatchStatus | None = None
    agent_id: AgentId | None = None
    search: str | None = None  #: Only batches whose name contains this.
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Matching:
    """The batches that match and allow an action."""

    names: Mapping[BatchId, str]  #: In the order of their creation.
    calls_in_progress: int
    contacts_left: int  #: Pending or waiting.
    contacts: int

    @property
    def digest(self) -> str:
        """A text that differs where the batches do, so that an action concerns those that its user was asked about."""
        return hashlib.sha256(b"".join(batch_id.bytes for batch_id in self.names)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an action on many batches."""

    done: int
    refused: Sequence[tuple[str, str]]  #: The name and the reason of each batch that stays as it is.


def matching(db: Database, workspace_id: WorkspaceId, action: Action, which: BatchFilter) -> Matching:
    """Find the batches that an action would concern.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        action: what is to be done.
        which: the filter.

    Returns:
        The batches, and how many calls and contacts they have.
    """
    statuses = [status for status in ALLOWED[action] if which.status in (None, status)]
    with db.begin() as connection:
        records = batch_views.matching(connection, workspace_id, statuses, which.agent_id, which.search, which.label)
    return Matching(
        {row.id: row.name for row in records},
        sum(row.dialing for row in records),
        sum(row.contacts_left for row in records),
        sum(row.total for row in records),
    )


def act(
    context: EngineContext,
    workspace_id: WorkspaceId,
    action: Action,
    names: Mapping[BatchId, str],
    rng: Random,
    how: Cancellation | None = None,
) -> Done:
    """Do the same with many batches, one after the other. One that was changed or deleted meanwhile stays as it is.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        action: what is to be done.
        names: the batches, with their names.
        rng: source of random numbers, for ids.
        how: for a cancellation, what becomes of calls in progress.

    Returns:
        How many were changed, and which were not.
    """
    refused: list[tuple[str, str]] = []
    for batch_id, name in names.items():
        try:
            _act(context, workspace_id, action, batch_id, rng, how)
        except (NotFound, StateConflict, Contended) as error:
            refused.append((name, str(error)))
    return Done(len(names) - len(refused), refused)


def _act(
    context: EngineContext,
    workspace_id: WorkspaceId,
    action: Action,
    batch_id: BatchId,
    rng: Random,
    how: Cancellation | None,
) -> None:
    match action:
        case Action.PAUSE:
            batches.pause(context.db, workspace_id, batch_id)
        case Action.RESUME:
            batches.resume(context.db, workspace_id, batch_id)
        case Action.CANCEL:
            batches.cancel(context.db, workspace_id, batch_id, how)
            batches.hang_up(context, batch_id, rng)
        case Action.DELETE:
            batches.delete(context.db, workspace_id, batch_id)
