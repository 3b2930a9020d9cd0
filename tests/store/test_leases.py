"""Leases: what each call promises, on a Redis within this process and on a real server alike."""

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import fakeredis
import pendulum
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.pacing import RateLimit
from dialer.store.gates import BatchAsk, Granted, Lease
from dialer.store.leases import Leases
from leasing import (
    BATCH,
    NAMES,
    NOW,
    OTHER,
    RATE,
    TODAY,
    TRUNK,
    A,
    B,
    C,
    asks,
    hunt,
    lease,
    load,
    memory,
    numbers,
    ring,
    route,
    take,
)


@pytest.fixture(params=["in this process", "real"])
def leases(request: pytest.FixtureRequest) -> Iterator[Leases]:
    if request.param == "real":
        made = Leases(request.getfixturevalue("servers").redis_url)
    else:
        made = Leases(fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True))
    made._redis.flushdb()
    load(made)
    yield made
    made.close()


LIMITS = pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (hunt(route(), limit=3), "slots"),
        (hunt(route(number_limit=3)), "number"),
        (hunt(route(trunk_limit=3)), "trunk"),
        (hunt(route(cap=3)), "number_day"),
    ],
)


@LIMITS
def test_no_more_is_granted_than_a_limit_allows_and_the_reason_is_named(
    leases: Leases, batch: BatchAsk, reason: str
) -> None:
    wanted = asks(batch, 5)
    grants = leases.acquire(NOW, [batch], wanted)
    assert [one.ask for one in grants.granted] == wanted[:3]
    assert grants.held == {BATCH: reason}
    assert take(leases, batch, 2) == ()


@LIMITS
def test_a_slot_that_was_put_back_is_granted_again_but_a_call_that_was_made_keeps_counting_for_its_day(
    leases: Leases, batch: BatchAsk, reason: str
) -> None:
    first, second, _ = take(leases, batch, 3)
    leases.put_back([lease(first)])
    assert len(take(leases, batch, 2)) == 1
    leases.release([lease(second)])
    assert len(take(leases, batch, 2)) == (0 if reason == "number_day" else 1)


@LIMITS
def test_who_is_refused_holds_nothing_anywhere(leases: Leases, batch: BatchAsk, reason: str) -> None:
    take(leases, batch, 3)
    before = memory(leases)
    take(leases, batch, 3)
    assert memory(leases) == before


@LIMITS
def test_a_limit_that_is_set_or_lowered_later_counts_those_who_hold_already(
    leases: Leases, batch: BatchAsk, reason: str
) -> None:
    take(leases, hunt(route(cap=100)), 3)
    assert take(leases, batch, 1) == ()


def test_limits_of_a_number_and_a_trunk_are_shared_by_batches_in_the_order_of_the_asks(leases: Leases) -> None:
    one, two = hunt(route(trunk_limit=4)), hunt(route(trunk_limit=4), batch=OTHER)
    mixed = [ask for pair in zip(asks(one, 5), asks(two, 5), strict=True) for ask in pair]
    grants = leases.acquire(NOW, [one, two], mixed)
    assert [granted.ask for granted in grants.granted] == mixed[:4]
    assert grants.held == {BATCH: "trunk", OTHER: "trunk"}


def test_linear_hunting_uses_up_one_number_before_the_next(leases: Leases) -> None:
    batch = hunt(route(A, number_limit=2), route(B, number_limit=1), route(C))
    granted = take(leases, batch, 5)
    assert numbers(granted) == [A, A, B, C, C]
    leases.release([lease(granted[1])])
    assert numbers(take(leases, batch, 2)) == [A, C]


def test_each_ask_tries_the_numbers_in_its_own_order(leases: Leases) -> None:
    batch = hunt(route(A), route(B, number_limit=1), route(C))
    wanted = [ask for order in ((2, 0, 1), (1, 2, 0), (1, 2, 0), (0,)) for ask in asks(batch, 1, order)]
    assert numbers(leases.acquire(NOW, [batch], wanted).granted) == [C, B, C, A]


def test_round_robin_goes_on_where_it_was_and_passes_over_a_number_without_room(leases: Leases) -> None:
    batch = ring(route(A), route(B, number_limit=2), route(C))
    assert numbers(take(leases, batch, 4)) == [A, B, C, A]
    assert numbers(take(leases, batch, 4)) == [B, C, A, C]
    assert numbers(take(leases, ring(route(A), route(B), batch=OTHER), 1)) == [A]
    assert numbers(take(leases, batch, 1)) == [A]


def test_round_robin_begins_again_when_the_number_used_last_is_gone(leases: Leases) -> None:
    take(leases, ring(route(A), route(B)), 2)
    assert numbers(take(leases, ring(route(A), route(C)), 3)) == [A, C, A]


def test_nothing_is_held_back_where_all_was_granted_even_if_numbers_were_passed_over(leases: Leases) -> None:
    batch = hunt(route(A, number_limit=1), route(B, rate=RATE), route(C))
    grants = leases.acquire(NOW, [batch], asks(batch, 6))
    assert numbers(grants.granted) == [A, B, B, C, C, C]
    assert (grants.held, grants.free_at) == ({}, {})


def test_of_several_reasons_the_one_is_named_that_says_when_there_will_be_room(leases: Leases) -> None:
    batch = hunt(route(A, number_limit=1), route(B, rate=RATE), route(C, number_limit=1))
    grants = leases.acquire(NOW, [batch], asks(batch, 5))
    assert numbers(grants.granted) == [A, B, B, C]
    assert (grants.held, grants.free_at) == ({BATCH: "rate"}, {BATCH: NOW.add(seconds=1)})


def test_a_name_that_holds_a_lease_is_not_granted_another(leases: Leases) -> None:
    batch = ring(route(A), route(B))
    wanted = asks(batch, 2)
    leases.acquire(NOW, [batch], wanted)
    before = memory(leases)
    assert leases.acquire(NOW, [batch], wanted).granted == ()
    assert memory(leases) == before


def release(leases: Leases, granted: Sequence[Granted]) -> None:
    leases.release(map(lease, granted))


def put_back(leases: Leases, granted: Sequence[Granted]) -> None:
    leases.put_back(map(lease, granted))


def forget(leases: Leases, granted: Sequence[Granted]) -> None:
    leases.forget([one.ask.attempt_id for one in granted])


@pytest.mark.parametrize("give_back", [release, put_back, forget])
def test_giving_back_twice_is_giving_back_once(
    leases: Leases, give_back: Callable[[Leases, Sequence[Granted]], None]
) -> None:
    batch = hunt(route(cap=9, rate=RateLimit(TRUNK, 9, 1000)))
    others, mine = take(leases, batch, 2), take(leases, batch, 2)
    give_back(leases, mine)
    once = memory(leases)
    give_back(leases, mine)
    give_back(leases, ())
    assert memory(leases) == once
    held = {str(one.ask.attempt_id) for one in others}
    assert once["{dialer}:holds"].keys() == held == once[f"{{dialer}}:slots:batch:{BATCH}"]
    counted = once[f"{{dialer}}:day:{A}:2026-03-02"]
    assert counted == (held | {str(one.ask.attempt_id) for one in mine} if give_back is release else held)
    assert len(once[f"{{dialer}}:rate:{TRUNK}"]) == 4


def test_a_lease_is_overdue_thirty_seconds_after_its_grant_or_when_it_was_renewed_to(leases: Leases) -> None:
    first, second, third = (one.ask.attempt_id for one in take(leases, hunt(route()), 3))
    leases.renew([second], NOW.add(seconds=20))
    leases.renew([third], NOW.add(seconds=120))
    leases.renew([next(NAMES)], NOW)
    leases.renew([], NOW)
    assert leases.overdue(NOW.add(seconds=19, microseconds=999_999)) == []
    assert leases.overdue(NOW.add(seconds=20)) == [second]
    assert leases.overdue(NOW.add(seconds=30)) == [second, first]
    assert leases.overdue(NOW.add(seconds=120)) == [second, first, third]


def test_overdue_leases_come_in_pages_of_a_thousand(leases: Leases) -> None:
    granted = take(leases, hunt(route(), limit=1500), 1200)
    page = leases.overdue(NOW.add(seconds=30))
    assert len(page) == 1000
    leases.forget(page)
    assert set(leases.overdue(NOW.add(seconds=30))) == {one.ask.attempt_id for one in granted} - set(page)


@pytest.mark.parametrize("lost", [f"slots:batch:{BATCH}", f"slots:number:{B}", f"slots:trunk:{TRUNK}"])
def test_leases_that_were_lost_are_found_and_restored(leases: Leases, lost: str) -> None:
    batch = ring(route(A), route(B), limit=4)
    granted = [lease(one) for one in take(leases, batch, 4)]
    intact = memory(leases)
    leases._redis.delete(f"{{dialer}}:{lost}")
    affected = [one for one in granted if one.number_id == B] if "number" in lost else granted
    assert leases.missing(granted) == affected
    leases.restore(affected, NOW.add(seconds=30))
    leases.restore(affected, NOW.add(seconds=30))
    assert leases.missing(granted) == []
    assert memory(leases) == intact
    assert take(leases, batch, 1) == ()


def test_nothing_is_granted_or_written_while_the_marker_is_missing(leases: Leases) -> None:
    leases._redis.flushall()
    batch = ring(route(cap=1, rate=RATE))
    grants = leases.acquire(NOW, [batch], asks(batch, 3))
    assert (grants.epoch, grants.granted, leases.epoch()) == (None, (), None)
    assert memory(leases) == {}


def test_a_rebuild_replaces_what_redis_knew_by_what_the_ledger_says(leases: Leases) -> None:
    take(leases, ring(route(A, cap=9), route(B), batch=OTHER), 3)
    live = [Lease(next(NAMES), BATCH, number, TRUNK, TODAY) for number in (A, B)]
    over = Lease(next(NAMES), BATCH, C, TRUNK, TODAY)
    epoch = UUID(int=77)
    leases.rebuild(NOW, epoch, live, [*live, over], {BATCH: B}, [])
    assert leases.epoch() == epoch
    assert not [key for key in memory(leases) if str(OTHER) in key]
    assert leases.missing(live) == []
    assert set(leases.overdue(NOW.add(seconds=30))) == {one.attempt_id for one in live}
    batch = ring(route(A, number_limit=1), route(B), route(C, cap=1), limit=3)
    grants = leases.acquire(NOW, [batch], asks(batch, 2))
    assert (grants.epoch, numbers(grants.granted), grants.held) == (epoch, [B], {BATCH: "slots"})


def test_the_cursor_outlives_a_rebuild(leases: Leases) -> None:
    load(leases, cursors={BATCH: B})
    assert numbers(take(leases, ring(route(A), route(B), route(C)), 2)) == [C, A]


def test_after_a_rebuild_a_rate_is_silent_for_one_window(leases: Leases) -> None:
    load(leases, rates=[RATE])
    batch = hunt(route(rate=RATE))
    grants = leases.acquire(NOW.add(microseconds=999_000), [batch], asks(batch, 1))
    assert (grants.granted, grants.free_at) == ((), {BATCH: NOW.add(seconds=1)})
    assert len(take(leases, batch, 3, NOW.add(seconds=1))) == 2


def test_a_moment_that_was_told_is_the_same_millisecond_when_it_is_asked_for(leases: Leases) -> None:
    told = pendulum.from_timestamp(2150000000).add(microseconds=2_000)
    batch = hunt(route(rate=RateLimit(TRUNK, 1, 1000)))
    (first,) = take(leases, batch, 2, told)
    assert first.at == told
    assert [one.at for one in take(leases, batch, 1, told.add(seconds=1))] == [told.add(seconds=1)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 3),
    window_ms=st.integers(1, 5000),
    moves=st.lists(st.tuples(st.integers(-3000, 6000), st.integers(1, 3)), max_size=12),
)
def test_no_window_ever_holds_more_than_the_rate_whatever_the_clocks_of_the_workers_say(
    leases: Leases, limit: int, window_ms: int, moves: list[tuple[int, int]]
) -> None:
    load(leases)
    batch = hunt(route(rate=RateLimit(TRUNK, limit, window_ms)))
    clock, granted = NOW, list[DateTime]()
    for milliseconds, wanted in moves:
        clock = clock.add(microseconds=milliseconds * 1000)
        grants = leases.acquire(clock, [batch], asks(batch, wanted))
        granted += [one.at for one in grants.granted]
        if BATCH in grants.held:
            free_at = grants.free_at[BATCH]
            assert take(leases, batch, 1, free_at.subtract(microseconds=1000)) == ()
            clock, again = free_at, take(leases, batch, 1, free_at)
            granted += [one.at for one in again]
            assert [one.at for one in again] == [free_at]
    assert granted == sorted(granted)
    assert all(
        later >= at.add(microseconds=window_ms * 1000) for at, later in zip(granted, granted[limit:], strict=False)
    )


def test_every_key_carries_the_one_hash_tag_by_which_a_cluster_keeps_them_together(leases: Leases) -> None:
    live = [Lease(next(NAMES), BATCH, A, TRUNK, TODAY)]
    load(leases, live, live, cursors={BATCH: A}, rates=[RATE])
    take(leases, ring(route(A, cap=5, rate=RATE), route(B), limit=5), 3)
    kinds = {key.split(":")[1] for key in leases._redis.scan_iter("*") if str(key).startswith("{dialer}:")}
    assert kinds == {"epoch", "deadlines", "holds", "slots", "day", "rate", "cursor"}
    assert all(str(key).startswith("{dialer}:") for key in leases._redis.scan_iter("*"))


def test_work_is_asked_for_once_until_it_is_begun(leases: Leases) -> None:
    assert [leases.ask_once("settle", 60), leases.ask_once("settle", 60)] == [True, False]
    assert leases.ask_once("something else", 60)
    leases.begun("settle")
    assert leases.ask_once("settle", 60)


@pytest.mark.parametrize("lost", [["deadlines", "holds"], ["deadlines"], ["holds"], ["deadlines", "slots"]])
def test_a_holder_of_which_redis_forgot_a_part_is_found_and_freed(leases: Leases, lost: list[str]) -> None:
    (granted,) = take(leases, hunt(route()), 1)
    leases._redis.delete(*(key for key in leases._redis.scan_iter("*") if key.split(":")[1] in lost))
    look_at = NOW.add(seconds=40)
    assert leases.remind(look_at) == 1
    assert leases.remind(look_at.add(seconds=5)) == 0
    assert leases.overdue(look_at) == [granted.ask.attempt_id]
    leases.forget([granted.ask.attempt_id])
    assert [key for key in leases._redis.scan_iter("*") if "slots" in key or "holds" in key] == []
