"""Leases: what each call promises, on a Redis within this process and on a real server alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from math import ceil
from typing import Any
from unittest.mock import patch
from uuid import UUID

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.domain.slots import BatchRoutes, Lease, RateAllowance, SlotGrant, SlotLimit
from dialer.errors import Unavailable
from dialer.store.leases import LEASE_KINDS, Leases
from support.lease_setup import (
    BATCH,
    EPOCH_ID,
    NAMES,
    NOW,
    OTHER,
    RATE,
    TODAY,
    TRUNK,
    A,
    B,
    C,
    acquire,
    lease,
    number_ids,
    ordered_ask,
    rebuild,
    redis_contents,
    requests,
    round_robin_ask,
    route,
)

OTHER_TRUNK = TrunkId(UUID(int=44))


@pytest.fixture(params=["in this process", "real"])
def leases(request: pytest.FixtureRequest) -> Iterator[Leases]:
    if request.param == "real":
        made = Leases(request.getfixturevalue("servers").redis_url, is_virtual=True)
    else:
        made = Leases(fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True), is_virtual=True)
    made._redis.flushdb()
    rebuild(made)
    yield made
    made.close()


LIMITS = pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (ordered_ask(route(), limit=3), "slots"),
        (ordered_ask(route(number_limit=3)), "number"),
        (ordered_ask(route(trunk_limit=3)), "trunk"),
        (ordered_ask(route(cap=3)), "number_day"),
    ],
)


@LIMITS
def test_no_more_is_granted_than_a_limit_allows_and_the_reason_is_named(
    leases: Leases, batch: BatchRoutes, reason: str
) -> None:
    wanted = requests(batch, 5)
    grants = leases.acquire(NOW, [batch], wanted)
    assert [grant.request for grant in grants.granted] == wanted[:3]
    assert grants.held == {BATCH: reason}
    assert acquire(leases, batch, 2) == ()


@LIMITS
def test_a_slot_that_was_put_back_is_granted_again_but_a_call_that_was_made_keeps_counting_for_its_day(
    leases: Leases, batch: BatchRoutes, reason: str
) -> None:
    first, second, _ = acquire(leases, batch, 3)
    leases.put_back([lease(first)])
    assert len(acquire(leases, batch, 2)) == 1
    leases.release([lease(second)])
    assert len(acquire(leases, batch, 2)) == (0 if reason == "number_day" else 1)


@LIMITS
def test_who_is_refused_holds_nothing_anywhere(leases: Leases, batch: BatchRoutes, reason: str) -> None:
    acquire(leases, batch, 3)
    before = redis_contents(leases)
    acquire(leases, batch, 3)
    assert redis_contents(leases) == before


@LIMITS
def test_a_limit_that_is_set_or_lowered_later_counts_those_who_hold_already(
    leases: Leases, batch: BatchRoutes, reason: str
) -> None:
    acquire(leases, ordered_ask(route(cap=100)), 3)
    assert acquire(leases, batch, 1) == ()


def test_limits_of_a_number_and_a_trunk_are_shared_by_batches_in_the_order_of_the_requests(leases: Leases) -> None:
    first, second = ordered_ask(route(trunk_limit=4)), ordered_ask(route(trunk_limit=4), batch=OTHER)
    mixed = [ask for pair in zip(requests(first, 5), requests(second, 5), strict=True) for ask in pair]
    grants = leases.acquire(NOW, [first, second], mixed)
    assert [granted.request for granted in grants.granted] == mixed[:4]
    assert grants.held == {BATCH: "trunk", OTHER: "trunk"}


def test_linear_hunting_uses_up_one_number_before_the_next(leases: Leases) -> None:
    batch = ordered_ask(route(A, number_limit=2), route(B, number_limit=1), route(C))
    granted = acquire(leases, batch, 5)
    assert number_ids(granted) == [A, A, B, C, C]
    leases.release([lease(granted[1])])
    assert number_ids(acquire(leases, batch, 2)) == [A, C]


def test_each_ask_tries_the_numbers_in_its_own_order(leases: Leases) -> None:
    batch = ordered_ask(route(A), route(B, number_limit=1), route(C))
    wanted = [ask for order in ((2, 0, 1), (1, 2, 0), (1, 2, 0), (0,)) for ask in requests(batch, 1, order)]
    assert number_ids(leases.acquire(NOW, [batch], wanted).granted) == [C, B, C, A]


def test_round_robin_goes_on_where_it_was_and_passes_over_a_number_without_room(leases: Leases) -> None:
    batch = round_robin_ask(route(A), route(B, number_limit=2), route(C))
    assert number_ids(acquire(leases, batch, 4)) == [A, B, C, A]
    assert number_ids(acquire(leases, batch, 4)) == [B, C, A, C]
    assert number_ids(acquire(leases, round_robin_ask(route(A), route(B), batch=OTHER), 1)) == [A]
    assert number_ids(acquire(leases, batch, 1)) == [A]


def test_round_robin_begins_again_when_the_number_used_last_is_gone(leases: Leases) -> None:
    acquire(leases, round_robin_ask(route(A), route(B)), 2)
    assert number_ids(acquire(leases, round_robin_ask(route(A), route(C)), 3)) == [A, C, A]


def test_nothing_is_held_back_where_all_was_granted_even_if_numbers_were_passed_over(leases: Leases) -> None:
    batch = ordered_ask(route(A, number_limit=1), route(B, number_limit=2), route(C))
    grants = leases.acquire(NOW, [batch], requests(batch, 6))
    assert number_ids(grants.granted) == [A, B, B, C, C, C]
    assert (grants.held, grants.free_at) == ({}, {})


def test_of_several_reasons_the_one_is_named_that_says_when_there_will_be_room(leases: Leases) -> None:
    slow = RateLimit(TRUNK, 1, 3000)
    batch = ordered_ask(route(A, number_limit=1), route(B, rate=slow, trunk=OTHER_TRUNK), route(C, number_limit=1))
    grants = leases.acquire(NOW, [batch], requests(batch, 5))
    assert number_ids(grants.granted) == [A, B, C]
    # The first call leaves after a window of silence; the next one is planned when that is near enough.
    assert (grants.held, grants.free_at) == ({BATCH: "rate"}, {BATCH: NOW.add(seconds=3.06)})


def test_a_number_that_a_call_will_free_is_named_before_one_whose_day_is_used_up(leases: Leases) -> None:
    batch = ordered_ask(route(A, cap=1), route(B, number_limit=1))
    grants = leases.acquire(NOW, [batch], requests(batch, 3))
    assert (number_ids(grants.granted), grants.held) == ([A, B], {BATCH: "number"})


def test_a_name_that_holds_a_lease_is_not_granted_another(leases: Leases) -> None:
    batch = round_robin_ask(route(A), route(B))
    wanted = requests(batch, 2)
    leases.acquire(NOW, [batch], wanted)
    before = redis_contents(leases)
    assert leases.acquire(NOW, [batch], wanted).granted == ()
    assert redis_contents(leases) == before


def release(leases: Leases, granted: Sequence[SlotGrant]) -> None:
    leases.release(map(lease, granted))


def put_back(leases: Leases, granted: Sequence[SlotGrant]) -> None:
    leases.put_back(map(lease, granted))


def forget(leases: Leases, granted: Sequence[SlotGrant]) -> None:
    leases.forget([grant.attempt_id for grant in granted])


@pytest.mark.parametrize("give_back", [release, put_back, forget])
def test_giving_back_twice_is_giving_back_once(
    leases: Leases, give_back: Callable[[Leases, Sequence[SlotGrant]], None]
) -> None:
    batch = ordered_ask(route(cap=9, rate=RateLimit(TRUNK, 9, 1000)))
    kept, given_back = acquire(leases, batch, 2), acquire(leases, batch, 2)
    give_back(leases, given_back)
    once = redis_contents(leases)
    give_back(leases, given_back)
    give_back(leases, ())
    assert redis_contents(leases) == once
    held = {str(grant.attempt_id) for grant in kept}
    assert once["{dialer}:holds"].keys() == held == once[f"{{dialer}}:slots:batch:{BATCH}"]
    counted = once[f"{{dialer}}:day:{A}:2026-03-02"]
    assert counted == (held | {str(grant.attempt_id) for grant in given_back} if give_back is release else held)


def test_a_lease_is_overdue_thirty_seconds_after_its_grant_or_when_it_was_renewed_to(leases: Leases) -> None:
    first, second, third = (grant.attempt_id for grant in acquire(leases, ordered_ask(route()), 3))
    leases.renew([second], NOW.add(seconds=20))
    leases.renew([third], NOW.add(seconds=120))
    leases.renew([next(NAMES)], NOW)
    leases.renew([], NOW)
    assert leases.overdue(NOW.add(seconds=19, microseconds=999_999)) == []
    assert leases.overdue(NOW.add(seconds=20)) == [second]
    assert leases.overdue(NOW.add(seconds=30)) == [second, first]
    assert leases.overdue(NOW.add(seconds=120)) == [second, first, third]


def test_overdue_leases_come_in_pages_of_a_thousand(leases: Leases) -> None:
    granted = acquire(leases, ordered_ask(route(), limit=1500), 1200)
    page = leases.overdue(NOW.add(seconds=30))
    assert len(page) == 1000
    leases.forget(page)
    assert set(leases.overdue(NOW.add(seconds=30))) == {grant.attempt_id for grant in granted} - set(page)


@pytest.mark.parametrize("lost", [f"slots:batch:{BATCH}", f"slots:number:{B}", f"slots:trunk:{TRUNK}"])
def test_leases_that_were_lost_are_found_and_restored(leases: Leases, lost: str) -> None:
    batch = round_robin_ask(route(A), route(B), limit=4)
    granted = [lease(grant) for grant in acquire(leases, batch, 4)]
    intact = redis_contents(leases)
    leases._redis.delete(f"{{dialer}}:{lost}")
    affected = [held for held in granted if held.number_id == B] if "number" in lost else granted
    assert leases.missing(granted) == affected
    leases.restore(affected, NOW.add(seconds=30))
    leases.restore(affected, NOW.add(seconds=30))
    assert leases.missing(granted) == []
    assert redis_contents(leases) == intact
    assert acquire(leases, batch, 1) == ()


def test_nothing_is_granted_or_written_while_the_marker_is_missing(leases: Leases) -> None:
    leases._redis.flushall()
    batch = round_robin_ask(route(cap=1, rate=RATE), route(B))
    grants = leases.acquire(NOW, [batch], requests(batch, 3))
    assert (grants.epoch, grants.granted, leases.epoch()) == (None, (), None)
    assert redis_contents(leases) == {}


def test_a_rebuild_replaces_what_redis_knew_by_what_the_ledger_says(leases: Leases) -> None:
    acquire(leases, round_robin_ask(route(A, cap=9), route(B), batch=OTHER), 3)
    live = [Lease(next(NAMES), BATCH, number, TRUNK, TODAY) for number in (A, B)]
    over = Lease(next(NAMES), BATCH, C, TRUNK, TODAY)
    epoch = UUID(int=77)
    leases.rebuild(NOW, epoch, live, [*live, over], {BATCH: B}, {C: "1"}, [TODAY])
    assert leases.epoch() == epoch
    assert not [key for key in redis_contents(leases) if str(OTHER) in key]
    assert leases.missing(live) == []
    assert set(leases.overdue(NOW.add(seconds=30))) == {held.attempt_id for held in live}
    batch = round_robin_ask(route(A, number_limit=1), route(B), route(C, cap=1), limit=3)
    grants = leases.acquire(NOW, [batch], requests(batch, 2))
    assert (grants.epoch, number_ids(grants.granted), grants.held) == (epoch, [B], {BATCH: "slots"})


def test_redis_that_loses_its_memory_during_a_rebuild_is_not_marked_as_loaded(leases: Leases) -> None:
    """Reproduces a breach of P2: a flush in the middle left a marker over half of the leases."""

    def live() -> Iterator[Lease]:
        yield Lease(next(NAMES), BATCH, A, TRUNK, TODAY)

    def counted() -> Iterator[Lease]:
        leases._redis.flushall()
        yield from ()

    with pytest.raises(Unavailable, match="lost its memory"):
        leases.rebuild(NOW, UUID(int=77), live(), counted(), {}, {}, [TODAY])
    assert leases.epoch() is None
    assert acquire(leases, round_robin_ask(route()), 1) == ()


@pytest.mark.parametrize("kind", LEASE_KINDS)
def test_a_rebuild_that_stood_still_voids_what_another_has_loaded_meanwhile(leases: Leases, kind: str) -> None:
    """It goes on to delete keys that are the other's: nothing may be granted without them."""
    client: Any = leases._redis
    scan, delete = client.scan_iter, client.delete
    held = [Lease(next(NAMES), BATCH, A, TRUNK, TODAY)]

    def stand_still(pattern: str, **more: Any) -> Iterator[str]:
        if pattern.endswith(f":{kind}*"):
            with patch.object(client, "scan_iter", scan), patch.object(client, "delete", delete):
                rebuild(leases, held, held)
        yield from scan(pattern, **more)

    def check_after(*keys: str) -> None:
        delete(*keys)
        assert leases.epoch() is None

    with patch.object(client, "scan_iter", stand_still), patch.object(client, "delete", check_after):
        leases.rebuild(NOW, UUID(int=77), [], [], {}, {}, [TODAY])
    assert leases.epoch() == UUID(int=77)


def test_the_cursor_outlives_a_rebuild(leases: Leases) -> None:
    rebuild(leases, cursors={BATCH: B})
    assert number_ids(acquire(leases, round_robin_ask(route(A), route(B), route(C)), 2)) == [C, A]


def test_departures_of_a_trunk_are_planned_evenly_and_not_far_ahead(leases: Leases) -> None:
    batch = ordered_ask(route(rate=RateLimit(TRUNK, 10, 1000)))
    granted = acquire(leases, batch, 100)
    # Every 102 ms, after a window in which those may count that left before anybody counted.
    assert [grant.leaves_at for grant in granted] == [
        NOW.add(microseconds=1000 * ceil(1000 + 102 * n)) for n in range(20)
    ]
    assert [grant.wait_seconds for grant in granted] == [(grant.leaves_at - NOW).total_seconds() for grant in granted]
    assert len(acquire(leases, batch, 100, NOW.add(seconds=1))) == 10


def test_a_rate_of_many_calls_a_second_is_planned_in_full(leases: Leases) -> None:
    """Departures are told in whole milliseconds; those that are planned 7.5 ms apart must not become 8 ms apart."""
    batch = ordered_ask(route(rate=RateLimit(TRUNK, 136, 1000)))
    granted = acquire(leases, batch, 40) + acquire(leases, batch, 40)
    assert [grant.leaves_at for grant in granted] == [
        NOW.add(microseconds=1000 * ceil(1000 + 7.5 * n)) for n in range(80)
    ]


def test_a_rate_that_is_new_lower_or_higher_counts_from_the_next_grant(leases: Leases) -> None:
    slow, fast = (ordered_ask(route(rate=RateLimit(TRUNK, 1, window))) for window in (1_000_000, 100))
    acquire(leases, ordered_ask(route()), 5)
    assert acquire(leases, slow, 1) == ()
    at = NOW.add(seconds=5)
    assert [grant.leaves_at for grant in acquire(leases, fast, 1, at)] == [at.add(seconds=0.102)]
    # At the lower rate not even one more fits before the horizon.
    assert acquire(leases, slow, 9, at) == ()


def test_a_rate_is_silent_for_a_window_after_redis_was_rebuilt_but_not_for_a_probe(leases: Leases) -> None:
    for is_probe, seconds in ((False, 1), (True, 0)):
        rebuild(leases)
        batch = ordered_ask(replace(route(rate=RATE), is_probe=is_probe))
        assert [grant.leaves_at for grant in acquire(leases, batch, 1)] == [NOW.add(seconds=seconds)]


def test_redis_goes_by_its_own_clock_whatever_a_worker_says(leases: Leases) -> None:
    leases_by_redis = Leases(leases._redis)
    batch = ordered_ask(route(rate=RateLimit(TRUNK, 1, 50)))
    (first,) = acquire(leases_by_redis, batch, 1, NOW.add(years=1))
    (second,) = acquire(leases_by_redis, batch, 1, NOW.subtract(years=1))
    assert 0 < (second.leaves_at - first.leaves_at).total_seconds() < 10
    assert abs(first.leaves_at.timestamp() - leases_by_redis.seconds_since_epoch()) < 10


@pytest.fixture
def counting(leases: Leases) -> Leases:
    """Leases that have counted the departures of the trunk for more than a window."""
    leave(leases, NOW.subtract(seconds=10), 1)
    return leases


def leave(leases: Leases, at: DateTime, count: int, rate: RateLimit = RATE) -> RateAllowance:
    return leases.leave(at, rate, [next(NAMES) for _ in range(count)])


ONE = RateLimit(TRUNK, 1, 1000)


def ms(milliseconds: float) -> DateTime:
    return NOW.add(microseconds=round(milliseconds * 1000))


def call(leases: Leases, at: float, took: float, rate: RateLimit = ONE) -> None:
    """One call that may leave at this millisecond, and whose answer takes so many."""
    name = next(NAMES)
    left = leases.leave(ms(at), rate, [name])
    assert left.count == 1, left
    leases.answered(ms(at + took), rate, took / 1000, [name])


def test_no_more_leave_in_a_window_than_the_rate_allows_and_the_others_are_told_when(counting: Leases) -> None:
    names = [next(NAMES) for _ in range(3)]
    assert counting.leave(NOW, RATE, names) == RateAllowance(2, 1.005)
    counting.answered(NOW, RATE, 0, names[:2])
    assert leave(counting, ms(1004), 1) == RateAllowance(0, 0.001)
    assert leave(counting, ms(1005), 3).count == 2


def test_a_call_that_got_to_its_network_late_counts_from_then(counting: Leases) -> None:
    call(counting, 0, 200)  # what an answer of this network takes
    assert leave(counting, ms(1004), 1, ONE).count == 0
    call(counting, 1005, 450)
    # It had begun by 200 ms before its answer.
    assert leave(counting, ms(2259), 1, ONE).count == 0
    call(counting, 2260, 200)


def test_a_call_whose_answer_is_overdue_counts_until_it_is_answered(counting: Leases) -> None:
    call(counting, 0, 20)
    name = next(NAMES)
    assert counting.leave(ms(1005), ONE, [name]).count == 1
    assert leave(counting, ms(9000), 1, ONE).count == 0
    counting.answered(ms(9000), ONE, 7.995, [name])
    assert leave(counting, ms(9984), 1, ONE).count == 0
    assert leave(counting, ms(9985), 1, ONE).count == 1
    # An answer that never comes is not waited for: the process that asked has died.
    assert leave(counting, ms(30984), 1, ONE).count == 0
    assert leave(counting, ms(30985), 1, ONE).count == 1


def test_a_network_whose_every_answer_takes_longer_than_a_window_is_used_at_its_rate(counting: Leases) -> None:
    call(counting, 0, 3015)
    under_way = [next(NAMES) for _ in range(6)]
    for n, name in enumerate(under_way):
        at = 10_000 + n * 1005
        if n >= 3:
            counting.answered(ms(at), ONE, 3.015, [under_way[n - 3]])
        assert counting.leave(ms(at), ONE, [name]).count == 1
        counting.depart(ms(at), ONE, [name], [])


def test_a_call_that_does_not_leave_after_all_gives_its_place_in_the_rate_back(counting: Leases) -> None:
    call(counting, 0, 20)
    first, second, third = (next(NAMES) for _ in range(3))
    two = RateLimit(TRUNK, 2, 1000)
    assert counting.leave(ms(5000), two, [first, second]).count == 2
    counting.depart(ms(5000), two, [first], [second])
    assert counting.leave(ms(5001), two, [third]).count == 1


def test_a_call_counts_from_when_it_leaves_and_not_from_when_it_was_allowed_to(counting: Leases) -> None:
    call(counting, 0, 20)
    first, second = next(NAMES), next(NAMES)
    assert counting.leave(ms(5000), ONE, [first]).count == 1
    counting.depart(ms(5600), ONE, [first], [])
    assert counting.leave(ms(6604), ONE, [second]).count == 0
    assert counting.leave(ms(6605), ONE, [second]).count == 0, "unanswered, and the fastest answer takes 20 ms"
    counting.answered(ms(6605), ONE, 1.005, [first])
    assert counting.leave(ms(7589), ONE, [second]).count == 0
    assert counting.leave(ms(7590), ONE, [second]).count == 1


def test_a_network_that_has_become_slower_is_used_at_its_rate_again_after_some_minutes(counting: Leases) -> None:
    minute = 60_000
    call(counting, 0, 20)
    call(counting, minute, 220)
    assert leave(counting, ms(minute + 1100), 1, ONE).count == 0
    call(counting, 6 * minute, 220)
    # What was measured in the period before still counts.
    assert leave(counting, ms(6 * minute + 1100), 1, ONE).count == 0
    call(counting, 11 * minute, 220)
    call(counting, 11 * minute + 1005, 220)


def test_a_network_that_says_too_fast_is_left_alone_for_so_long(counting: Leases) -> None:
    batch = ordered_ask(route())
    counting.pause_trunk(NOW, TRUNK, 7)
    counting.pause_trunk(NOW, TRUNK, 2)
    assert leave(counting, NOW, 1) == RateAllowance(0, 7)
    grants = counting.acquire(NOW, [batch], requests(batch, 1))
    assert (grants.granted, grants.held, grants.free_at) == ((), {BATCH: "rate"}, {BATCH: NOW.add(seconds=7)})
    assert len(acquire(counting, batch, 1, NOW.add(seconds=7))) == 1
    assert leave(counting, NOW.add(seconds=7), 1).count == 1


def test_nothing_is_planned_for_a_time_at_which_the_network_wants_to_be_left_alone(counting: Leases) -> None:
    batch = ordered_ask(route(rate=RATE))
    counting.pause_trunk(NOW, TRUNK, 7)
    grants = counting.acquire(NOW, [batch], requests(batch, 1))
    assert (grants.granted, grants.held, grants.free_at) == ((), {BATCH: "rate"}, {BATCH: NOW.add(seconds=4)})
    at = NOW.add(seconds=4)
    assert [grant.leaves_at for grant in acquire(counting, batch, 1, at)] == [NOW.add(seconds=7)]


@pytest.mark.parametrize("how", ["forget", "put_back"])
def test_what_was_given_back_is_not_waited_for_by_those_that_were_planned_after_it(counting: Leases, how: str) -> None:
    batch = ordered_ask(route(rate=ONE))
    first, second = [grant.attempt_id for grant in acquire(counting, batch, 2, NOW)]
    # Both are overdue, so that the second would wait for the first.
    assert counting.leave(ms(1900), ONE, [second]).count == 0
    if how == "forget":
        counting.forget([first])
    else:
        counting.put_back([Lease(first, BATCH, A, TRUNK, TODAY)])
    assert counting.leave(ms(1900), ONE, [second]).count == 1


def test_one_that_does_not_come_for_a_second_is_not_waited_for(counting: Leases) -> None:
    first, second = [grant.attempt_id for grant in acquire(counting, ordered_ask(route(rate=ONE)), 2)]
    assert [counting.leave(ms(at), ONE, [second]).count for at in (1999, 2001)] == [0, 1]
    assert counting.leave(ms(2001), ONE, [first]).count == 0


def test_of_several_trunks_the_one_that_is_free_first_says_when_the_batch_goes_on(leases: Leases) -> None:
    other = TrunkId(UUID(int=8))
    batch = ordered_ask(route(A), route(B, trunk=other))
    leases.pause_trunk(NOW, TRUNK, 2)
    leases.pause_trunk(NOW, other, 5)
    assert leases.acquire(NOW, [batch], requests(batch, 1)).free_at == {BATCH: NOW.add(seconds=2)}


def test_what_has_left_is_not_waited_for_by_those_that_were_planned_after_it(leases: Leases) -> None:
    rate = RateLimit(TRUNK, 2, 200)
    leave(leases, NOW, 1, rate)
    first, second, third = [grant.attempt_id for grant in acquire(leases, ordered_ask(route(rate=rate)), 3)]
    assert leases.leave(ms(320), rate, [first, second]).count == 2
    leases.answered(ms(320), rate, 0, [first, second])
    assert leases.leave(ms(525), rate, [third]).count == 1


def test_where_departures_are_late_no_more_are_planned_than_fit_before_the_horizon(leases: Leases) -> None:
    batch = ordered_ask(route(rate=RATE))
    late = [grant.attempt_id for grant in acquire(leases, batch, 9)]
    assert len(late) == 4
    at = NOW.add(seconds=4)
    # None of these has left, so that two more make as many as there may be.
    assert len(acquire(leases, batch, 9, at)) == 2
    assert leases.acquire(at, [batch], requests(batch, 1)).free_at == {BATCH: at.add(seconds=0.51)}
    leases.leave(at, RATE, late[:1])
    assert len(acquire(leases, batch, 9, at)) == 1
    # Some died with their process.
    assert len(acquire(leases, batch, 9, NOW.add(seconds=9))) > 1


def test_those_that_were_planned_first_leave_first_unless_they_do_not_come(leases: Leases) -> None:
    batch = ordered_ask(route(rate=RATE))
    first, second, third, _ = [grant.attempt_id for grant in acquire(leases, batch, 9)]
    at = ms(1900)
    assert leases.leave(at, RATE, [third]) == RateAllowance(0, 0.5)
    assert [leases.leave(at, RATE, [name]).count for name in (second, first, third)] == [1, 1, 0]
    leases.answered(at, RATE, 0, [first, second])
    assert leases.leave(ms(2905), RATE, [third]).count == 1


def test_a_clock_that_is_set_back_does_not_stop_a_trunk(leases: Leases) -> None:
    batch = ordered_ask(route(rate=RATE))
    tomorrow = NOW.add(days=1)
    acquire(leases, batch, 9, tomorrow)
    assert [leave(leases, tomorrow.add(seconds=n), 2).count for n in range(2)] == [0, 2]
    (first, *_) = acquire(leases, batch, 9, NOW.add(seconds=1))
    assert first.wait_seconds < 4
    assert leave(leases, NOW, 1) == RateAllowance(0, 1)
    assert leave(leases, NOW.add(seconds=1), 1).count == 1


def test_a_call_counts_for_a_whole_window_also_when_the_clock_is_set_back_before_its_answer(counting: Leases) -> None:
    name = next(NAMES)
    assert counting.leave(NOW, ONE, [name]).count == 1
    counting.answered(ms(-500), ONE, 0, [name])
    assert [leave(counting, ms(at), 1, ONE).count for at in (600, 1004, 1005)] == [0, 0, 1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 4),
    calls=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 3), st.integers(0, 3000)), max_size=25),
)
def test_no_second_of_the_network_sees_more_starts_than_the_rate_allows(
    leases: Leases, limit: int, calls: list[tuple[int, int, int]]
) -> None:
    """Requests are under way for as long as it pleases the network, and are answered as soon as they have arrived."""
    rebuild(leases)
    leave(leases, NOW.subtract(seconds=10), 1)
    rate, at, starts = RateLimit(TRUNK, limit, 1000), 0.0, list[float]()
    under_way: list[tuple[float, float, AttemptId]] = []

    def answer(until: float) -> None:
        for arrived, took, name in sorted(start for start in under_way if start[0] <= until):
            leases.answered(ms(arrived), rate, took / 1000, [name])
        under_way[:] = [start for start in under_way if start[0] > until]

    # Some answer was there at once.
    leases.answered(NOW, rate, 0, [])
    for pause, count, took in calls:
        at += pause
        answer(at)
        names = [next(NAMES) for _ in range(count)]
        left = leases.leave(ms(at), rate, names)
        starts += [at + took] * left.count
        under_way += [(at + took, took, name) for name in names[: left.count]]
    starts.sort()
    assert all(later - start > 1000 for start, later in zip(starts, starts[limit:], strict=False))


def test_a_daily_cap_is_kept_only_where_what_was_called_before_is_loaded(leases: Leases) -> None:
    capped = {A: "1"}
    tomorrow = TODAY + timedelta(days=1)
    assert leases.unloaded(capped, [TODAY]) == set()
    assert leases.unloaded(capped, [TODAY, tomorrow]) == leases.unloaded({A: "2"}, [TODAY]) == {A}
    new = ordered_ask(replace(route(A), limits=(SlotLimit.of_number_day(A, TODAY, 5, "2"),)))
    grants = leases.acquire(NOW, [new], requests(new, 1))
    assert (grants.granted, grants.held) == ((), {BATCH: "number_day"})
    leases.count_days([Lease(next(NAMES), BATCH, A, TRUNK, TODAY) for _ in range(3)])
    leases.mark_loaded({A: "2"}, [TODAY])
    assert len(acquire(leases, new, 5)) == 2


def test_a_redis_with_the_memory_of_another_run_grants_nothing_and_lets_nothing_leave(counting: Leases) -> None:
    batch = ordered_ask(route())
    assert len(acquire(counting, batch, 1)) == 1
    # As its snapshot would say after a restart.
    counting._redis.set("{dialer}:run", "0" * 40)
    assert counting.acquire(NOW, [batch], requests(batch, 1)).epoch is None
    assert counting.epoch() is None
    assert leave(counting, NOW, 1) == RateAllowance(0, 1)
    rebuild(counting)
    assert counting.epoch() == EPOCH_ID
    assert len(acquire(counting, batch, 1)) == 1
    # What left before is not known any more: a window passes first.
    assert leave(counting, NOW, 1) == RateAllowance(0, 1)
    assert leave(counting, NOW.add(seconds=1), 1).count == 1


def test_every_key_carries_the_one_hash_tag_by_which_a_cluster_keeps_them_together(leases: Leases) -> None:
    live = [Lease(next(NAMES), BATCH, A, TRUNK, TODAY)]
    rebuild(leases, live, live, cursors={BATCH: A})
    granted = acquire(leases, round_robin_ask(route(A, cap=5, rate=RATE), route(B), limit=5), 4)
    leave(leases, NOW.add(seconds=1), 1)
    put_back(leases, granted[1:2])
    kinds = {key.split(":")[1] for key in leases._redis.scan_iter("*") if str(key).startswith("{dialer}:")}
    of_leases = {"epoch", "run", "deadlines", "holds", "slots", "cursor"}
    assert kinds == of_leases | {"day", "loaded"} | {"pace", "planned", "given_back", "sent", "unanswered"}
    assert all(str(key).startswith("{dialer}:") for key in leases._redis.scan_iter("*"))


def test_work_is_asked_for_once_until_it_is_begun(leases: Leases) -> None:
    assert [leases.ask_once("settle", 60), leases.ask_once("settle", 60)] == [True, False]
    assert leases.ask_once("something else", 60)
    leases.begun("settle")
    assert leases.ask_once("settle", 60)


@pytest.mark.parametrize("lost", [["deadlines", "holds"], ["deadlines"], ["holds"], ["deadlines", "slots"]])
def test_a_holder_of_which_redis_forgot_a_part_is_found_and_freed(leases: Leases, lost: list[str]) -> None:
    (granted,) = acquire(leases, ordered_ask(route()), 1)
    leases._redis.delete(*(key for key in leases._redis.scan_iter("*") if key.split(":")[1] in lost))
    look_at = NOW.add(seconds=40)
    assert leases.remind(look_at) == 1
    assert leases.remind(look_at.add(seconds=5)) == 0
    assert leases.overdue(look_at) == [granted.attempt_id]
    leases.forget([granted.attempt_id])
    assert [key for key in leases._redis.scan_iter("*") if "slots" in key or "holds" in key] == []
