"""Leases against the rules written out again in plain Python: the same grants, and the same memory after each step."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from uuid import UUID

import fakeredis
from hypothesis import given, settings
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId, NumberId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.domain.slots import BatchRoutes, Lease, NumberRoute, SlotLimit, SlotRequest
from dialer.domain.timeouts import HORIZON_SECONDS
from dialer.embedded import Servers
from dialer.store.lease_requests import day_key, limit_key, slot_keys
from dialer.store.leases import Leases
from support.lease_setup import NAMES, NOW, TODAY, TURN, outbound, rebuild, redis_contents

NUMBERS = [NumberId(UUID(int=n)) for n in (11, 12, 13)]
TRUNKS = [TrunkId(UUID(int=n)) for n in (21, 22)]
BATCHES = [BatchId(UUID(int=n)) for n in (31, 32)]
# Who is so late has died before its departure.
ABSENT_MS = 5000
LIMITS = st.none() | st.integers(1, 4)


@st.composite
def sites(draw: st.DrawFn) -> list[BatchRoutes]:
    """Two batches that share numbers and trunks, each with its own numbers in its own order."""
    rates = {
        trunk: draw(st.none() | st.builds(RateLimit, st.just(trunk), st.sampled_from([1, 2, 3, 7, 90]), st.just(1000)))
        for trunk in TRUNKS
    }
    trunk_limits = {trunk: SlotLimit.of_trunk(trunk, draw(LIMITS)) for trunk in TRUNKS}
    routes = []
    for number in NUMBERS:
        trunk, cap = draw(st.sampled_from(TRUNKS)), draw(LIMITS)
        limits = [SlotLimit.of_number(number, draw(LIMITS)), trunk_limits[trunk]]
        limits += [SlotLimit.of_number_day(number, TODAY, cap, "1")] if cap else []
        routes.append(NumberRoute(outbound(number, trunk), tuple(limits), rates[trunk]))
    return [
        BatchRoutes(
            batch,
            draw(st.integers(1, 5)),
            tuple(draw(st.permutations(routes))[: draw(st.integers(1, 3))]),
            draw(st.booleans()),
        )
        for batch in BATCHES
    ]


STEPS = st.one_of(
    st.tuples(st.just("acquire"), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99)), min_size=1, max_size=5)),
    st.tuples(st.just("wait"), st.integers(-700, 1500)),
    st.tuples(st.sampled_from(["release", "put_back", "forget"]), st.lists(st.integers(0, 99), max_size=3)),
)


@dataclass
class Model:
    """The rules, one request after the other."""

    sets: dict[str, set[AttemptId]] = field(default_factory=lambda: defaultdict(set))
    planned: dict[RateLimit, float] = field(default_factory=dict)
    waiting: dict[TrunkId, dict[AttemptId, int]] = field(default_factory=lambda: defaultdict(dict))
    given_back: dict[TrunkId, dict[AttemptId, int]] = field(default_factory=lambda: defaultdict(dict))
    cursors: dict[BatchId, NumberId] = field(default_factory=dict)
    held: dict[AttemptId, Lease] = field(default_factory=dict)
    past: list[Lease] = field(default_factory=list)

    def acquire(self, now: int, batch: BatchRoutes, request: SlotRequest) -> tuple[NumberId, int] | None:
        slots = SlotLimit.of_batch(batch.batch_id, batch.limit)
        if len(self.sets[limit_key(slots)]) >= batch.limit:
            return None
        for route in self.order(batch, request):
            at = self.room(now, route)
            if at is not None:
                self.hold(request.attempt_id, batch, route, slots, at)
                return route.number_id, ceil(at)
        return None

    def order(self, batch: BatchRoutes, request: SlotRequest) -> list[NumberRoute]:
        if not batch.round_robin:
            return [batch.routes[index] for index in request.order]
        listed = [route.number_id for route in batch.routes]
        last = self.cursors.get(batch.batch_id)
        first = listed.index(last) + 1 if last in listed else 0
        return [*batch.routes[first:], *batch.routes[:first]]

    def room(self, now: int, route: NumberRoute) -> float | None:
        if any(limit.limit is not None and len(self.sets[limit_key(limit)]) >= limit.limit for limit in route.limits):
            return None
        if route.rate is None:
            return now
        horizon = HORIZON_SECONDS * 1000
        planned = self.planned.setdefault(route.rate, now + route.rate.window_ms)
        if planned > now + horizon + route.rate.interval_ms:
            planned = self.planned[route.rate] = now + min(horizon, route.rate.interval_ms)
        given_back = self.given_back[route.trunk_id]
        first = now - route.rate.interval_ms
        for name in [name for name, given_at in given_back.items() if not first <= given_at <= now + horizon]:
            del given_back[name]
        at = max(now, min(given_back.values(), default=planned))
        waiting = self.waiting[route.trunk_id]
        for name in [name for name, leaves_at in waiting.items() if leaves_at <= now - ABSENT_MS]:
            del waiting[name]
        return at if at <= now + horizon and len(waiting) <= horizon / route.rate.interval_ms else None

    def hold(self, name: AttemptId, batch: BatchRoutes, route: NumberRoute, slots: SlotLimit, at: float) -> None:
        for limit in (slots, *route.limits):
            self.sets[limit_key(limit)].add(name)
        if route.rate:
            if given_back := self.given_back[route.trunk_id]:
                del given_back[min(given_back, key=lambda name: (given_back[name], str(name)))]
            else:
                self.planned[route.rate] = at + route.rate.interval_ms
            self.waiting[route.trunk_id][name] = ceil(at)
        if batch.round_robin:
            self.cursors[batch.batch_id] = route.number_id
        self.held[name] = Lease(name, batch.batch_id, route.number_id, route.trunk_id, TODAY)
        self.past.append(self.held[name])

    def give_back(self, how: str, lease: Lease) -> None:
        if how == "forget" and lease.attempt_id not in self.held:
            return
        self.held.pop(lease.attempt_id, None)
        if how != "release" and (at := self.waiting[lease.trunk_id].pop(lease.attempt_id, None)) is not None:
            self.given_back[lease.trunk_id][lease.attempt_id] = at
        day = [] if how == "release" else [day_key(lease.number_id, lease.utc_on)]
        for key in (*slot_keys(lease), *day):
            self.sets[key].discard(lease.attempt_id)


def follow(leases: Leases, batches: list[BatchRoutes], steps: list[tuple[str, Any]]) -> None:
    rebuild(leases, capped=NUMBERS)
    model, now = Model(), NOW
    for step, what in steps:
        if step == "wait":
            now = now.add(microseconds=1000 * what)
        elif step == "acquire":
            wanted = [_request(batches[index], seed) for index, seed in what]
            granted = leases.acquire(now, batches, wanted).granted
            granted_at = {grant.attempt_id: (grant.number.id, _ms(grant.leaves_at)) for grant in granted}
            for request, (index, _) in zip(wanted, what, strict=True):
                assert granted_at.get(request.attempt_id) == model.acquire(_ms(now), batches[index], request)
        elif model.past:
            _give_back(leases, model, step, [model.past[index % len(model.past)] for index in what])
        assert _slots(leases) == {
            key: {str(attempt_id) for attempt_id in names} for key, names in model.sets.items() if names
        }
    assert {str(name) for name in model.held} == redis_contents(leases).get("{dialer}:holds", {}).keys()


def _give_back(leases: Leases, model: Model, how: str, given_back: list[Lease]) -> None:
    if how == "forget":
        leases.forget([lease.attempt_id for lease in given_back])
    else:
        {"release": leases.release, "put_back": leases.put_back}[how](given_back)
    for lease in given_back:
        model.give_back(how, lease)


def _request(batch: BatchRoutes, seed: int) -> SlotRequest:
    count = len(batch.routes)
    turned = tuple((seed + step) % count for step in range(count))
    return SlotRequest(next(NAMES), batch.batch_id, TURN, () if batch.round_robin else turned)


def _slots(leases: Leases) -> dict[str, set[str]]:
    return {
        key: names
        for key, names in redis_contents(leases).items()
        if key.startswith(("{dialer}:slots:", "{dialer}:day:"))
    }


def _ms(at: DateTime) -> int:
    return at.int_timestamp * 1000 + at.microsecond // 1000


@settings(max_examples=80)
@given(sites(), st.lists(STEPS, max_size=20))
def test_leases_are_granted_by_the_rules_and_no_others(
    batches: list[BatchRoutes], steps: list[tuple[str, Any]]
) -> None:
    leases = Leases(fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True), is_virtual=True)
    follow(leases, batches, steps)
    leases.close()


@settings(max_examples=80)
@given(batches=sites(), steps=st.lists(STEPS, max_size=20))
def test_a_real_server_grants_them_by_the_same_rules(
    servers: Servers, batches: list[BatchRoutes], steps: list[tuple[str, Any]]
) -> None:
    leases = Leases(servers.redis_url, is_virtual=True)
    follow(leases, batches, steps)
    leases.close()
