"""The gates of what contacts share: slots of batch, numbers and trunks, daily caps of numbers, rates of trunks.

Each says how many calls may still start. A contact passes if fewer contacts are called before it. Redis grants the
slots by the same limits (store/leases.lua).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, floor
from uuid import UUID

from pendulum import UTC, DateTime

from dialer.domain.batch import Batch
from dialer.domain.breaker import AGENT_PAUSE_SECONDS
from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.gates.of_batch import daily_cap
from dialer.domain.ids import TrunkId
from dialer.domain.slots import UNLIMITED, LimitKind, NumberRoute, SlotLimit
from dialer.domain.window import CallingWindow

# The codes of these gates, the last in the order of checking.
ROOM = {
    GateCode.DAILY_CAP,
    GateCode.BATCH_SLOTS_FULL,
    GateCode.REDIS_AWAY,
    GateCode.REDIS_REBUILDING,
    GateCode.NUMBER_ROOM,
    GateCode.NUMBER_DAY,
    GateCode.TRUNK_SLOTS_FULL,
    GateCode.TRUNK_RATE,
}


@dataclass(frozen=True, slots=True)
class Pace:
    """When the next departure of a trunk may be planned, in ms since the epoch. None: none was planned yet."""

    next_ms: float | None = None
    paused_until_ms: float = 0.0
    planned: int = 0  #: Departures that are planned and have not left.
    given_back_ms: tuple[float, ...] = ()  #: Times that were planned for calls that do not leave, in order.


@dataclass(frozen=True, slots=True)
class SlotUsage:
    """What Redis holds. `epoch`: under which it was loaded; None: it has lost its memory.

    `taken`: attempts in each limit; None: the calls of that day are not loaded yet.
    """

    epoch: UUID | None
    taken: Mapping[SlotLimit, int | None] = field(default_factory=dict)
    paces: Mapping[TrunkId, Pace] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Room:
    """How many more calls a gate lets start now. `blocked`: what it returns for a contact behind that many others."""

    code: GateCode
    left: int
    blocked: Callable[[int], Blocked]

    def check(self, ahead: int) -> Blocked | None:
        return None if ahead < self.left else self.blocked(ahead)


def rooms(
    batch: Batch, today: int, routes: Sequence[NumberRoute], usage: SlotUsage | None, now: DateTime
) -> list[Room]:
    """List the room under each shared limit, in the order of the codes. `usage` None: Redis does not answer."""
    shared = [_batch_room(batch, usage)]
    if batch.max_calls_per_day is not None and batch.window is not None:
        window = batch.window
        left = batch.max_calls_per_day - today
        shared.insert(0, Room(GateCode.DAILY_CAP, left, lambda ahead: _capped(batch, window, today, now, ahead)))
    if routes and all(route.number.agent_is_held for route in routes):
        shared.insert(0, _probes(routes, now))
    if usage is None:
        return [*shared, Room(GateCode.REDIS_AWAY, 0, lambda _: Blocked(GateCode.REDIS_AWAY))]
    if usage.epoch is None:
        return [*shared, Room(GateCode.REDIS_REBUILDING, 0, lambda _: Blocked(GateCode.REDIS_REBUILDING))]
    # Without any number that can be used, another gate says why.
    return [*shared, *route_rooms(routes, usage, now)] if routes else shared


def route_rooms(routes: Sequence[NumberRoute], usage: SlotUsage, now: DateTime) -> Iterator[Room]:
    """Count the calls that all these numbers and their trunks can take, with one more kind of limit each time."""
    by_trunk: dict[TrunkId, list[NumberRoute]] = defaultdict(list)
    for route in routes:
        by_trunk[route.trunk_id].append(route)
    trunks = [_trunk_room(of_trunk, usage, now) for of_trunk in by_trunk.values()]
    free_ms = min((trunk.free_ms for trunk in trunks if trunk.slots), default=0.0)
    free_at = now + timedelta(milliseconds=max(0.0, free_ms - _ms(now)))
    midnight = now.in_timezone(UTC).start_of("day").add(days=1)
    is_counting = any(taken is None for taken in usage.taken.values())
    yield _limited(GateCode.NUMBER_ROOM, LimitKind.NUMBER, sum(trunk.numbers for trunk in trunks), routes, usage)
    day_at = None if is_counting else midnight
    days = sum(trunk.days for trunk in trunks)
    yield _limited(GateCode.NUMBER_DAY, LimitKind.NUMBER_DAY, days, routes, usage, day_at)
    firsts = [of_trunk[0] for of_trunk in by_trunk.values()]
    yield _limited(GateCode.TRUNK_SLOTS_FULL, LimitKind.TRUNK, sum(trunk.slots for trunk in trunks), firsts, usage)
    paced = sum(min(trunk.slots, trunk.paced) for trunk in trunks)
    yield Room(GateCode.TRUNK_RATE, paced, lambda ahead: Blocked(GateCode.TRUNK_RATE, free_at, {"ahead": ahead}))


def _probes(routes: Sequence[NumberRoute], now: DateTime) -> Room:
    """Let one call on each trunk find out whether the agent, which is held on all of them, works again."""
    facts = {"trunks": sorted({route.number.trunk.name for route in routes})}
    blocked = Blocked(GateCode.AGENT_FAILING, now.add(seconds=AGENT_PAUSE_SECONDS), facts)
    return Room(GateCode.AGENT_FAILING, len({route.trunk_id for route in routes}), lambda _: blocked)


@dataclass(frozen=True, slots=True)
class _TrunkRoom:
    """The calls that one trunk can take: under its numbers' limits, also their daily caps, also its own, by its rate.

    `free_ms`: from when its rate lets a departure be planned.
    """

    numbers: int
    days: int
    slots: int
    paced: int
    free_ms: float


def _trunk_room(routes: Sequence[NumberRoute], usage: SlotUsage, now: DateTime) -> _TrunkRoom:
    numbers = [_left(route, LimitKind.NUMBER, usage) for route in routes]
    days = [min(left, _left(route, LimitKind.NUMBER_DAY, usage)) for left, route in zip(numbers, routes, strict=True)]
    slots = min(_left(routes[0], LimitKind.TRUNK, usage), sum(days))
    paced, free_ms = _paced(routes[0], usage.paces.get(routes[0].trunk_id, Pace()), _ms(now))
    if routes[0].number.agent_is_held:
        # One call finds out whether the agent works again.
        paced, free_ms = min(paced, 1), max(free_ms, _ms(now) + AGENT_PAUSE_SECONDS * 1000)
    return _TrunkRoom(sum(numbers), sum(days), slots, paced, free_ms)


def _left(route: NumberRoute, kind: LimitKind, usage: SlotUsage) -> int:
    """Say how many more attempts the limit of this kind allows; none while the calls of its day are not loaded."""
    for limit in route.limits:
        if limit.kind is kind and limit.limit is not None:
            taken = usage.taken.get(limit, 0)
            return 0 if taken is None else max(0, limit.limit - taken)
    return UNLIMITED


def _paced(route: NumberRoute, pace: Pace, now_ms: float) -> tuple[int, float]:
    """Say how many departures of a trunk may be planned now, and from when the next one may be, as leases.lua does."""
    if route.rate is None:
        return (UNLIMITED if pace.paused_until_ms <= now_ms else 0), pace.paused_until_ms
    interval, horizon, silence = route.rate.interval_ms, route.horizon_ms, route.silence_ms
    next_ms = pace.next_ms
    if next_ms is None:
        next_ms = now_ms + silence
    elif next_ms > now_ms + max(horizon, silence) + interval:
        next_ms = now_ms + min(horizon, interval)
    usable_from = max(now_ms - interval, pace.paused_until_ms)
    given_back = [at for at in pace.given_back_ms if usable_from <= at <= now_ms + horizon]
    leaves_ms = max(now_ms, next_ms, pace.paused_until_ms)
    first_ms = max(now_ms, given_back[0]) if given_back else leaves_ms
    is_full = pace.planned > horizon / interval
    free_ms = max(first_ms - horizon, now_ms + ceil(interval) if is_full else 0.0)
    if free_ms > now_ms:
        return 0, free_ms
    by_time = len(given_back) + max(0, floor((now_ms + horizon - leaves_ms) / interval) + 1)
    return max(0, min(by_time, floor(horizon / interval) - pace.planned + 1)), free_ms


def _limited(
    code: GateCode,
    kind: LimitKind,
    left: int,
    routes: Sequence[NumberRoute],
    usage: SlotUsage,
    not_before: DateTime | None = None,
) -> Room:
    """Make the room of all limits of one kind, with what is used of them."""

    def blocked(ahead: int) -> Blocked:
        limits = [limit for route in routes for limit in route.limits if limit.kind is kind and limit.limit is not None]
        used = sum(usage.taken.get(limit) or 0 for limit in limits)
        facts = {"used": used, "limit": sum(limit.limit or 0 for limit in limits), "ahead": ahead}
        return Blocked(code, not_before, facts)

    return Room(code, left, blocked)


def _ms(at: DateTime) -> float:
    return at.int_timestamp * 1000 + at.microsecond // 1000


def _batch_room(batch: Batch, usage: SlotUsage | None) -> Room:
    limit = SlotLimit.of_batch(batch.id, batch.max_concurrent_calls)
    used = max(batch.dialing, (usage and usage.taken.get(limit)) or 0)

    def blocked(ahead: int) -> Blocked:
        facts = {"used": used, "limit": batch.max_concurrent_calls, "ahead": ahead}
        return Blocked(GateCode.BATCH_SLOTS_FULL, facts=facts)

    return Room(GateCode.BATCH_SLOTS_FULL, batch.max_concurrent_calls - used, blocked)


def _capped(batch: Batch, window: CallingWindow, today: int, now: DateTime, ahead: int) -> Blocked:
    blocked = daily_cap(batch, window, today, now, ahead)
    assert blocked is not None
    return blocked
