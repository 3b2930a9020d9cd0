"""What dispatch decides, as values: how many calls each batch may start now, on what terms, and when to look again.

Pure: rows that were read come in, asks, offers and looks go out. Nothing here reads the clock, Postgres or Redis.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import ceil
from random import Random
from typing import Any

from pendulum import UTC, DateTime

from dialer.domain import pacing, rotation
from dialer.domain.breaker import PROBE_SECONDS
from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId, uuid7
from dialer.domain.lane import Lane
from dialer.domain.pacing import Demand, RateLimit
from dialer.domain.rotation import RotationStrategy
from dialer.domain.timeouts import GRANT_SECONDS, HORIZON_SECONDS, RING_LEAD_SECONDS
from dialer.domain.window import CallingWindow, next_open_all
from dialer.errors import InvalidInput
from dialer.store.batches import Batch
from dialer.store.contacts import Offer
from dialer.store.lease_requests import UNLIMITED, Ask, BatchAsk, Gate, Granted, Grants, Route
from dialer.store.numbers import OutboundNumber
from dialer.store.progress import Counts, Look

# How soon to look again where the event that should say that something has changed may be lost, in seconds.
CONFIGURATION_AGAIN = 60
LISTENER_AGAIN = 5
NEIGHBOUR_AGAIN = 2
LEASES_AGAIN = 1
NUMBER_DAY_AGAIN = 600


@dataclass(frozen=True, slots=True)
class Span:
    """When a call may start: while the ledger's clock is in [valid_from, valid_until). `ring_by`: the window's end."""

    valid_from: DateTime
    valid_until: DateTime
    ring_by: DateTime | None


@dataclass(frozen=True, slots=True)
class Turn:
    """One call that a batch may start now, for the next contact of this lane."""

    lane: str
    span: Span


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing of a batch may be called, and until when. `is_final`: it never can be again."""

    reason: str
    until: DateTime | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What one batch may do now. `today`: attempts that count toward its cap. `opens_at`: when a closed lane opens.

    `dead_lanes`: those that never open.
    """

    batch: Batch
    numbers: tuple[OutboundNumber, ...]
    today: int
    hold: Hold | None = None
    wanted: int = 0
    turns: tuple[Turn, ...] = ()
    opens_at: DateTime | None = None
    dead_lanes: tuple[str, ...] = ()

    def is_expired(self, now: DateTime) -> bool:
        return self.batch.expires_at is not None and self.batch.expires_at <= now

    def number(self, number_id: NumberId) -> OutboundNumber:
        """Find one of the numbers that this plan may use."""
        (found,) = (number for number in self.numbers if number.id == number_id)
        return found

    def cap_room(self, used: int) -> bool:
        """Say whether the day's cap allows another call after this many."""
        return self.batch.max_calls_per_day is None or used < self.batch.max_calls_per_day


def plan_batch(
    batch: Batch,
    numbers: Sequence[OutboundNumber],
    today: int,
    now: DateTime,
    unheard: Set[TrunkId] = frozenset(),
    not_permitted: Set[TrunkId] = frozenset(),
) -> Plan:
    """Decide how many calls an active batch may start now, before its contacts' own lanes are looked at.

    `unheard`: the trunks that nobody hears and that must be heard, because only a report tells how a call ended.
    `not_permitted`: the trunks that do not let answered calls go to the batch's agent.
    """
    active = [number for number in numbers if number.is_usable]
    permitted = [number for number in active if number.trunk.id not in not_permitted]
    answering = [number for number in permitted if not number.agent_is_held or _is_due(number.agent_probe_at, now)]
    heard = [number for number in answering if number.trunk.id not in unheard]
    usable = tuple(number for number in heard if number.trunk_probe_at is None or number.trunk_probe_at <= now)
    plan = Plan(batch, usable, today)
    unusable = _agent_hold(active, permitted, answering, now) or _unusable(numbers, answering, heard, now)
    if hold := _hold(plan, unusable, now):
        return replace(plan, hold=hold)
    # One call asks whether the agent's destination is there again.
    most = 1 if all(number.agent_is_held for number in usable) else _most_planned(usable)
    wanted = pacing.free_slots(batch.max_concurrent_calls, batch.dialing, batch.pending, batch.max_calls_per_day, today)
    plan = replace(plan, wanted=min(wanted, most))
    return plan if batch.has_lanes else with_lanes(plan, [""] * wanted, now)


def _most_planned(numbers: Sequence[OutboundNumber]) -> int:
    """Say how many calls the rates of these numbers' trunks let leave within the horizon, at most."""
    rates = {number.trunk.id: number.trunk_calls_per_second for number in numbers}
    return sum(UNLIMITED if rate is None else ceil(rate * HORIZON_SECONDS) + 1 for rate in rates.values())


def with_lanes(plan: Plan, lanes: Sequence[str], now: DateTime) -> Plan:
    """Give a batch its turns: the first wanted ones of these lanes, in calling order, whose windows are open."""
    assert plan.batch.window is not None
    read = {lane: _windows(lane, plan.batch.window) for lane in dict.fromkeys(lanes)}
    windows = {lane: found for lane, found in read.items() if found}
    spans = {lane: span_of(windows[lane], plan.batch.window, now) for lane in windows}
    turns = [Turn(lane, span) for lane in lanes if (span := spans.get(lane))]
    openings = {lane: _opens_at(windows[lane], now) for lane, span in spans.items() if span is None}
    return replace(
        plan,
        # Turns that stick to a number may find it full: those behind them are asked for too, and slots decide.
        turns=tuple(turns if plan.batch.sticky_caller_id else turns[: plan.wanted]),
        opens_at=min((opening for opening in openings.values() if opening), default=None),
        dead_lanes=tuple(lane for lane, opening in openings.items() if opening is None),
    )


def _windows(lane: str, window: CallingWindow) -> Sequence[CallingWindow]:
    """Read the windows of a lane; none: a zone of it is unknown to this system, so nobody in it is called."""
    try:
        return Lane.parse(lane).windows(window)
    except InvalidInput:
        return ()


def _is_due(at: DateTime | None, now: DateTime) -> bool:
    return at is not None and at <= now


def _agent_hold(
    active: Sequence[OutboundNumber],
    permitted: Sequence[OutboundNumber],
    answering: Sequence[OutboundNumber],
    now: DateTime,
) -> Hold | None:
    """Say why answered calls would have nowhere to go, where that is so on every active trunk."""
    if answering or not active:
        return None
    again = [number.agent_probe_at for number in permitted if number.agent_probe_at]
    reason = "agent_failing" if permitted else "agent_not_permitted"
    return Hold(reason, min(again, default=now.add(seconds=CONFIGURATION_AGAIN)))


def _unusable(
    numbers: Sequence[OutboundNumber], active: Sequence[OutboundNumber], heard: Sequence[OutboundNumber], now: DateTime
) -> Hold:
    """Say why a batch whose numbers cannot be used is held: it has none, or none that is active, or heard, or works."""
    if not numbers:
        return Hold("no_outbound_number", is_final=True)
    if not active:
        return Hold("no_active_number", now.add(seconds=CONFIGURATION_AGAIN))
    again = [number.trunk_probe_at for number in heard if number.trunk_probe_at]
    if len(heard) < len(active):
        again.append(now.add(seconds=LISTENER_AGAIN))
    return Hold("trunk_failing" if heard else "trunk_unheard", min(again, default=now))


def _hold(plan: Plan, unusable: Hold, now: DateTime) -> Hold | None:
    """Say what keeps the whole batch from calling, the first reason that applies. `unusable`: where no number is."""
    batch, later = plan.batch, now.add(seconds=CONFIGURATION_AGAIN)
    if plan.is_expired(now):
        return Hold("expired")
    if not plan.numbers:
        return unusable
    if not batch.agent_is_active:
        return Hold("agent_inactive", later)
    if batch.window is None:
        return Hold("window_unreadable", later)
    if not batch.respect_contact_timezone and span_of([batch.window], batch.window, now) is None:
        return _until_open("window", _opens_at([batch.window], now))
    if not plan.cap_room(plan.today):
        _, tomorrow = batch.window.day_span(now)
        if batch.respect_contact_timezone:
            return Hold("daily_cap", tomorrow)
        return _until_open("daily_cap", next_open_all([batch.window], tomorrow))
    return None


def _until_open(reason: str, opens_at: DateTime | None) -> Hold:
    return Hold("window_never_opens", is_final=True) if opens_at is None else Hold(reason, opens_at)


def span_of(windows: Sequence[CallingWindow], own: CallingWindow, now: DateTime) -> Span | None:
    """Find the time in which a call that is granted now may start; None: it may not.

    All windows must be open. It ends a little before they close, so that the call rings inside; at the end of the
    batch's local day and of the UTC day, for whose caps it is granted; and with the patience for a grant.
    """
    if not all(window.is_open(now) for window in windows):
        return None
    opened, closes = zip(*(window.open_span(now) for window in windows), strict=True)
    closing = min((at for at in closes if at is not None), default=None)
    day_begin, day_end = own.day_span(now)
    utc_begin = now.in_timezone(UTC).start_of("day")
    valid_from = max(*opened, day_begin, utc_begin)
    ends = [day_end, utc_begin.add(days=1), now.add(seconds=GRANT_SECONDS)]
    if closing is not None:
        ends.append(closing.subtract(seconds=RING_LEAD_SECONDS))
    return Span(valid_from, min(ends), closing) if now < min(ends) else None


def _opens_at(windows: Sequence[CallingWindow], now: DateTime) -> DateTime | None:
    """Find when windows that allow no call now allow one again; just before their end they are open, but too late."""
    opens_at = next_open_all(windows, now)
    if opens_at != now:
        return opens_at
    closes = [at for window in windows if (at := window.closes_at(now)) is not None]
    return next_open_all(windows, min(closes)) if closes else now


def requests_of(plans: Mapping[BatchId, Plan], now: DateTime, rng: Random) -> tuple[list[BatchAsk], dict[Ask, Turn]]:
    """Name an attempt for each turn and put all of them in the order that shares trunks fairly."""
    demands = {
        plan.batch.id: Demand(plan.batch.dialing, len(plan.turns), weight=11 - plan.batch.priority)
        for plan in plans.values()
    }
    turns: dict[BatchId, Iterator[Turn]] = {batch_id: iter(plan.turns) for batch_id, plan in plans.items()}
    asks: dict[Ask, Turn] = {}
    for batch_id in pacing.fair_order(demands):
        turn = next(turns[batch_id])
        asks[Ask(AttemptId(uuid7(now, rng)), batch_id, _order(plans[batch_id], turn, rng))] = turn
    return [_batch_ask(plan, now) for plan in plans.values() if plan.turns], asks


def _order(plan: Plan, turn: Turn, rng: Random) -> tuple[int, ...]:
    """Choose the order of numbers to try: the sticky one alone while it can be used, else by the batch's strategy."""
    sticky = Lane.parse(turn.lane).number_id if "|" in turn.lane else None
    for index, number in enumerate(plan.numbers):
        if sticky == number.id:
            return (index,)
    return rotation.order(plan.batch.strategy, len(plan.numbers), rng)


def _batch_ask(plan: Plan, now: DateTime) -> BatchAsk:
    return BatchAsk(
        plan.batch.id,
        plan.batch.max_concurrent_calls,
        tuple(_route(number, now) for number in plan.numbers),
        round_robin=plan.batch.strategy is RotationStrategy.ROUND_ROBIN,
    )


def _route(number: OutboundNumber, now: DateTime) -> Route:
    gates = [
        Gate.of_number(number.id, number.max_concurrent_calls),
        Gate.of_trunk(number.trunk.id, number.trunk_max_concurrent_calls),
    ]
    if number.max_calls_per_day is not None:
        day = now.in_timezone(UTC).date()
        gates.append(Gate.of_number_day(number.id, day, number.max_calls_per_day, number.version))
    rate, is_probe = number.trunk_calls_per_second, number.trunk_probe_at is not None
    if is_probe:
        rate = min(rate or 1, 1 / PROBE_SECONDS)
    limit = RateLimit.per_second(number.trunk.id, rate) if rate is not None else None
    return Route(number.id, number.trunk.id, tuple(gates), limit, is_probe)


def offer_of(plan: Plan, granted: Granted, turn: Turn, now: DateTime) -> Offer:
    """Describe a granted slot to the ledger, with all that it was allowed by."""
    number = plan.number(granted.route.number_id)
    assert plan.batch.window is not None
    return Offer(
        attempt_id=granted.ask.attempt_id,
        batch_id=plan.batch.id,
        lane=turn.lane,
        number_id=number.id,
        trunk_id=number.trunk.id,
        from_number=number.phone_number,
        number_version=number.version,
        granted_at=granted.at,
        valid_from=turn.span.valid_from,
        valid_until=turn.span.valid_until,
        local_on=plan.batch.window.local_day(now),
        utc_on=now.in_timezone(UTC).date(),
        allowed_by=json.dumps(_allowed_by(plan.batch, plan.batch.window, number, granted, turn)),
    )


def _allowed_by(
    batch: Batch, window: CallingWindow, number: OutboundNumber, granted: Granted, turn: Turn
) -> dict[str, Any]:
    """Write down every limit in force, so that the promises can be recomputed from the ledger alone."""
    rate = granted.route.rate
    return {
        "version": batch.version,
        "needs_permit": True,
        "strategy": batch.strategy,
        "timezones": list(Lane.parse(turn.lane).zones) or [window.timezone],
        "day_timezone": window.timezone,
        "start_time": window.start_time and f"{window.start_time:%H:%M}",
        "end_time": window.end_time and f"{window.end_time:%H:%M}",
        "working_days": sorted(window.working_days),
        "excluded_dates": sorted(day.isoformat() for day in window.excluded_dates),
        "max_concurrent_calls": batch.max_concurrent_calls,
        "max_calls_per_day": batch.max_calls_per_day,
        "max_attempts": 1 + (batch.retry.max_attempts if batch.retry.enabled else 0),
        "number_max_concurrent_calls": number.max_concurrent_calls,
        "number_max_calls_per_day": number.max_calls_per_day,
        "trunk_max_concurrent_calls": number.trunk_max_concurrent_calls,
        "trunk_rate_limit": rate and rate.limit,
        "trunk_rate_window_ms": rate and rate.window_ms,
    }


def look_again(plan: Plan, after: Counts, claimed: int, grants: Grants, now: DateTime) -> Look:
    """Decide when dispatch must look at a batch again, and what holds it back until then."""
    at, reason = _next_look(plan, after, claimed, grants, now)
    expires_at = plan.batch.expires_at
    if expires_at is not None and now < expires_at:
        at = min(at or expires_at, expires_at)
    return Look(plan.batch.id, at, reason)


def _next_look(
    plan: Plan, after: Counts, claimed: int, grants: Grants, now: DateTime
) -> tuple[DateTime | None, str | None]:
    if plan.hold is not None:
        return plan.hold.until, plan.hold.reason
    if not after.pending:
        return None, "retry" if after.waiting else "calls"
    if after.dialing >= plan.batch.max_concurrent_calls:
        return None, "slots"
    if not plan.cap_room(plan.today + claimed):
        return now, "daily_cap"
    if plan.wanted and not plan.turns:
        return _when_lane_opens(plan, after, now), "contact_timezone"
    if plan.turns and grants.epoch is None:
        return now.add(seconds=LEASES_AGAIN), "leases"
    return _when_room(plan.batch.id, claimed, grants, now)


def _when_lane_opens(plan: Plan, after: Counts, now: DateTime) -> DateTime:
    """Find when one of the closed lanes opens; at once if contacts have come since, for their lanes may be open."""
    if after.pending != plan.batch.pending:
        return now
    return plan.opens_at or now.add(seconds=CONFIGURATION_AGAIN)


def _when_room(batch_id: BatchId, claimed: int, grants: Grants, now: DateTime) -> tuple[DateTime | None, str | None]:
    """Look at once where all that was asked for was granted, or not all that was granted was used; else when there may
    be room. A slot that another batch frees is passed on by settle; these times only stand in for a hand-over that was
    lost, or for a day's allowance that was given back.
    """
    if claimed < sum(one.ask.batch_id == batch_id for one in grants.granted):
        return now, None
    match grants.held.get(batch_id):
        case None:
            return now, None
        case "rate":
            return grants.free_at[batch_id], "rate"
        case "slots":
            return now.add(seconds=LEASES_AGAIN), "slots"
        case "number_day":
            tomorrow = now.in_timezone(UTC).start_of("day").add(days=1)
            return min(tomorrow, now.add(seconds=NUMBER_DAY_AGAIN)), "number_day"
        case other:
            return now.add(seconds=NEIGHBOUR_AGAIN), other
