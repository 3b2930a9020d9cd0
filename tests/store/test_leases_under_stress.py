"""Leases when many workers ask at once, and when Redis is down, silent or full."""

import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic
from uuid import UUID

import pytest

from dialer.domain.ids import AttemptId, NumberId
from dialer.domain.slots import BatchRoutes, Lease, SlotGrant
from dialer.errors import Unavailable
from dialer.store.leases import Leases
from support.deadline import DEADLINE_SECONDS
from support.lease_setup import (
    BATCH,
    NOW,
    RATE,
    TODAY,
    TRUNK,
    A,
    B,
    C,
    acquire,
    number_ids,
    ordered_ask,
    rebuild,
    round_robin_ask,
    route,
)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (ordered_ask(route(A, number_limit=3), route(B, number_limit=2), limit=4), {A: 3, B: 1}),
        (ordered_ask(route(A, number_limit=3), route(B, trunk_limit=5)), {A: 3, B: 2}),
        (ordered_ask(route(A, cap=2), route(B, rate=RATE)), {A: 2, B: 4}),
    ],
)
def test_many_workers_at_once_are_granted_exactly_what_the_limits_allow(
    leases: Leases, batch: BatchRoutes, expected: dict[NumberId, int]
) -> None:
    for _ in range(10):
        rebuild(leases)
        granted = [grant for taken in at_once(lambda: [acquire(leases, batch, 2)]) for grant in taken]
        assert Counter(number_ids(granted)) == expected
        assert len({grant.attempt_id for grant in granted}) == len(granted)


def test_many_workers_at_once_share_one_exact_round(leases: Leases) -> None:
    batch = round_robin_ask(route(A), route(B), route(C), limit=1000)
    rebuild(leases)
    turns = at_once(lambda: [acquire(leases, batch, 4) for _ in range(15)])
    assert Counter(number for turn in turns for number in number_ids(turn)) == {A: 160, B: 160, C: 160}
    assert {tuple(number_ids(turn)) for turn in turns} == {(A, B, C, A), (B, C, A, B), (C, A, B, C)}


def at_once(work: Callable[[], list[tuple[SlotGrant, ...]]], workers: int = 8) -> list[tuple[SlotGrant, ...]]:
    start = Barrier(workers)

    def begin() -> list[tuple[SlotGrant, ...]]:
        start.wait(DEADLINE_SECONDS)
        return work()

    with ThreadPoolExecutor(workers) as pool:
        return [
            taken
            for future in [pool.submit(begin) for _ in range(workers)]
            for taken in future.result(DEADLINE_SECONDS)
        ]


ANY = Lease(AttemptId(UUID(int=9)), BATCH, A, TRUNK, TODAY)
CALLS: dict[str, Callable[[Leases], object]] = {
    "ping": lambda leases: leases.ping(),
    "acquire": lambda leases: acquire(leases, ordered_ask(route()), 1),
    "release": lambda leases: leases.release([ANY]),
    "put_back": lambda leases: leases.put_back([ANY]),
    "forget": lambda leases: leases.forget([ANY.attempt_id]),
    "renew": lambda leases: leases.renew([ANY.attempt_id], NOW),
    "overdue": lambda leases: leases.overdue(NOW),
    "epoch": lambda leases: leases.epoch(),
    "missing": lambda leases: leases.missing([ANY]),
    "restore": lambda leases: leases.restore([ANY], NOW),
    "count_days": lambda leases: leases.count_days([ANY]),
    "rebuild": lambda leases: rebuild(leases, [ANY]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_redis_that_is_down_is_told_at_once_and_in_one_line(call: Callable[[Leases], object]) -> None:
    leases, since = Leases("redis://127.0.0.1:1/0"), monotonic()
    with pytest.raises(Unavailable, match=r"\ARedis does not answer: [^\n]+\Z"):
        call(leases)
    assert monotonic() - since < 2


def test_a_redis_that_is_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        leases = Leases(f"redis://127.0.0.1:{server.getsockname()[1]}/0?socket_timeout=0.05")
        with pytest.raises(Unavailable, match="Redis does not answer"):
            acquire(leases, ordered_ask(route()), 1)
        leases.close()


def test_a_redis_that_takes_no_writes_grants_nothing_and_says_so(leases: Leases) -> None:
    rebuild(leases)
    batch = ordered_ask(route(), limit=1)
    leases._redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match=r"\ARedis takes no writes: [^\n]+\Z"):
            acquire(leases, batch, 1)
    finally:
        leases._redis.config_set("maxmemory", 0)
    assert len(acquire(leases, batch, 1)) == 1


def test_a_server_that_became_a_replica_is_left_for_the_one_to_which_its_name_leads_now(leases: Leases) -> None:
    connection = leases._redis.client_id()
    assert leases._redis.client_id() == connection
    leases._redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(Unavailable, match=r"\ARedis takes no writes: [^\n]+\Z"):
            leases.ask_once("settle", 1)
        assert leases.server_info()["role"] == "slave"
        assert leases._redis.client_id() != connection
    finally:
        leases._redis.replicaof("NO", "ONE")
    assert leases.ask_once("settle", 1)


def test_an_address_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(Unavailable, match="DIALER_REDIS_URL is not a Redis URL"):
        Leases("127.0.0.1:6379")
