"""The circuit breaker: a trunk that fails is left alone and probed, and no contact loses an attempt by it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from dialer.domain.breaker import BREAK_AFTER, FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, PROBE_SECONDS
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.trunk import Trunk
from dialer.engine.audit import audit
from dialer.engine.retry import retry
from dialer.providers.base import TOO_LATE, CallRequest, Placement
from dialer.providers.pool import ProviderPool
from dialer.providers.simulator import NetworkProfile
from dialer.store import health
from support.engine_steps import advance_clock, dispatch_and_place, next_dispatch, run_concurrently
from support.world import MONDAY, World, made_up_phones

MakeWorld = Callable[..., World]


class TooLate(ProviderPool):
    """The provider pool of a worker whose connections are made too slowly."""

    def __init__(self) -> None:
        """Nothing is connected."""

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        return {request.attempt_id: TOO_LATE for _, request in calls}


def breaker(world: World) -> Any:
    breakers = world.rows("SELECT failures, reason, opened_at, probe_at, pause_seconds FROM trunk_health")
    return breakers[0] if breakers else None


def heal(world: World) -> None:
    """From now on the network works."""
    world.network.profile = world.network.profile.model_copy(update={"faults": NetworkProfile().faults})


@pytest.fixture
def failing(make_world: MakeWorld) -> World:
    return make_world(faults={"server_error": 1})


def test_ten_failures_in_a_row_open_it_and_the_batch_says_why_nothing_is_called(failing: World) -> None:
    batch_id = failing.batch(30, max_concurrent_calls=BREAK_AFTER)
    assert dispatch_and_place(failing, batch_id).refused == BREAK_AFTER
    opened = breaker(failing)
    assert (opened.failures, opened.reason) == (BREAK_AFTER, "server_error")
    assert opened.probe_at == MONDAY.add(seconds=FIRST_PAUSE_SECONDS)
    advance_clock(failing, FIRST_PAUSE_SECONDS - 0.001)
    assert dispatch_and_place(failing, batch_id).claimed == 0
    assert next_dispatch(failing, batch_id) == (MONDAY.add(seconds=FIRST_PAUSE_SECONDS), "trunk_failing")


def test_fewer_failures_or_one_that_works_between_them_leave_it_closed(make_world: MakeWorld) -> None:
    world = make_world(faults={"server_error": 1})
    batch_id = world.batch(40, max_concurrent_calls=BREAK_AFTER - 1)
    assert dispatch_and_place(world, batch_id).refused == BREAK_AFTER - 1
    heal(world)
    advance_clock(world, 1)
    assert dispatch_and_place(world, batch_id).placed == BREAK_AFTER - 1
    assert breaker(world) is None


def test_a_network_that_does_not_answer_is_failing_too(make_world: MakeWorld) -> None:
    world = make_world(faults={"timeout_before": 1})
    assert dispatch_and_place(world, world.batch(30, max_concurrent_calls=30)).unclear == 30
    assert breaker(world).opened_at is not None


def test_after_the_pause_one_call_in_five_seconds_probes_it_and_one_that_fails_doubles_the_pause(
    failing: World,
) -> None:
    batch_id = failing.batch(60, max_concurrent_calls=BREAK_AFTER)
    dispatch_and_place(failing, batch_id)
    advance_clock(failing, FIRST_PAUSE_SECONDS)
    assert dispatch_and_place(failing, batch_id).refused == 1
    pause = 2 * FIRST_PAUSE_SECONDS
    assert breaker(failing).probe_at == failing.clock.now.add(seconds=pause)
    for _ in range(6):
        advance_clock(failing, pause)
        assert dispatch_and_place(failing, batch_id).refused == 1
        pause = min(2 * pause, LAST_PAUSE_SECONDS)
        assert breaker(failing).pause_seconds == pause
    retry(failing.context, failing.clock.now)
    assert audit(failing.db, failing.clock.now).is_clean


def test_a_probe_that_works_closes_it_and_all_go_on_without_having_lost_an_attempt(failing: World) -> None:
    batch_id = failing.batch(40, max_concurrent_calls=20, retry_failed=False)
    dispatch_and_place(failing, batch_id)
    heal(failing)
    advance_clock(failing, FIRST_PAUSE_SECONDS)
    assert dispatch_and_place(failing, batch_id).placed == 1
    assert breaker(failing) is None
    advance_clock(failing, PROBE_SECONDS)
    assert dispatch_and_place(failing, batch_id).placed == 19
    failing.run(lambda: failing.is_over(batch_id), grain=5)
    done = failing.progress(batch_id)
    assert done.completed + done.failed == 40
    assert failing.rows("SELECT DISTINCT attempts FROM contacts") == [(1,)]
    assert len(failing.network.log) == 40
    assert audit(failing.db, failing.clock.now).is_clean


@pytest.fixture
def waiting(failing: World) -> list[BatchId]:
    """Three batches that wait for a trunk which is to be probed now."""
    first, *batch_ids = [failing.batch(made_up_phones(10, first=10 * n)) for n in range(4)]
    dispatch_and_place(failing, first)
    for batch_id in batch_ids:
        assert (dispatch_and_place(failing, batch_id).claimed, next_dispatch(failing, batch_id)[1]) == (
            0,
            "trunk_failing",
        )
    advance_clock(failing, FIRST_PAUSE_SECONDS)
    return batch_ids


def test_a_probe_is_one_call_of_all_batches_that_are_dispatched_together(
    failing: World, waiting: list[BatchId]
) -> None:
    assert dispatch_and_place(failing, *waiting).claimed == 1
    heal(failing)
    advance_clock(failing, 2 * FIRST_PAUSE_SECONDS)
    report = dispatch_and_place(failing, *waiting)
    assert (report.claimed, report.placed) == (1, 1)


def test_a_probe_is_one_call_of_all_batches_that_several_workers_dispatch(
    failing: World, waiting: list[BatchId]
) -> None:
    reports = run_concurrently(*(partial(dispatch_and_place, failing, batch_id) for batch_id in waiting))
    assert sum(report.refused for report in reports) == 1
    assert breaker(failing).pause_seconds == 2 * FIRST_PAUSE_SECONDS


class Slow(ProviderPool):
    """ProviderPool whose network takes its time over a call: others dispatch meanwhile."""

    def __init__(self, world: World, meanwhile: Callable[[], object]) -> None:
        self._carriers, self._meanwhile = world.providers, meanwhile

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        answers = self._carriers.place_all(calls)
        self._meanwhile()
        return answers


def test_no_other_batch_is_called_while_a_probe_is_under_way(failing: World, waiting: list[BatchId]) -> None:
    heal(failing)
    meanwhile: list[int] = []

    def others_dispatch() -> None:
        meanwhile.append(dispatch_and_place(failing, *waiting).claimed)
        advance_clock(failing, PROBE_SECONDS - 0.001)
        meanwhile.append(dispatch_and_place(failing, *waiting[1:]).claimed)

    context = replace(failing.context, providers=Slow(failing, others_dispatch))
    assert dispatch_and_place(failing, waiting[0], context=context).placed == 1
    assert meanwhile == [0, 0]
    assert breaker(failing) is None


def test_a_batch_with_numbers_on_another_trunk_goes_on_with_those(failing: World) -> None:
    failing.sql(
        """
        INSERT INTO trunks (id, workspace_id, name, provider, config)
        SELECT gen_random_uuid(), workspace_id, 'second', provider, config FROM trunks
        """
    )
    second = failing.value("SELECT id FROM trunks WHERE name = 'second'")
    failing.networks[second] = type(failing.network)(NetworkProfile())
    last = failing.installed.number_ids[2]
    failing.sql("UPDATE phone_numbers SET trunk_id = :trunk WHERE id = :id", trunk=second, id=last)
    batch_id = failing.batch(60, max_concurrent_calls=30, phone_rotation_strategy="sequential")
    dispatch_and_place(failing, batch_id)
    assert breaker(failing).opened_at is not None
    advance_clock(failing, 1)
    report = dispatch_and_place(failing, batch_id)
    assert (report.placed, report.refused) == (30, 0)


def test_an_operator_who_changes_the_trunk_closes_it(failing: World) -> None:
    batch_id = failing.batch(30, max_concurrent_calls=BREAK_AFTER)
    dispatch_and_place(failing, batch_id)
    advance_clock(failing, 1)
    assert dispatch_and_place(failing, batch_id).claimed == 0
    failing.sql("UPDATE trunks SET config = config")
    assert breaker(failing) is None
    assert next_dispatch(failing, batch_id)[0] == failing.clock.now
    heal(failing)
    assert dispatch_and_place(failing, batch_id).placed == BREAK_AFTER


def test_a_change_of_one_trunk_does_not_close_the_breaker_of_another(failing: World) -> None:
    dispatch_and_place(failing, failing.batch(30, max_concurrent_calls=BREAK_AFTER))
    opened = breaker(failing)
    failing.sql(
        "INSERT INTO trunks (id, workspace_id, name, provider)"
        " SELECT gen_random_uuid(), workspace_id, 'second', provider FROM trunks"
    )
    failing.sql("UPDATE trunks SET config = config WHERE name = 'second'")
    assert breaker(failing) == opened


def test_the_doctor_names_a_failing_trunk_and_when_it_is_tried_again(failing: World) -> None:
    dispatch_and_place(failing, failing.batch(30, max_concurrent_calls=BREAK_AFTER))
    with failing.db.begin() as connection:
        (trouble,) = health.troubles(connection, failing.clock.now)
    assert trouble.startswith("Trunk simulator is failing, so no calls go out on it: 10 placements in a row")
    assert "server_error; it is tried again at 2026-03-02 08:00:30 UTC" in trouble


def test_a_network_that_takes_fewer_calls_a_second_is_not_failing_and_all_are_called_soon(
    make_world: MakeWorld,
) -> None:
    world = make_world(calls_per_second=5)
    batch_id = world.batch(60, max_concurrent_calls=60, retry_failed=False)
    assert dispatch_and_place(world, batch_id).refused == 55
    assert world.rows("SELECT DISTINCT attempts, refusals FROM contacts WHERE status = 'waiting'") == [(0, 0)]
    began = world.clock.now
    world.run(lambda: world.rows("SELECT 1 FROM contacts WHERE status IN ('pending', 'waiting')") == [], grain=0.5)
    assert breaker(world) is None
    # Fifty-five are left at five a second; nobody waits as long as for a trunk that is down.
    assert (world.clock.now - began).total_seconds() < 3 * 55 / 5
    assert len(world.network.log) == 60
    assert audit(world.db, world.clock.now).is_clean


def test_what_leaves_too_late_does_not_make_a_trunk_fail(make_world: MakeWorld) -> None:
    world = make_world()
    context = replace(world.context, providers=TooLate())
    report = dispatch_and_place(world, world.batch(30, max_concurrent_calls=30), context=context)
    assert (report.refused, breaker(world)) == (30, None)
    assert world.rows("SELECT DISTINCT status, attempts FROM contacts") == [("waiting", 0)]
