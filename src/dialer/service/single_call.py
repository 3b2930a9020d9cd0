"""A single call on a trunk, outside any batch, so that an operator sees what the network says of it.

In: names of a trunk, an outbound number and an agent, and who is called. Out: each thing that becomes known, told as it
comes. It is in no ledger and counts for no limit but the trunk's rate. Suppressed numbers are refused, as everywhere;
the calling window of batches does not apply: whoever asks for the call wants it now.
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
from dialer.domain.pacing import RateLimit
from dialer.domain.phone import normalise
from dialer.domain.timeouts import PLACE_SECONDS, RING_SECONDS
from dialer.engine import events
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput, StateConflict, Unavailable
from dialer.providers import registry
from dialer.providers.base import CallRequest, ContactCard, Placement, Provider, Refused, ReportsByWebhook
from dialer.service import agents
from dialer.store import configuration, inbox, resources, workspaces
from dialer.store.database import Connection
from dialer.store.inbox import Received
from dialer.store.numbers import Trunk

LINK_SECONDS = 10
# What a network may take to report an end that was asked for.
END_SECONDS = 10
POLL_SECONDS = 0.5

Tell = Callable[[Placement | CallEvent], None]


@dataclass(frozen=True, slots=True)
class SingleCall:
    """One call that may be made. `rate`: of its trunk; None: it has none."""

    trunk: Trunk
    rate: RateLimit | None
    from_number: str
    to_number: str
    connection: dict[str, Any]


def prepare(
    context: EngineContext, workspace: str, to_number: str, trunk: str, from_number: str, agent: str
) -> SingleCall:
    """Find what the call needs.

    Raises:
        InvalidInput: what is named is not there, or is no number.
        StateConflict: the number is suppressed (`suppressed`) or may not be called, or the agent may not take the call
            (`agent_not_ready`).
    """
    workspace_id, agent_id = agents.find(context.db, workspace, agent)
    to_number = normalise(to_number, None)
    with context.db.begin() as connection:
        found = _one(connection, resources.TRUNKS, workspace_id, "name", trunk)
        number = _one(connection, resources.PHONE_NUMBERS, workspace_id, "phone_number", normalise(from_number, None))
        suppressed = resources.page(connection, resources.SUPPRESSIONS, workspace_id, {"phone_number": to_number}, 1, 0)
        forbidden = workspaces.rules(connection, workspace_id).refusal(to_number)
        named = configuration.find_agent(connection, workspace_id, str(agent_id))
    if number.trunk_id != found.id:
        raise InvalidInput.of("from", f"{number.phone_number} belongs to another trunk")
    if suppressed[1]:
        raise StateConflict(f"{to_number} is suppressed: it is not called, not even once", code="suppressed")
    if forbidden:
        raise StateConflict(f"{to_number} {REASONS[forbidden]}", code=forbidden)
    place = (named.connection if named else {}).get(found.provider)
    if place is None or not registry.permits_agent(found.provider, found.config, place):
        raise StateConflict(
            f"Trunk {found.name} does not permit the connection of agent {agent}", code="agent_not_ready"
        )
    per_second = found.calls_per_second
    rate = None if per_second is None else RateLimit.per_second(found.id, float(per_second))
    chosen = Trunk(found.id, found.provider, found.config, workspace)
    return SingleCall(chosen, rate, number.phone_number, to_number, place)


def _one(connection: Connection, table: resources.Table, workspace_id: WorkspaceId, name: str, value: str) -> Any:
    found, _ = resources.page(connection, table, workspace_id, {name: value}, 1, 0)
    if not found:
        raise InvalidInput.of(table.noun, f"there is none called {value} in this workspace")
    return found[0]


async def make(
    context: EngineContext, provider: Provider, call: SingleCall, longest_seconds: float, rng: Random, tell: Tell
) -> bool:
    """Make the call and tell what becomes of it, to its end; say whether it was answered.

    After `longest_seconds`, or when this is cancelled, it is hung up. Raises Unavailable where the network's reports
    cannot be heard, or Redis does not answer.
    """
    attempt_id = AttemptId(uuid7(context.clock(), rng))
    told: asyncio.Queue[CallEvent] = asyncio.Queue()
    async with _reports(context, provider, call, attempt_id, told):
        await _pass_rate(context, call, attempt_id)
        now = context.clock()
        placement = await provider.place(_request(call, attempt_id, now))
        tell(placement)
        if isinstance(placement, Refused):
            return False
        handle = CallHandle(
            attempt_id, call.to_number, call.from_number, now, getattr(placement, "provider_call_id", None)
        )
        return await _follow(provider, handle, told, RING_SECONDS + longest_seconds, tell)


async def _follow(
    provider: Provider, handle: CallHandle, told: "asyncio.Queue[CallEvent]", seconds: float, tell: Tell
) -> bool:
    was_answered = False

    async def to_the_end() -> None:
        nonlocal was_answered
        while True:
            event = await told.get()
            tell(event)
            was_answered |= event.kind is EventKind.ANSWERED
            if event.kind is EventKind.ENDED:
                return

    try:
        await asyncio.wait_for(to_the_end(), seconds)
    except (TimeoutError, asyncio.CancelledError):
        await provider.hang_up(handle)
        with suppress(TimeoutError):
            await asyncio.wait_for(to_the_end(), END_SECONDS)
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


async def _pass_rate(context: EngineContext, call: SingleCall, attempt_id: AttemptId) -> None:
    """Wait for a moment at which the trunk's rate lets the call leave (P2)."""
    while call.rate is not None:
        left = await asyncio.to_thread(context.leases.leave, context.clock(), call.rate, [attempt_id])
        if left.count:
            return
        await asyncio.sleep(left.wait_seconds)


@asynccontextmanager
async def _reports(
    context: EngineContext,
    provider: Provider,
    call: SingleCall,
    attempt_id: AttemptId,
    told: "asyncio.Queue[CallEvent]",
) -> AsyncIterator[None]:
    """Have the reports on this call told: those that this process hears, and those that reach the API by webhook."""
    is_up = asyncio.Event()
    why: list[str] = []

    async def hand_over(reports: Sequence[CallEvent]) -> None:
        if registry.shared_link(call.trunk) is None:
            # A network may send each report to one listener only: store those on other calls as the listener would.
            await asyncio.to_thread(events.receive, context.db, call.trunk.id, reports)
        for report in reports:
            if report.attempt_id == attempt_id:
                told.put_nowait(report)

    async def linked(reason: str | None) -> None:
        why[:] = [reason] if reason else []
        if reason is None:
            is_up.set()

    is_posted = isinstance(provider, ReportsByWebhook)
    hearing = asyncio.create_task(_poll(context, attempt_id, told) if is_posted else provider.listen(hand_over, linked))
    try:
        if not is_posted and registry.needs_listener(call.trunk.provider):
            await _wait(is_up, why)
        yield
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def _wait(is_up: asyncio.Event, why: Sequence[str]) -> None:
    try:
        await asyncio.wait_for(is_up.wait(), LINK_SECONDS)
    except TimeoutError:
        raise Unavailable(f"The reports of the trunk cannot be heard: {'; '.join(why) or 'no answer'}") from None


async def _poll(context: EngineContext, attempt_id: AttemptId, told: "asyncio.Queue[CallEvent]") -> None:
    def stored(after_id: int) -> list[Received]:
        with context.db.begin() as connection:
            return inbox.of_attempt(connection, attempt_id, after_id)

    def newest() -> int:
        with context.db.begin() as connection:
            return inbox.last_id(connection)

    after_id = await asyncio.to_thread(newest)
    while True:
        for received in await asyncio.to_thread(stored, after_id):
            after_id = received.id
            told.put_nowait(received.event)
        await asyncio.sleep(POLL_SECONDS)
