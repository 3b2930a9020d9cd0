"""Why a contact, or a batch, is not being called now, and when it will be: all gates, the one that counts, a moment.

Pure, so two looks at one state and one moment give one answer. The gates are those by which dispatch decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.gates.codes import Blocked, GateClass, GateCode
from dialer.domain.gates.of_batch import StatusChange, batch_gates, status_gate
from dialer.domain.gates.of_contact import ContactFacts, contact_gates
from dialer.domain.gates.room import ROOM, Room, SlotUsage, rooms
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.rotation import NumberChoice
from dialer.domain.slots import NumberRoute
from dialer.domain.states import ContactStatus
from dialer.domain.trunk import OutboundNumber

LATE_SECONDS = 10
"""A batch that has been due for so long is not dispatched: no worker takes it."""
# How often the next moment is looked for: each time, another gate that depends on the time may be in the way.
STEPS = 50


class Verdict(StrEnum):
    """What would happen to a contact if its batch were dispatched now."""

    CALLABLE = "callable"  #: It would be called.
    BLOCKED = "blocked"  #: It would not be called yet.
    NEVER = "never"  #: It is not called, unless somebody edits something.
    IN_CALL = "in_call"  #: It is being called.
    UNRESOLVED = "unresolved"  #: It is not known whether its last call was placed.


class Certainty(StrEnum):
    """How certain `next_at` is."""

    EXACT = "exact"  #: By its own times and the settings. Without a moment: it is not called.
    ESTIMATED = "estimated"  #: Something that it shares with others is expected to be free then.
    UNKNOWN = "unknown"  #: It depends on calls that end, on an operator, or on an answer of a network.


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What the gates of a batch are checked by, as it was read at one moment."""

    batch: Batch
    numbers: tuple[OutboundNumber, ...]
    change: StatusChange
    choice: NumberChoice
    today: int  #: Attempts that count toward the daily cap.
    routes: tuple[NumberRoute, ...]
    usage: SlotUsage | None  #: None: Redis does not answer.
    due_since: DateTime | None = None  #: When it was to be dispatched next.
    failing_since: DateTime | None = None
    fails_until: DateTime | None = None  #: It could not be dispatched, and is not tried again before.
    epoch: UUID | None = None  #: Of the leases, in the ledger.


@dataclass(frozen=True, slots=True)
class Explanation:
    """`blocked`: the gates that do not pass. `reason`: the one that counts; None: the contact would be called.

    `next_at`: when it would be called; None: never, if that is exact, else not known.
    """

    verdict: Verdict
    blocked: dict[GateCode, Blocked]
    reason: Blocked | None
    next_at: DateTime | None
    certainty: Certainty


def explain(facts: BatchFacts, contact: ContactFacts, now: DateTime) -> Explanation:
    """Explain one contact."""
    blocked = _blocked(facts, contact, now)
    verdict, reason = _verdict(blocked)
    next_at, certainty = _next_at(facts, contact, verdict, blocked, now)
    return Explanation(verdict, blocked, reason, next_at, certainty)


def _blocked(facts: BatchFacts, contact: ContactFacts, now: DateTime) -> dict[GateCode, Blocked]:
    """Return the gates that do not pass, in the order of the codes."""
    checked = [*own_gates(facts, contact, now), *_shared(facts, contact, now)]
    by_code = {blocked.code: blocked for blocked in checked if blocked}
    return {code: by_code[code] for code in GateCode if code in by_code}


def own_gates(facts: BatchFacts, contact: ContactFacts, at: DateTime) -> Iterator[Blocked | None]:
    """Check what can be said of any moment: states, settings and times."""
    yield status_gate(facts.batch.status, facts.change, at)
    yield from batch_gates(facts.batch, None, 0, at)
    yield from contact_gates(facts.batch, contact, at)


def later_moments(facts: BatchFacts, lanes: Iterable[Lane], now: DateTime) -> set[DateTime]:
    """List when the gates of a contact pass that depend on its batch and its lane only."""
    gates = [gate for lane in lanes for gate in own_gates(facts, ContactFacts(ContactStatus.PENDING, lane=lane), now)]
    return {gate.not_before for gate in gates if gate and gate.not_before}


def _shared(facts: BatchFacts, contact: ContactFacts, now: DateTime) -> Iterator[Blocked | None]:
    """Check what the contact shares with others, as it is now."""
    yield facts.choice.blocked
    for room in rooms_for(facts, contact.lane, now):
        yield room.check(contact.ahead)
    if facts.fails_until and facts.fails_until > now:
        yield Blocked(GateCode.DISPATCH_FAILING, facts.fails_until, {"since": facts.failing_since})
    if facts.due_since and (now - facts.due_since).total_seconds() > LATE_SECONDS:
        yield Blocked(GateCode.DISPATCHER_LATE, facts={"since": facts.due_since})


def rooms_for(facts: BatchFacts, lane: Lane, now: DateTime) -> list[Room]:
    """List the room of the contacts of a lane: on its own number, where that can be used, else on all."""
    own = [route for route in facts.routes if route.number_id == lane.number_id]
    return rooms(facts.batch, facts.today, own or facts.routes, facts.usage, now)


def _verdict(blocked: Mapping[GateCode, Blocked]) -> tuple[Verdict, Blocked | None]:
    """Say which gate counts: one that never passes, else the last that passes by its time, else the first shared."""
    for code, verdict in ((GateCode.ATTEMPT_UNRESOLVED, Verdict.UNRESOLVED), (GateCode.IN_CALL, Verdict.IN_CALL)):
        if code in blocked:
            return verdict, blocked[code]
    of_class = {of: [gate for gate in blocked.values() if gate.gate_class is of] for of in GateClass}
    if never := of_class[GateClass.NEVER]:
        return Verdict.NEVER, never[0]
    if ineligible := of_class[GateClass.INELIGIBLE]:
        unknown = [gate for gate in ineligible if gate.not_before is None]
        return Verdict.BLOCKED, unknown[0] if unknown else max(ineligible, key=_not_before)
    if eligible := of_class[GateClass.ELIGIBLE]:
        return Verdict.BLOCKED, eligible[0]
    return Verdict.CALLABLE, None


def _not_before(gate: Blocked) -> DateTime:
    assert gate.not_before is not None
    return gate.not_before


def _next_at(
    facts: BatchFacts, contact: ContactFacts, verdict: Verdict, blocked: Mapping[GateCode, Blocked], now: DateTime
) -> tuple[DateTime | None, Certainty]:
    if verdict is Verdict.CALLABLE:
        return now, Certainty.EXACT
    if verdict is not Verdict.BLOCKED:
        return None, Certainty.EXACT if verdict is Verdict.NEVER else Certainty.UNKNOWN
    shared = [gate for gate in blocked.values() if gate.gate_class is GateClass.ELIGIBLE]
    if len(shared) < len(blocked):
        at, is_certain = passes_at(facts, contact, now)
        return at, Certainty.UNKNOWN if not is_certain else Certainty.ESTIMATED if at and shared else Certainty.EXACT
    if any(gate.not_before is None for gate in shared):
        return None, Certainty.UNKNOWN
    at, is_certain = passes_at(facts, contact, max(map(_not_before, shared)))
    return at, Certainty.ESTIMATED if at else Certainty.EXACT if is_certain else Certainty.UNKNOWN


def passes_at(facts: BatchFacts, contact: ContactFacts, start: DateTime) -> tuple[DateTime | None, bool]:
    """Find the first moment from `start` on at which all its own gates pass, and say whether that is certain.

    None, and certain: there is none, because it expires before, or its window never opens.
    """
    at = start
    for _ in range(STEPS):
        own = [gate for gate in own_gates(facts, contact, at) if gate and gate.gate_class is not GateClass.ELIGIBLE]
        if not own:
            return at, True
        if any(gate.gate_class is GateClass.NEVER for gate in own):
            return None, True
        later = [gate.not_before for gate in own if gate.not_before]
        if len(later) < len(own) or max(later) <= at:
            return None, False
        at = max(later)
    return None, False


@dataclass(frozen=True, slots=True)
class ContactGroup:
    """Contacts of a batch that the gates see as equal. `facts`: of the one that is due first."""

    count: int
    facts: ContactFacts
    key: str | None = None  #: By which the store finds them; None: they were only counted.


@dataclass(frozen=True, slots=True)
class Reason:
    """Why so many contacts are not called now, and when the first of them will be."""

    blocked: Blocked
    count: int
    next_at: DateTime | None
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class BatchExplanation:
    """`callable` and the counts of `reasons` add up to `total`. `reasons`: most contacts first.

    `reason`: that of most contacts that may still be called; None: some can be called now.
    """

    total: int
    callable: int
    reasons: tuple[Reason, ...]
    verdict: Verdict
    reason: Blocked | None
    next_at: DateTime | None
    certainty: Certainty


def explain_batch(facts: BatchFacts, groups: Sequence[ContactGroup], now: DateTime) -> BatchExplanation:
    """Explain all contacts of a batch, by the gates of each group and the room that the groups share."""
    reasons: dict[GateCode, Reason] = {}
    in_turn, others = _in_turn(facts, groups, now)
    for group, reason, explained in others:
        _add(reasons, Reason(reason, group.count, explained.next_at, explained.certainty))
    waiting, left = _divided(facts, in_turn, now)
    for blocked, first, end in waiting:
        certainty = Certainty.ESTIMATED if blocked.not_before else Certainty.UNKNOWN
        _add(reasons, Reason(blocked, end - first, blocked.not_before, certainty))
    in_order = tuple(sorted(reasons.values(), key=lambda reason: (-reason.count, reason.blocked.code)))
    total = sum(group.count for group in groups)
    if left:
        return BatchExplanation(total, left, in_order, Verdict.CALLABLE, None, now, Certainty.EXACT)
    return _uncallable(facts, total, in_order, now)


@dataclass(frozen=True, slots=True)
class CountedContacts:
    """The contacts of a batch that one count of its explanation stands for.

    `whole`: all contacts of these groups. `in_turn`: of these groups together, in the order in which their contacts are
    called, those from the place `first` (from 0) up to `end`, which is excluded.
    """

    whole: tuple[ContactGroup, ...]
    in_turn: tuple[ContactGroup, ...] = ()
    first: int = 0
    end: int = 0

    @property
    def count(self) -> int:
        return sum(group.count for group in self.whole) + self.end - self.first


def contacts_counted(
    facts: BatchFacts, groups: Sequence[ContactGroup], code: GateCode | None, now: DateTime
) -> CountedContacts:
    """Return the contacts that `explain_batch` counts under a reason; None: those that can be called now."""
    in_turn, others = _in_turn(facts, groups, now)
    waiting, left = _divided(facts, in_turn, now)
    if code is None:
        return CountedContacts((), tuple(in_turn), 0, left)
    whole = tuple(group for group, reason, _ in others if reason.code is code)
    for blocked, first, end in waiting:
        if blocked.code is code:
            return CountedContacts(whole, tuple(in_turn), first, end)
    return CountedContacts(whole)


def _in_turn(
    facts: BatchFacts, groups: Sequence[ContactGroup], now: DateTime
) -> tuple[list[ContactGroup], list[tuple[ContactGroup, Blocked, Explanation]]]:
    """Separate the groups whose contacts are called in turn, as far as the shared room reaches, from those that wait
    for something else, each with its reason.
    """
    in_turn, others = [], []
    for group in groups:
        explained = explain(facts, group.facts, now)
        reason = explained.reason
        if reason is None or (reason.code in ROOM and group.facts.lane.number_id is None):
            in_turn.append(group)
        else:
            others.append((group, reason, explained))
    return in_turn, others


def _divided(
    facts: BatchFacts, in_turn: Sequence[ContactGroup], now: DateTime
) -> tuple[list[tuple[Blocked, int, int]], int]:
    """Divide contacts by their places in the calling order: those from one up to another wait for each room that does
    not reach them, and so many before all of these can be called.
    """
    waiting: list[tuple[Blocked, int, int]] = []
    left = sum(group.count for group in in_turn)
    for room in rooms_for(facts, NO_LANE, now):
        if (reach := max(0, room.left)) < left:
            waiting.append((room.blocked(reach), reach, left))
            left = reach
    return waiting, left


def _add(reasons: dict[GateCode, Reason], reason: Reason) -> None:
    """Add contacts to those with the same reason; the one that is called first says when."""
    before = reasons.get(reason.blocked.code)
    if before is None:
        reasons[reason.blocked.code] = reason
        return
    first = min(before, reason, key=lambda of: (of.next_at is None, of.next_at))
    reasons[reason.blocked.code] = replace(first, count=before.count + reason.count)


def _uncallable(facts: BatchFacts, total: int, reasons: tuple[Reason, ...], now: DateTime) -> BatchExplanation:
    """Explain a batch of which no contact can be called now, by the reason of most that may still be called."""
    if not reasons:
        alone = explain(facts, ContactFacts(ContactStatus.PENDING), now)
        return BatchExplanation(0, 0, (), alone.verdict, alone.reason, alone.next_at, alone.certainty)
    open_ = [reason for reason in reasons if _verdict({reason.blocked.code: reason.blocked})[0] is Verdict.BLOCKED]
    key = (open_ or reasons)[0]
    verdict, _ = _verdict({key.blocked.code: key.blocked})
    first = min(open_ or [key], key=lambda reason: (reason.next_at is None, reason.next_at))
    return BatchExplanation(total, 0, reasons, verdict, key.blocked, first.next_at, first.certainty)
