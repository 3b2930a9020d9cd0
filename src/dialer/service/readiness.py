"""What stands in the way of starting a batch: its status, contacts, window, agent, numbers and trunks."""

from collections.abc import Iterator, Sequence

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.states import BatchStatus
from dialer.domain.trunk import OutboundNumber
from dialer.engine.context import EngineContext
from dialer.errors import FieldError, StateConflict
from dialer.service import agents


def problems(
    context: EngineContext,
    batch: Batch,
    starts_at: DateTime | None,
    outbound: Sequence[OutboundNumber],
    now: DateTime,
) -> Iterator[StateConflict]:
    """Find out why a batch cannot be started. Networks are asked last, and only if they are reached.

    Args:
        context: what the engine works with.
        batch: the batch.
        starts_at: when it is to start; None: at once.
        outbound: its numbers.
        now: the current time.

    Yields:
        The problems, the first of which refuses the start; none: it can be started.
    """
    if batch.status is not BatchStatus.DRAFT:
        rule = f"Batch is {batch.status}; only a draft batch can be scheduled"
        yield StateConflict(rule, code="batch_not_draft")
    if not (batch.pending or batch.waiting):
        yield StateConflict("The batch has no contacts to call", code="batch_has_no_contacts")
    if batch.window is None or batch.window.next_open(max(now, starts_at or now)) is None:
        yield StateConflict("The calling window never opens", code="window_never_opens")
    yield from _outbound_problems(context, batch, outbound)


def _outbound_problems(
    context: EngineContext, batch: Batch, outbound: Sequence[OutboundNumber]
) -> Iterator[StateConflict]:
    usable = {number.trunk.id: number.trunk for number in outbound if number.is_usable}
    if not usable:
        yield StateConflict("The batch has no active outbound number", code="no_outbound_number")
    if errors := agents.problems(batch.agent_is_active, batch.connection, usable.values()):
        yield agents.not_ready(errors)
    for trunk in usable.values():
        if reason := context.providers.health(trunk):
            yield StateConflict(f"The trunk cannot place calls: {reason}", code="provider_error")
        place = batch.connection.get(trunk.provider)
        if place is not None and (reason := context.providers.missing_destination(trunk, place)):
            yield agents.not_ready([FieldError(f"connection.{trunk.provider}", f"does not work: {reason}")])
