"""A batch as dispatch and settle see it: its settings, its counts, and when it must be dispatched again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import AgentId, BatchId, WorkspaceId
from dialer.domain.retry import RetryRules
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.states import BatchStatus
from dialer.domain.window import CallingWindow


@dataclass(frozen=True, slots=True)
class Batch:
    """The settings of one `version` of a batch, and its counts when it was read."""

    id: BatchId  #: UUID version 7, made when the batch is created.
    workspace_id: WorkspaceId  #: The tenant that owns it.
    name: str  #: Chosen by the operator; shown in logs and errors.
    agent_id: AgentId  #: The agent that answered calls are connected to.
    status: BatchStatus  #: Only an `active` batch is dispatched.
    version: int  #: A trigger adds one at every change of the settings. A plan of another version is discarded (P4).
    strategy: RotationStrategy  #: How an outbound number is chosen for each attempt.
    window: CallingWindow | None  #: When calls may start (P3). None: not readable on this system, so nothing is called.
    retry: RetryRules  #: After which outcomes, how often and how soon a contact is called again.
    max_concurrent_calls: int  #: How many of its calls may be in progress at once (P2).
    max_calls_per_day: int | None  #: How many attempts of one local day may be placed (P2). None: no cap.
    respect_contact_timezone: bool  #: The window must also be open in each contact's own time zones.
    sticky_caller_id: bool  #: A contact is called from the number that called it first, while that can be used.
    expires_at: DateTime | None  #: From then on its contacts are skipped. None: it never expires.
    priority: int  #: 1 (highest) to 10. Decides its share of a trunk, see `fairness`.
    agent_is_active: bool  #: False: the operator has deactivated the agent, so the batch is held.
    connection: Mapping[str, Any]  #: How each provider reaches the agent, by the provider's name.
    pending: int  #: Contacts that may be called now.
    waiting: int  #: Contacts that wait for a retry.
    dialing: int  #: Contacts with an attempt in progress.
    held_by: str | None = None  #: Why the last dispatch started no more calls; stored and shown to operators.
    talk_seconds: float | None = None  #: Typical length of its conversations. None: none has ended yet.
    ring_timeout_seconds: int | None = None  #: How long a call may ring. None: RING_SECONDS.
    max_call_seconds: int | None = None  #: How long an answered call may last. None: CALL_SECONDS.

    @property
    def has_lanes(self) -> bool:
        """Say whether its contacts may differ in when, or from which number, they can be called."""
        return self.respect_contact_timezone or self.sticky_caller_id


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """The contacts of a batch that are not final, as the current transaction has left them."""

    pending: int
    waiting: int
    dialing: int


@dataclass(frozen=True, slots=True)
class LockedBatch:
    """What the ledger says of a batch while its row is locked. `epoch`: of the leases; None: Redis was never loaded."""

    id: BatchId
    version: int
    epoch: UUID | None
    dialing: int


@dataclass(frozen=True, slots=True)
class NextDispatch:
    """When a batch must be dispatched again, and what holds it back until then. `at` None: when an event wakes it."""

    batch_id: BatchId
    at: DateTime | None
    held_by: str | None
