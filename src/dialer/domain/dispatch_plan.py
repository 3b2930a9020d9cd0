"""What dispatch decides: how many calls each batch may start now, on what terms, and when to dispatch it again.

Pure: values that were read come in; slot requests, offers and next dispatches go out. Which numbers are used is in
`rotation`, how long a grant may be used in `calling_span`, how batches share trunks in `fairness`.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from math import ceil
from random import Random

from pendulum import UTC, DateTime

from dialer.domain import pacing
from dialer.domain.allowed_by import allowed_by
from dialer.domain.attempt import Offer
from dialer.domain.batch import Batch, BatchCounts, NextDispatch
from dialer.domain.breaker import PROBE_SECONDS
from dialer.domain.calling_span import CallingSpan
from dialer.domain.fairness import Demand, fair_order, weight_of
from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.gates.of_batch import batch_gates, hold_of
from dialer.domain.gates.of_contact import lane_hours
from dialer.domain.hold import CONFIGURATION_AGAIN, LEASES_AGAIN, NEIGHBOUR_AGAIN, NUMBER_DAY_AGAIN, Hold
from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId, uuid7
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.pacing import RateLimit
from dialer.domain.rotation import number_order, usable_numbers
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.slots import (
    UNLIMITED,
    BatchRoutes,
    NumberRoute,
    SlotGrant,
    SlotGrants,
    SlotLimit,
    SlotRequest,
    Turn,
)
from dialer.domain.timeouts import HORIZON_SECONDS
from dialer.domain.trunk import OutboundNumber


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What one batch may do now. `today`: attempts that count toward its daily cap. `wanted`: calls it may start.

    `turns`: a call each. `opens_at`: when the first of the closed lanes opens. `dead_lanes`: those that never open.
    """

    batch: Batch
    numbers: tuple[OutboundNumber, ...]
    today: int
    hold: Hold | None = None
    wanted: int = 0
    turns: tuple[Turn, ...] = ()
    opens_at: DateTime | None = None
    dead_lanes: tuple[Lane, ...] = ()

    def is_expired(self, now: DateTime) -> bool:
        return self.batch.expires_at is not None and self.batch.expires_at <= now

    def has_cap_room(self, used: int) -> bool:
        """Say whether the daily cap allows another call after this many."""
        return self.batch.max_calls_per_day is None or used < self.batch.max_calls_per_day


def plan_batch(
    batch: Batch,
    numbers: Sequence[OutboundNumber],
    today: int,
    now: DateTime,
    without_listener: Set[TrunkId] = frozenset(),
    not_permitted: Set[TrunkId] = frozenset(),
) -> BatchPlan:
    """Decide how many calls an active batch may start now, before the lanes of its contacts are looked at.

    `without_listener`, `not_permitted`: trunks that must not be used, see `rotation.usable_numbers`.
    """
    choice = usable_numbers(numbers, now, without_listener, not_permitted)
    plan = BatchPlan(batch, choice.numbers, today)
    if blocked := next(filter(None, batch_gates(batch, choice.blocked, today, now)), None):
        return replace(plan, hold=hold_of(blocked))
    most = 1 if choice.probes_agent else _most_planned(plan.numbers)
    free = pacing.free_slots(batch.max_concurrent_calls, batch.dialing, batch.pending, batch.max_calls_per_day, today)
    plan = replace(plan, wanted=min(free, most))
    return plan if batch.has_lanes else with_lanes(plan, [NO_LANE] * free, now)


def _most_planned(numbers: Sequence[OutboundNumber]) -> int:
    """Say how many calls the rates of these numbers' trunks let leave within the horizon, at most."""
    rates = {number.trunk.id: number.trunk_calls_per_second for number in numbers}
    return sum(UNLIMITED if rate is None else ceil(rate * HORIZON_SECONDS) + 1 for rate in rates.values())


def with_lanes(plan: BatchPlan, lanes: Sequence[Lane], now: DateTime) -> BatchPlan:
    """Give a batch its turns: the first wanted ones of these lanes, in calling order, whose windows are open."""
    spans = {lane: lane_hours(lane, plan.batch, now) for lane in dict.fromkeys(lanes)}
    turns = [Turn(lane, span) for lane in lanes if isinstance(span := spans[lane], CallingSpan)]
    closed = {lane: blocked for lane, blocked in spans.items() if isinstance(blocked, Blocked)}
    return replace(
        plan,
        # A contact that keeps to its number may find it full. Those behind it are requested too; the slots decide.
        turns=tuple(turns if plan.batch.sticky_caller_id else turns[: plan.wanted]),
        opens_at=min((blocked.not_before for blocked in closed.values() if blocked.not_before), default=None),
        dead_lanes=tuple(lane for lane, blocked in closed.items() if blocked.code is GateCode.WINDOW_NEVER_OPENS),
    )


def slot_requests(plans: Mapping[BatchId, BatchPlan], now: DateTime, rng: Random) -> list[SlotRequest]:
    """Name an attempt for each turn, and put all of them in the order that shares trunks fairly."""
    demands = {
        plan.batch.id: Demand(plan.batch.dialing, len(plan.turns), weight_of(plan.batch.priority))
        for plan in plans.values()
    }
    turns: dict[BatchId, Iterator[Turn]] = {batch_id: iter(plan.turns) for batch_id, plan in plans.items()}
    return [_request(plans[batch_id], next(turns[batch_id]), now, rng) for batch_id in fair_order(demands)]


def _request(plan: BatchPlan, turn: Turn, now: DateTime, rng: Random) -> SlotRequest:
    attempt_id = AttemptId(uuid7(now, rng))
    order = number_order(plan.batch.strategy, plan.numbers, turn.lane.number_id, rng)
    return SlotRequest(attempt_id, plan.batch.id, turn, order)


def batch_routes(plans: Mapping[BatchId, BatchPlan], now: DateTime) -> list[BatchRoutes]:
    """Describe the limits that the requests of each batch fall under."""
    return [
        BatchRoutes(
            plan.batch.id,
            plan.batch.max_concurrent_calls,
            tuple(number_route(number, now) for number in plan.numbers),
            round_robin=plan.batch.strategy is RotationStrategy.ROUND_ROBIN,
        )
        for plan in plans.values()
        if plan.turns
    ]


def number_route(number: OutboundNumber, now: DateTime) -> NumberRoute:
    """Describe the limits that calls from this number fall under."""
    limits = [
        SlotLimit.of_number(number.id, number.max_concurrent_calls),
        SlotLimit.of_trunk(number.trunk.id, number.trunk_max_concurrent_calls),
    ]
    if number.max_calls_per_day is not None:
        day = now.in_timezone(UTC).date()
        limits.append(SlotLimit.of_number_day(number.id, day, number.max_calls_per_day, number.version))
    rate, is_probe = number.trunk_calls_per_second, number.trunk_probe_at is not None
    if is_probe:
        rate = min(rate or 1, 1 / PROBE_SECONDS)
    rate_limit = RateLimit.per_second(number.trunk.id, rate) if rate is not None else None
    return NumberRoute(number, tuple(limits), rate_limit, is_probe)


def offers_of(batch: Batch, grants: Sequence[SlotGrant], now: DateTime) -> list[Offer]:
    """Describe the granted slots of a batch to the ledger, with all limits by which they were allowed."""
    assert batch.window is not None
    local_on, utc_on = batch.window.local_day(now), now.in_timezone(UTC).date()
    # Most calls of a batch are allowed by the same limits.
    limits: dict[tuple[NumberId, Lane], str] = {}
    for grant in grants:
        if (grant.number.id, grant.turn.lane) not in limits:
            limits[grant.number.id, grant.turn.lane] = allowed_by(batch, batch.window, grant)
    return [_offer(grant, local_on, utc_on, limits[grant.number.id, grant.turn.lane]) for grant in grants]


def _offer(grant: SlotGrant, local_on: date, utc_on: date, limits: str) -> Offer:
    number, span = grant.number, grant.turn.span
    return Offer(
        attempt_id=grant.attempt_id,
        batch_id=grant.batch_id,
        lane=grant.turn.lane,
        number_id=number.id,
        trunk_id=number.trunk.id,
        from_number=number.phone_number,
        number_version=number.version,
        granted_at=grant.leaves_at,
        valid_from=span.valid_from,
        valid_until=span.valid_until,
        local_on=local_on,
        utc_on=utc_on,
        allowed_by=limits,
    )


def next_dispatch(plan: BatchPlan, after: BatchCounts, claimed: int, grants: SlotGrants, now: DateTime) -> NextDispatch:
    """Decide when a batch must be dispatched again, and what holds it back until then."""
    at, reason = _next_dispatch(plan, after, claimed, grants, now)
    expires_at = plan.batch.expires_at
    if expires_at is not None and now < expires_at:
        at = min(at or expires_at, expires_at)
    return NextDispatch(plan.batch.id, at, reason)


def _next_dispatch(
    plan: BatchPlan, after: BatchCounts, claimed: int, grants: SlotGrants, now: DateTime
) -> tuple[DateTime | None, str | None]:
    if plan.hold is not None:
        return plan.hold.until, plan.hold.reason
    if not after.pending:
        return None, "retry" if after.waiting else "calls"
    if after.dialing >= plan.batch.max_concurrent_calls:
        return None, "slots"
    if not plan.has_cap_room(plan.today + claimed):
        return now, "daily_cap"
    if plan.wanted and not plan.turns:
        return _when_lane_opens(plan, after, now), "contact_timezone"
    if plan.turns and grants.epoch is None:
        return now.add(seconds=LEASES_AGAIN), "leases"
    return _when_room(plan.batch.id, claimed, grants, now)


def _when_lane_opens(plan: BatchPlan, after: BatchCounts, now: DateTime) -> DateTime:
    """Find when one of the closed lanes opens; at once if contacts have come since, for their lanes may be open."""
    if after.pending != plan.batch.pending:
        return now
    return plan.opens_at or now.add(seconds=CONFIGURATION_AGAIN)


def _when_room(
    batch_id: BatchId, claimed: int, grants: SlotGrants, now: DateTime
) -> tuple[DateTime | None, str | None]:
    """Find when there may be room again: at once where every request was granted, or not every grant was used.

    Settle hands on a slot that another batch frees, so the times here only replace a hand-over that was lost, or count
    on a day's allowance that is given back.
    """
    if claimed < sum(grant.batch_id == batch_id for grant in grants.granted):
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
