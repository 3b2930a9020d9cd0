"""What will become of the contacts of a batch once it starts: called, never called, or too late. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.explanation import BatchFacts, ContactGroup, own_gates, passes_at
from dialer.domain.gates.codes import GateClass, GateCode
from dialer.domain.slots import NumberRoute
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.domain.window import HORIZON, HORIZON_SECONDS, CallingWindow

SHORTEST_CALL_SECONDS = 1.0
"""A slot is taken for at least this long. Most calls take longer, so more contacts may be too late than counted."""


@dataclass(frozen=True, slots=True)
class Preview:
    """`callable`, `never` and `too_late` add up to `total`. `too_late`: at least so many cannot be called before they
    or their batch expire. `first_call_at` None: nobody is called.
    """

    total: int
    callable: int
    never: Counter[GateCode]
    too_late: int
    first_call_at: DateTime | None


def start_of(facts: BatchFacts, now: DateTime) -> DateTime:
    """Say when the batch would start if it were scheduled now."""
    return max(now, facts.change.scheduled_at or now)


def opening_of(facts: BatchFacts, groups: Sequence[ContactGroup], starts_at: DateTime) -> DateTime | None:
    """Find the moment of the first call after the start; None: nobody is called. `groups`: at the start."""
    moments = [passes_at(_started(facts), group.facts, starts_at)[0] for group in groups]
    return min(filter(None, moments), default=None)


def preview(
    facts: BatchFacts,
    at_start: Sequence[ContactGroup],
    at_opening: Sequence[ContactGroup],
    starts_at: DateTime,
    opens_at: DateTime | None,
) -> Preview:
    """Say what would become of the contacts. They are grouped twice: as they are at the start, and at the first call.

    A contact that is not gone at the start and cannot be called at the first call or later is too late.
    """
    facts = _started(facts)
    total = sum(group.count for group in at_start)
    never: Counter[GateCode] = Counter()
    for group in at_start:
        own = [gate for gate in own_gates(facts, group.facts, starts_at) if gate]
        if gone := next((gate.code for gate in own if gate.gate_class is GateClass.NEVER), None):
            never[gone] += group.count
    if opens_at is None:
        return Preview(total, 0, never, total - never.total(), None)
    passing = [passes_at(facts, group.facts, opens_at) != (None, True) for group in at_opening]
    open_ = sum(group.count for group, passes in zip(at_opening, passing, strict=True) if passes)
    called = floor(min(open_, _most_calls(facts, opens_at)))
    return Preview(total, called, never, total - never.total() - called, opens_at)


def _started(facts: BatchFacts) -> BatchFacts:
    if facts.batch.status in FINAL_BATCH:
        return facts
    return replace(facts, batch=replace(facts.batch, status=BatchStatus.ACTIVE))


def _most_calls(facts: BatchFacts, since: DateTime) -> float:
    """Say how many calls can start before the batch expires, at most: by its window, cap, slots and trunks' rates."""
    batch = facts.batch
    if batch.expires_at is None or batch.window is None:
        return float("inf")
    # What lies further ahead has as much time for calls as the first HORIZON.
    times = max(1.0, (batch.expires_at - since).total_seconds() / HORIZON_SECONDS)
    seconds, spans, days = _open_time(batch, batch.window, since, min(batch.expires_at, since + HORIZON))
    by_slots = batch.max_concurrent_calls * (spans + seconds / SHORTEST_CALL_SECONDS)
    by_cap = float("inf") if batch.max_calls_per_day is None else batch.max_calls_per_day * days - facts.today
    return max(0.0, times * min(by_slots, by_cap, _by_rate(facts.routes, seconds, spans)))


def _by_rate(routes: Sequence[NumberRoute], seconds: float, spans: int) -> float:
    rates = {route.trunk_id: route.rate for route in routes}
    if not rates or any(rate is None for rate in rates.values()):
        return float("inf")
    return sum(rate.limit * (spans + ceil(seconds * 1000 / rate.window_ms)) for rate in rates.values() if rate)


def _open_time(batch: Batch, window: CallingWindow, since: DateTime, until: DateTime) -> tuple[float, int, int]:
    """Add up the time in which the window is open: seconds, spans without a break, and local days."""
    if batch.respect_contact_timezone:
        # Some zone may be open at any time.
        seconds = (until - since).total_seconds()
        return seconds, 1, (window.local_day(until) - window.local_day(since)).days + 1
    total, spans, days = 0.0, 0, set()
    opens = window.next_open(since)
    while opens is not None and opens < until:
        closes = min(window.closes_at(opens) or until, until)
        total, spans = total + (closes - opens).total_seconds(), spans + 1
        first, last = window.local_day(opens), window.local_day(closes.subtract(microseconds=1))
        days |= {first.toordinal() + n for n in range((last - first).days + 1)}
        opens = window.next_open(closes)
    return total, spans, len(days)
