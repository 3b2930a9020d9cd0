"""Explain: why a contact or a batch is not being called now, and when it will be. Reads; changes and locks nothing.

The gates are those by which dispatch decides, on the same facts: what is explained at a moment is what dispatch does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.calling_span import CallingSpan
from dialer.domain.dispatch_plan import number_route
from dialer.domain.explanation import (
    BatchExplanation,
    BatchFacts,
    ContactGroup,
    CountedContacts,
    Explanation,
    contacts_counted,
    explain,
    explain_batch,
    later_moments,
)
from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.gates.of_contact import ContactFacts, lane_hours
from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.preview import Preview, opening_of, preview, start_of
from dialer.domain.rotation import usable_numbers
from dialer.domain.slots import BatchRoutes
from dialer.domain.states import ContactStatus
from dialer.engine.context import EngineContext
from dialer.engine.unusable_trunks import not_permitted, without_listener
from dialer.errors import InvalidInput, NotFound, Unavailable
from dialer.store import batches, contacts, lease_epoch, numbers
from dialer.store import explain as records
from dialer.store.contact_groups import InGroups, place_of
from dialer.store.database import Connection
from dialer.store.explain import BatchRecord, ContactRecord

HELD_BY_CALLS = (GateCode.NUMBER_ROOM, GateCode.TRUNK_SLOTS_FULL)
NOTICES = (
    GateCode.TRUNK_UNHEARD,
    GateCode.REDIS_AWAY,
    GateCode.REDIS_REBUILDING,
    GateCode.DISPATCH_FAILING,
    GateCode.DISPATCHER_LATE,
)


@dataclass(frozen=True, slots=True)
class ExplainedContact:
    """`timezone`: of the batch, in which times are shown. `version`: of its settings."""

    explanation: Explanation
    timezone: str
    version: int


@dataclass(frozen=True, slots=True)
class ExplainedBatch:
    """As for a contact. `notices`: what is wrong with the engine, or going on in it."""

    explanation: BatchExplanation
    notices: tuple[Blocked, ...]
    timezone: str
    version: int


def explain_contact(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId, now: DateTime
) -> ExplainedContact:
    """Explain one contact; raises NotFound."""
    with context.db.begin() as connection:
        batch, facts, record = _read(connection, workspace_id, batch_id, now)
        contact = records.contact(connection, batch_id, contact_id, now)
        if contact is None:
            raise NotFound("No such contact in this batch")
        ahead = _ahead(connection, batch, contact, now)
    seen = replace(contact.facts, ahead=ahead, rules=record.rules)
    explanation = explain(with_usage(context, facts, now), seen, now)
    return ExplainedContact(_with_holders(context, facts, explanation), timezone_of(batch), batch.version)


def explain_contacts(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> ExplainedBatch:
    """Explain all contacts of a batch, in groups; raises NotFound."""
    with context.db.begin() as connection:
        batch, facts, record = _read(connection, workspace_id, batch_id, now)
        groups = records.groups(connection, batch_id, now, _moments(connection, batch, facts, now))
    facts = with_usage(context, facts, now)
    notices = tuple(_notices(context, facts, record, now))
    return ExplainedBatch(explain_batch(facts, groups, now), notices, timezone_of(batch), batch.version)


def contacts_because(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, code: GateCode | None, now: DateTime
) -> InGroups:
    """Say which contacts `explain_contacts` counts under a reason, or as callable; raises NotFound, InvalidInput."""
    with context.db.begin() as connection:
        batch, facts, _ = _read(connection, workspace_id, batch_id, now)
        moments = _moments(connection, batch, facts, now)
        groups = records.groups(connection, batch_id, now, moments)
    if any(group.key is None for group in groups):
        most = f"{records.MOST_READ:,} contacts"
        raise InvalidInput.of("reason", f"is a filter for batches of at most {most}; choose a status or an outcome")
    counted = contacts_counted(with_usage(context, facts, now), groups, code, now)
    with context.db.begin() as connection:
        return _in_groups(connection, batch_id, counted, now, moments)


def _in_groups(
    connection: Connection, batch_id: BatchId, counted: CountedContacts, now: DateTime, moments: Sequence[DateTime]
) -> InGroups:
    """Find the places in the calling order between which the contacts are that are called in turn."""
    statuses = {group.facts.status for group in (*counted.whole, *counted.in_turn)}
    found = InGroups(_keys(counted.whole), _keys(counted.in_turn), tuple(statuses), counted.count, now, tuple(moments))
    if not counted.in_turn:
        return found
    first, end = (place_of(connection, batch_id, found, nth) for nth in (counted.first, counted.end))
    return replace(found, first=first, end=end)


def _keys(groups: Sequence[ContactGroup]) -> tuple[str, ...]:
    return tuple(group.key for group in groups if group.key)


def _moments(connection: Connection, batch: Batch, facts: BatchFacts, now: DateTime) -> list[DateTime]:
    """List when gates pass that depend on the batch and the lanes of its contacts only, in order."""
    lanes = records.open_lanes(connection, batch.id) if batch.has_lanes else [NO_LANE]
    return sorted(later_moments(facts, lanes, now))


def preview_contacts(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> tuple[Preview, BatchFacts]:
    """Say what would become of the contacts of a batch if it were started; raises NotFound."""
    with context.db.begin() as connection:
        _, facts, _ = _read(connection, workspace_id, batch_id, now)
        starts_at = start_of(facts, now)
        at_start = records.groups(connection, batch_id, starts_at)
        opens_at = opening_of(facts, at_start, starts_at)
        at_opening = records.groups(connection, batch_id, opens_at) if opens_at else []
    return preview(facts, at_start, at_opening, starts_at, opens_at), facts


def _read(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> tuple[Batch, BatchFacts, BatchRecord]:
    loaded = [batch for batch in batches.load(connection, [batch_id]) if batch.workspace_id == workspace_id]
    if not loaded:
        raise NotFound("No such batch in this workspace")
    (batch,) = loaded
    record = records.batch(connection, batch_id)
    outbound = numbers.of_batches(connection, [batch_id]).get(batch_id, [])
    choice = usable_numbers(outbound, now, without_listener(outbound), not_permitted(batch, outbound))
    days = {batch_id: batch.window.local_day(now)} if batch.window else {}
    facts = BatchFacts(
        batch,
        tuple(outbound),
        record.change,
        choice,
        batches.calls_today(connection, days).get(batch_id, 0),
        tuple(number_route(number, now) for number in choice.numbers),
        None,
        record.due_since,
        record.failing_since,
        record.fails_until,
        lease_epoch.current(connection),
    )
    return batch, facts, record


def with_usage(context: EngineContext, facts: BatchFacts, now: DateTime) -> BatchFacts:
    """Add what Redis holds; nothing where it does not answer. It is void where the ledger has another epoch."""
    routes = BatchRoutes(facts.batch.id, facts.batch.max_concurrent_calls, facts.routes)
    try:
        usage = context.leases.usage(now, routes)
    except Unavailable:
        return facts
    return replace(facts, usage=usage if usage.epoch == facts.epoch else replace(usage, epoch=None))


def _notices(context: EngineContext, facts: BatchFacts, record: BatchRecord, now: DateTime) -> Iterator[Blocked]:
    """List what holds the engine as a whole, or this batch in it."""
    if facts.usage is not None and not context.leases.was_begun("tick"):
        yield Blocked(GateCode.NO_WORKER)
    checked = explain(facts, ContactFacts(ContactStatus.PENDING), now).blocked
    yield from (checked[code] for code in NOTICES if code in checked)
    if record.is_importing:
        yield Blocked(GateCode.IMPORT_RUNNING)


def _with_holders(context: EngineContext, facts: BatchFacts, explanation: Explanation) -> Explanation:
    """Add to gates of numbers and trunks that are full which batches have the calls in progress."""
    full = [gate for code, gate in explanation.blocked.items() if code in HELD_BY_CALLS]
    if not full:
        return explanation
    with context.db.begin() as connection:
        trunk_ids = list({route.trunk_id for route in facts.routes})
        holders = records.holders(connection, facts.batch.workspace_id, trunk_ids)
    held_by = [dict(row._mapping) for row in holders]
    named = {gate.code: replace(gate, facts={**gate.facts, "held_by": held_by}) for gate in full}
    reason = explanation.reason and named.get(explanation.reason.code, explanation.reason)
    return replace(explanation, blocked=explanation.blocked | named, reason=reason)


def _ahead(connection: Connection, batch: Batch, contact: ContactRecord, now: DateTime) -> int:
    """Count the contacts that are called before this one: those of open lanes that come first."""
    if contact.facts.status not in (ContactStatus.PENDING, ContactStatus.WAITING):
        return 0
    lanes: Sequence[Lane] = [NO_LANE]
    if batch.has_lanes and batch.window:
        lanes = contacts.lanes(connection, [batch.id], 1)[batch.id]
        lanes = [lane for lane in lanes if isinstance(lane_hours(lane, batch, now), CallingSpan)]
    return records.ahead(connection, batch.id, lanes, contact, now)


def timezone_of(batch: Batch) -> str:
    """Return the zone in which times of a batch are shown."""
    return batch.window.timezone if batch.window else "UTC"
