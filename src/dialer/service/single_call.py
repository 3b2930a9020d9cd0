"""A single test call on a trunk, outside any batch, so that an operator sees what the network reports.

In: a trunk, an outbound number, an agent and the number to call. Out: the network's answer and each call event, as they
come. The call is not in the ledger and counts toward no limit except the trunk's rate. Suppressed numbers are refused,
as everywhere; calling windows do not apply.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from pendulum import DateTime

from dialer.domain.call import CallEvent, CallHandle, EventKind
from dialer.domain.calling_rules import REASONS
from dialer.domain.ids import AttemptId, WorkspaceId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.domain.pacing import RateLimit
from dialer.domain.phone import normalise
from dialer.domain.timeouts import PLACE_SECONDS, RING_SECONDS
from dialer.domain.trunk import Trunk
from dialer.engine import events
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput, StateConflict, Unavailable
from dialer.providers import registry
from dialer.providers.base import CallRequest, ContactCard, Placement, Provider, Refused
from dialer.service import agents
from dialer.store import configuration, inbox, resources, workspaces
from dialer.store.database import Connection
from dialer.store.inbox import ReceivedReport

LINK_SECONDS = 10
# How long a network may take to report the end after a hang-up.
END_SECONDS = 10
POLL_SECONDS = 0.5

# Gets the network's answer, then each call event.
OnUpdate = Callable[[Placement | CallEvent], None]


@dataclass(frozen=True, slots=True)
class SingleCall:
    """A call that may be placed."""

    trunk: Trunk
    rate: RateLimit | None  #: The rate of the trunk; None: it has none.
    from_number: str
    to_number: str
    connection: dict[str, Any]  #: Where the answered call goes, in the provider's format.


def prepare(
    context: EngineContext, workspace: str, to_number: str, trunk: str, from_number: str, agent: str
) -> SingleCall:
    """Find what the call needs, and check that it may be placed.

    Args:
        context: what the engine works with.
        workspace: the name of the workspace.
        to_number: the number to call.
        trunk: the name of the trunk.
        from_number: the outbound number.
        agent: the id or the name of the agent.

    Returns:
        The call.

    Raises:
        InvalidInput: a name is unknown, or a number is malformed.
        StateConflict: the number is suppressed (`suppressed`) or must not be called, or the agent may not take the call
            (`agent_not_ready`).
    """
    workspace_id, agent_id = agents.find(context.db, workspace, agent)
    to_number = normalise(to_number, None)
    with context.db.begin() as connection:
        trunk_row = _find(connection, resources.TRUNKS, workspace_id, "name", trunk)
        number = _find(connection, resources.PHONE_NUMBERS, workspace_id, "phone_number", normalise(from_number, None))
        suppressed = resources.page(connection, resources.SUPPRESSIONS, workspace_id, {"phone_number": to_number}, 1, 0)
        forbidden = workspaces.rules(connection, workspace_id).refusal(to_number)
        agent_row = configuration.find_agent(connection, workspace_id, str(agent_id))
    if number.trunk_id != trunk_row.id:
        raise InvalidInput.of("from", f"{number.phone_number} belongs to another trunk")
    if suppressed[1]:
        raise StateConflict(f"{to_number} is suppressed, so no test call is placed", code="suppressed")
    if forbidden:
        raise StateConflict(f"{to_number} {REASONS[forbidden]}", code=forbidden)
    called_on = Trunk(trunk_row.id, trunk_row.provider, trunk_row.config, workspace, trunk_row.name)
    connection_of_agent = agent_row.connection if agent_row else {}
    agents.check_ready(True, connection_of_agent, [called_on])
    per_second = trunk_row.calls_per_second
    return SingleCall(
        trunk=called_on,
        rate=None if per_second is None else RateLimit.per_second(trunk_row.id, float(per_second)),
        from_number=number.phone_number,
        to_number=to_number,
        connection=connection_of_agent[called_on.provider],
    )


def _find(
    connection: Connection, table: resources.ResourceTable, workspace_id: WorkspaceId, column: str, value: str
) -> Any:
    matches, _ = resources.page(connection, table, workspace_id, {column: value}, 1, 0)
    if not matches:
        raise InvalidInput.of(table.noun, f"there is none called {value} in this workspace")
    return matches[0]


async def place(
    context: EngineContext, provider: Provider, call: SingleCall, max_seconds: float, rng: Random, on_update: OnUpdate
) -> bool:
    """Place the call and follow it to its end.

    Args:
        context: what the engine works with.
        provider: a connection to the call's trunk, for this call alone.
        call: the call.
        max_seconds: after the ring time and this time the call is hung up, and also when this is cancelled.
        rng: source of random numbers, for the id.
        on_update: gets the network's answer and each call event.

    Returns:
        Whether the call was answered.

    Raises:
        Unavailable: the trunk's events cannot be received, or Redis does not answer.
    """
    attempt_id = AttemptId(uuid7(context.clock(), rng))
    events_of_call: asyncio.Queue[CallEvent] = asyncio.Queue()
    async with _receiving_events(context, provider, call, attempt_id, events_of_call):
        await _wait_for_rate(context, call, attempt_id)
        now = context.clock()
        placement = await provider.place(_request(call, attempt_id, now))
        on_update(placement)
        if isinstance(placement, Refused):
            return False
        handle = CallHandle(
            attempt_id, call.to_number, call.from_number, now, getattr(placement, "provider_call_id", None)
        )
        return await _follow(provider, handle, events_of_call, RING_SECONDS + max_seconds, on_update)


async def _follow(
    provider: Provider,
    handle: CallHandle,
    events_of_call: "asyncio.Queue[CallEvent]",
    seconds: float,
    on_update: OnUpdate,
) -> bool:
    was_answered = False

    async def until_ended() -> None:
        nonlocal was_answered
        while True:
            event = await events_of_call.get()
            on_update(event)
            was_answered |= event.kind is EventKind.ANSWERED or event.outcome is Outcome.ANSWERED
            if event.kind is EventKind.ENDED:
                return

    try:
        await asyncio.wait_for(until_ended(), seconds)
    except (TimeoutError, asyncio.CancelledError):
        await provider.hang_up(handle)
        with suppress(TimeoutError):
            await asyncio.wait_for(until_ended(), END_SECONDS)
    return was_answered


def _request(call: SingleCall, attempt_id: AttemptId, now: DateTime) -> CallRequest:
    return CallRequest(
        attempt_id=attempt_id,
        to_number=call.to_number,
        from_number=call.from_number,
        connection=call.connection,
        ring_timeout_seconds=RING_SECONDS,
        place_by=now.add(seconds=PLACE_SECONDS),
        ring_by=None,
        contact=ContactCard("Test call"),
    )


async def _wait_for_rate(context: EngineContext, call: SingleCall, attempt_id: AttemptId) -> None:
    """Wait until the rate of the trunk lets the call leave (P2)."""
    while call.rate is not None:
        departure = await asyncio.to_thread(context.leases.leave, context.clock(), call.rate, [attempt_id])
        if departure.count:
            return
        await asyncio.sleep(departure.wait_seconds)


@asynccontextmanager
async def _receiving_events(
    context: EngineContext,
    provider: Provider,
    call: SingleCall,
    attempt_id: AttemptId,
    events_of_call: "asyncio.Queue[CallEvent]",
) -> AsyncIterator[None]:
    """Fill the queue with the events of this call.

    From the inbox, because a network may send each event to one listener only: this process stores its events there
    too. A shared link sends every event to every listener, and stores none of a call that is not in the ledger.
    """
    is_up = asyncio.Event()
    down_reason: list[str] = []
    is_shared = registry.shared_link(call.trunk) is not None

    async def on_events(batch: Sequence[CallEvent]) -> None:
        if not is_shared:
            await asyncio.to_thread(events.receive, context.db, call.trunk.id, batch)
            return
        for event in batch:
            if event.attempt_id == attempt_id:
                events_of_call.put_nowait(event)

    async def on_link_state(reason: str | None) -> None:
        down_reason[:] = [reason] if reason else []
        if reason is None:
            is_up.set()

    after_id = await asyncio.to_thread(_newest, context)
    receiving = [asyncio.create_task(provider.listen(on_events, on_link_state))]
    if not is_shared:
        receiving.append(asyncio.create_task(_poll_inbox(context, attempt_id, after_id, events_of_call)))
    try:
        if registry.needs_listener(call.trunk.provider):
            await _wait_for_link(is_up, down_reason)
        yield
    finally:
        for task in receiving:
            task.cancel()
        await asyncio.gather(*receiving, return_exceptions=True)


async def _wait_for_link(is_up: asyncio.Event, down_reason: Sequence[str]) -> None:
    try:
        await asyncio.wait_for(is_up.wait(), LINK_SECONDS)
    except TimeoutError:
        reason = "; ".join(down_reason) or "no answer"
        raise Unavailable(f"The call events of the trunk cannot be received: {reason}") from None


async def _poll_inbox(
    context: EngineContext, attempt_id: AttemptId, after_id: int, events_of_call: "asyncio.Queue[CallEvent]"
) -> None:
    def stored() -> list[ReceivedReport]:
        with context.db.begin() as connection:
            return inbox.of_attempt(connection, attempt_id, after_id)

    while True:
        for received in await asyncio.to_thread(stored):
            after_id = received.id
            events_of_call.put_nowait(received.event)
        await asyncio.sleep(POLL_SECONDS)


def _newest(context: EngineContext) -> int:
    with context.db.begin() as connection:
        return inbox.last_id(connection)
