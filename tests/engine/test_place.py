"""Place: between the claim and the departure anything may happen, and each request leaves once, or never."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from dialer.domain.breaker import LAST_PAUSE_SECONDS
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import CauseClass
from dialer.domain.pacing import RateLimit
from dialer.domain.timeouts import LEAVE_SECONDS, PLACE_SECONDS
from dialer.domain.trunk import Trunk
from dialer.engine.context import EngineContext
from dialer.engine.departure import Departure
from dialer.engine.dispatch import dispatch
from dialer.engine.place import PlaceReport, place
from dialer.engine.rescue import rescue
from dialer.engine.retry import retry
from dialer.errors import Unavailable
from dialer.providers.base import CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.pool import ProviderPool
from dialer.store import permits
from dialer.store.database import Database, rows, run
from dialer.store.leases import Leases
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import (
    advance_clock,
    assert_audit_is_clean,
    day_allowance,
    dispatch_and_place,
    held_leases,
    lock_waiters,
    next_dispatch,
    run_concurrently,
    set_limit,
)
from support.world import MONDAY, World, made_up_phones

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE 'UPDATE batches%'"


def reserved(world: World, *batch_ids: BatchId) -> Departure:
    """Dispatch, and return the one departure of it."""
    (departure,) = dispatch(world.context, batch_ids, world.clock.now, world.rng).departures
    return departure


def leave(world: World, departure: Departure, context: EngineContext | None = None) -> PlaceReport:
    return place(context or world.context, departure, world.clock.now)


def attempts(world: World) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in world.rows("SELECT state, cause FROM attempts ORDER BY id")]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("UPDATE batches SET status = 'paused'", "batch_paused"),
        ("UPDATE batches SET status = 'cancelled'", "batch_cancelled"),
        (
            "INSERT INTO suppressions SELECT b.workspace_id, c.phone_number FROM contacts c, batches b",
            "suppressed",
        ),
    ],
)
def test_what_was_stopped_after_it_was_reserved_does_not_leave(world: World, change: str, cause: str) -> None:
    set_limit(world, "phone_numbers", "max_calls_per_day = 100")
    departure = reserved(world, world.batch(3, max_calls_per_day=3))
    world.sql(change)
    assert leave(world, departure) == PlaceReport(refused=3, causes={cause: 3})
    assert attempts(world) == [("refused", cause)] * 3
    assert (len(world.network.log), held_leases(world), day_allowance(world)) == (0, {}, 0)
    assert world.value("SELECT attempts FROM batch_days") == 0
    assert_audit_is_clean(world)


@pytest.mark.parametrize(
    ("change", "status"),
    [("status = 'cancelled', finished_at = dialer_now()", "cancelled"), ("phone_number = '+12025550177'", "waiting")],
)
def test_no_call_leaves_to_a_contact_that_was_taken_out_or_has_another_number(
    world: World, change: str, status: str
) -> None:
    departure = reserved(world, world.batch(2))
    world.sql(f"UPDATE contacts SET {change} WHERE id = (SELECT contact_id FROM attempts ORDER BY id LIMIT 1)")
    report = leave(world, departure)
    assert (report.placed, report.causes) == (1, {"contact_changed": 1})
    assert {row.status for row in world.rows("SELECT status FROM contacts")} == {status, "dialing"}


def test_a_contact_that_a_pause_kept_from_leaving_is_called_when_the_batch_goes_on(world: World) -> None:
    batch_id = world.batch(3)
    for _ in range(4):
        departure = reserved(world, batch_id)
        world.sql("UPDATE batches SET status = 'paused'")
        leave(world, departure)
        world.sql("UPDATE batches SET status = 'active'")
        assert retry(world.context, world.clock.now).requeued == 3
    assert dispatch_and_place(world, batch_id).placed == 3
    assert world.value("SELECT sum(refusals) FROM contacts") == 0, "nobody waits longer each time"
    assert_audit_is_clean(world)


def test_what_was_given_back_does_not_leave_when_its_batch_goes_on_and_its_departure_runs_again(world: World) -> None:
    departure = reserved(world, world.batch(3))
    world.sql("UPDATE batches SET status = 'paused'")
    assert leave(world, departure).refused == 3
    world.sql("UPDATE batches SET status = 'active'")
    assert leave(world, departure) == PlaceReport()
    assert len(world.network.log) == 0


def test_a_departure_that_runs_twice_sends_each_request_once(world: World) -> None:
    departure = reserved(world, world.batch(20, max_concurrent_calls=20))
    reports = run_concurrently(*[partial(leave, world, departure)] * 4)
    assert sorted(report.placed for report in reports) == [0, 0, 0, 20]
    assert leave(world, departure) == PlaceReport()
    assert len(world.network.log) == 20
    assert_audit_is_clean(world)


def test_a_request_does_not_leave_that_another_worker_is_being_permitted_to_send(world: World) -> None:
    departure = reserved(world, world.batch(3))
    with ThreadPoolExecutor(1) as pool, world.db.begin() as other:
        assert len(permits.permit(other, departure.attempt_ids).may_leave) == 3
        leaving = pool.submit(leave, world, departure)
        wait_until(lambda: lock_waiters(world) == 1 or leaving.done())
        other.commit()
        assert leaving.result(DEADLINE_SECONDS).placed == 0
    assert len(world.network.log) == 0


class Dying(ProviderPool):
    """A worker that dies when its requests would leave."""

    def __init__(self) -> None:
        """It connects to nothing."""

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        raise SystemExit(len(calls))


def test_a_worker_that_died_when_its_requests_left_does_not_send_them_after_it_was_started_again(world: World) -> None:
    departure = reserved(world, world.batch(2))
    with pytest.raises(SystemExit):
        leave(world, departure, replace(world.context, providers=Dying()))
    assert leave(world, departure) == PlaceReport()
    assert len(world.network.log) == 0


def test_a_worker_that_wakes_after_rescue_has_given_the_attempts_up_sends_nothing(world: World) -> None:
    departure = reserved(world, world.batch(2))
    advance_clock(world, 31)
    # The machine stood still, and its clock with it: by that clock there is still time.
    asleep = replace(world.context, clock=lambda: MONDAY)
    rescue(world.context, world.clock.now, world.rng)
    assert attempts(world) == [("refused", "never_placed")] * 2
    assert leave(world, departure, asleep) == PlaceReport()
    assert len(world.network.log) == 0


def test_what_is_too_old_by_the_clock_of_the_ledger_is_given_back(world: World) -> None:
    departure = reserved(world, world.batch(2))
    advance_clock(world, PLACE_SECONDS)
    unasked = replace(world.context, clock=lambda: MONDAY, providers=Dying())
    assert leave(world, departure, unasked).refused == 2
    assert attempts(world) == [("refused", "too_late")] * 2
    assert world.value("SELECT count(*) FROM trunk_health") == 0


def test_what_becomes_too_old_before_its_permit_does_not_leave(world: World) -> None:
    departure = reserved(world, world.batch(2))
    advance_clock(world, PLACE_SECONDS)
    unasked = replace(world.context, clock=lambda: MONDAY, providers=Dying())
    assert place(unasked, departure, MONDAY).refused == 2
    assert attempts(world) == [("refused", "too_late")] * 2


def test_a_request_must_leave_soon_after_the_last_look(world: World) -> None:
    asked: list[CallRequest] = []

    class Asked(ProviderPool):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            asked.extend(request for _, request in calls)
            advance_clock(world, LEAVE_SECONDS)
            return {request.attempt_id: Placed("one") for _, request in calls}

    departure = reserved(world, world.batch(1, start_time="07:00", end_time="12:00"))
    leave(world, departure, replace(world.context, providers=Asked(lambda _: None, world.clock)))  # type: ignore[arg-type,return-value]
    assert asked[0].leave_by == MONDAY.add(seconds=LEAVE_SECONDS)
    assert asked[0].place_by == MONDAY.add(seconds=PLACE_SECONDS)
    ring_by = replace(asked[0], ring_by=MONDAY.add(seconds=1))
    assert ring_by.leave_by == MONDAY.add(seconds=1)


def test_the_ledger_s_clock_ends_the_window_where_that_of_the_machine_is_behind(world: World) -> None:
    asked: list[CallRequest] = []

    class Asked(ProviderPool):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            asked.extend(request for _, request in calls)
            return dict.fromkeys([request.attempt_id for _, request in calls], Placed("one"))

    behind = timedelta(seconds=3)
    context = replace(
        world.context,
        clock=lambda: world.clock.now - behind,
        providers=Asked(lambda _: None, world.clock),  # type: ignore[arg-type,return-value]
    )
    advance_clock(world, 49)
    first, second = (reserved(world, world.batch(1, start_time="07:00", end_time="08:01")) for _ in range(2))
    advance_clock(world, 10)
    assert leave(world, first, context).placed == 1
    assert asked[0].leave_by + behind == MONDAY.add(minutes=1)
    advance_clock(world, 1)
    assert (leave(world, second, context).refused, len(asked)) == (1, 1)


@pytest.mark.parametrize("of", ["batches", "contacts"])
def test_no_call_leaves_once_its_contact_has_expired(world: World, of: str) -> None:
    batch_id = world.batch(1)
    world.sql(f"UPDATE {of} SET expires_at = dialer_now() + interval '2 seconds'")
    departure = reserved(world, batch_id)
    advance_clock(world, 2)
    assert leave(world, departure).refused == 1
    world.run(lambda: world.is_over(batch_id))
    assert (len(world.network.log), world.value("SELECT status_reason FROM contacts")) == (0, "expired")


def test_a_contact_and_an_agent_that_were_written_badly_in_sql_are_no_failures_of_their_trunk(world: World) -> None:
    batch_id = world.batch(2)
    world.sql("UPDATE contacts SET variables = '[1]'")
    world.sql("""UPDATE agents SET connection = '{"simulator": "here"}'""")
    requests = reserved(world, batch_id).requests
    assert [(dict(request.connection), dict(request.contact.variables)) for request in requests] == [({}, {})] * 2


def test_a_process_that_stood_still_between_the_last_look_and_the_departure_sends_nothing(world: World) -> None:
    departure = reserved(world, world.batch(2))

    class Stopped(ProviderPool):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            advance_clock(world, LEAVE_SECONDS)
            return world.providers.place_all(calls)

    stopped = replace(world.context, providers=Stopped(lambda _: None, world.clock))  # type: ignore[arg-type,return-value]
    assert leave(world, departure, stopped).refused == 2
    assert attempts(world) == [("refused", "too_late")] * 2
    assert len(world.network.log) == 0


def test_a_request_that_was_permitted_by_a_slow_ledger_does_not_leave_when_no_stop_waits_for_it_any_more(
    world: World,
) -> None:
    departure = reserved(world, world.batch(2))

    class Slow(Database):
        def __init__(self) -> None:
            """It has the connections of the world."""

        def begin(self) -> Any:
            advance_clock(world, LEAVE_SECONDS)
            return world.db.begin()

    assert leave(world, departure, replace(world.context, db=Slow())).refused == 2
    assert attempts(world) == [("refused", "too_late")] * 2
    assert len(world.network.log) == 0


def test_a_batch_that_an_operator_holds_open_waits_and_the_others_on_its_trunk_leave(world: World) -> None:
    held, other = world.batch(2), world.batch(made_up_phones(3, first=10))
    departure = reserved(world, held, other)
    with world.db.begin() as operator:
        run(operator, "UPDATE batches SET name = 'mine' WHERE id = :id", id=held)
        with ThreadPoolExecutor(1) as pool:
            report = pool.submit(leave, world, departure).result(10)
    assert report.placed == 3
    (waiting,) = report.later
    assert len(waiting.requests) == 2
    assert leave(world, waiting).placed == 2
    assert_audit_is_clean(world)


@pytest.mark.parametrize("what", ["db", "leases"])
def test_where_a_server_is_away_nothing_leaves_and_all_of_it_is_tried_again(world: World, what: str) -> None:
    set_limit(world, "trunks", "calls_per_second = 10")
    departure = world.dispatch([world.batch(1)]).departures[0]
    advance_clock(world, 2)

    class Away(Database):
        def __init__(self) -> None:
            """It is connected to nothing."""

        def begin(self, *_: object) -> Any:
            raise Unavailable("the server does not answer")

    away: Any = Away()
    if what == "leases":
        away.leave = away.begin
    (again,) = leave(world, departure, replace(world.context, **{what: away})).later
    assert (again.requests, again.wait_seconds > 0) == (departure.requests, True)
    assert leave(world, again).placed == 1


def test_calls_of_a_trunk_with_a_rate_leave_one_by_one(world: World) -> None:
    set_limit(world, "trunks", "calls_per_second = 4")
    batch_id = world.batch(40, max_concurrent_calls=40)
    world.run(lambda: len(world.network.log) == 40)
    starts = [call.placed_at for call in world.network.log]
    assert all((after - at).total_seconds() > 1 for at, after in zip(starts, starts[4:], strict=False))
    assert (starts[-1] - starts[0]).total_seconds() < 39 / 4 * 1.03
    world.run(lambda: world.is_over(batch_id))
    assert_audit_is_clean(world)


def test_calls_that_are_planned_for_about_the_same_time_leave_together_when_the_first_of_them_may(
    world: World,
) -> None:
    set_limit(world, "trunks", "calls_per_second = 100")
    batch_id = world.batch(20, max_concurrent_calls=20)
    departures = dispatch(world.context, [batch_id], world.clock.now, world.rng).departures
    # Every 10.2 ms, after a window of silence.
    planned = [(departure.wait_seconds, len(departure.requests)) for departure in departures]
    assert planned == [(1.0, 5), (1.051, 5), (1.102, 5), (1.153, 5)]


def test_how_long_an_answer_took_is_noted_for_the_rate(world: World) -> None:
    noted: list[tuple[float, int]] = []

    class Noting(Leases):
        def answered(self, now: Any, rate: RateLimit, took_seconds: float, attempt_ids: Sequence[AttemptId]) -> None:
            noted.append((took_seconds, len(attempt_ids)))
            super().answered(now, rate, took_seconds, attempt_ids)

    class Slow(ProviderPool):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            advance_clock(world, 0.75)
            return world.providers.place_all(calls)

    set_limit(world, "trunks", "calls_per_second = 1")
    departure = reserved(world, world.batch(1))
    leases = Noting(world.redis_url, is_virtual=True)
    context = replace(world.context, leases=leases, providers=Slow(lambda _: None, world.clock))  # type: ignore[arg-type,return-value]
    leases.leave(world.clock.now, RateLimit(departure.trunk.id, 1, 1000), [])  # from now on departures are counted
    advance_clock(world, 1)
    assert leave(world, departure, context).placed == 1
    assert noted == [(0.75, 1)]
    assert world.value("SELECT placed_at FROM attempts") == world.value("SELECT sent_at FROM attempts")
    leases.close()


def test_a_departure_that_comes_too_early_for_the_rate_goes_later(world: World) -> None:
    set_limit(world, "trunks", "calls_per_second = 2")
    departures = dispatch(world.context, [world.batch(5)], world.clock.now, world.rng).departures
    together = replace(
        departures[0], requests=tuple(request for departure in departures for request in departure.requests)
    )
    # What left before anybody counted may still count.
    assert leave(world, together).later[0].wait_seconds == 1
    advance_clock(world, 1)
    report = leave(world, together)
    assert report.placed == 2
    (rest,) = report.later
    assert len(rest.requests) == len(together.requests) - 2
    assert rest.wait_seconds == pytest.approx(1.005)


@pytest.mark.parametrize("together", [False, True])
def test_what_is_too_late_to_leave_uses_up_nothing_of_the_rate(world: World, together: bool) -> None:
    set_limit(world, "trunks", "calls_per_second = 0.5")
    first, second = (world.batch(made_up_phones(1, first=n)) for n in range(2))
    late = reserved(world, first)
    # What left before anybody counted may still count.
    leave(world, late)
    advance_clock(world, PLACE_SECONDS)
    in_time = reserved(world, second)
    if together:
        in_time = replace(in_time, requests=(*late.requests, *in_time.requests))
    else:
        assert leave(world, late) == PlaceReport(refused=1, causes={"too_late": 1})
    assert leave(world, in_time).placed == 1


def test_what_is_late_for_one_clock_and_in_time_for_the_other_does_not_leave(world: World) -> None:
    departure = reserved(world, world.batch(2))
    late, in_time = departure.requests
    split = replace(departure, requests=(replace(late, place_by=world.clock.now), in_time))
    report = leave(world, split, replace(world.context, clock=lambda: MONDAY.subtract(seconds=1)))
    assert (report.placed, report.refused) == (1, 1)
    assert [call.attempt_id for call in world.network.log] == [in_time.attempt_id]
    assert sorted(attempts(world)) == [("placed", None), ("refused", "too_late")]


@pytest.mark.parametrize("stop", ["paused", "cancelled"])
def test_a_stop_is_confirmed_only_when_nothing_is_leaving_any_more(world: World, stop: str) -> None:
    """On the real clock, as the trigger waits by it."""
    own_time = Database(world.database_url)
    batch_id = world.batch(3)
    departure = reserved(world, batch_id)
    sent: list[str] = []

    class Slow(ProviderPool):
        """Requests that leave only when somebody waits for them."""

        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            pausing.append(pool.submit(pause))
            wait_until(lambda: world.value(WAITING) == 1)
            assert not pausing[0].done()
            sent.append("sent")
            return {request.attempt_id: Placed("one") for _, request in calls}

    def pause() -> None:
        with own_time.begin() as connection:
            run(connection, "UPDATE batches SET status = :stop WHERE id = :id", stop=stop, id=batch_id)
        sent.append(stop)

    pausing: list[Any] = []
    context = replace(world.context, db=own_time, providers=Slow(lambda _: None, world.clock))  # type: ignore[arg-type,return-value]
    with ThreadPoolExecutor(1) as pool:
        world.sql("UPDATE attempts SET created_at = clock_timestamp()")
        assert leave(world, departure, context).placed == 3
        pausing[0].result(10)
    own_time.close()
    assert sent == ["sent", stop]


def test_a_stop_waits_for_what_may_be_leaving_of_its_own_batch_alone(world: World) -> None:
    """On the real clock, in which these requests would be leaving for an hour."""
    own_time = Database(world.database_url)
    batch_id, other = world.batch(1), world.batch(made_up_phones(1, first=10))
    assert dispatch_and_place(world, batch_id).placed == 1
    dispatch(world.context, [other], world.clock.now, world.rng)
    world.sql("UPDATE attempts SET sent_at = clock_timestamp() + interval '1 hour'")
    with own_time.begin() as connection:
        run(connection, "SELECT set_config('statement_timeout', '20s', true)")
        assert run(connection, "UPDATE batches SET status = 'paused' WHERE id = :id", id=batch_id) == 1
    own_time.close()


def test_a_stop_waits_for_as_long_as_a_permitted_request_may_take_to_leave(world: World) -> None:
    function = world.value("SELECT pg_get_functiondef(CAST('wait_for_departures' AS regproc))")
    assert f"sent_at > clock_timestamp() - interval '{LEAVE_SECONDS} seconds'" in function


# An agent whose destination is missing is held: tests/engine/test_agent_failing.py.
@pytest.mark.parametrize("cause_class", sorted(set(CauseClass) - {CauseClass.RATE, CauseClass.AGENT}))
def test_a_refusal_for_another_reason_than_the_rate_keeps_no_other_call_from_leaving(
    world: World, cause_class: CauseClass
) -> None:
    class Refusing(ProviderPool):
        def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
            return {request.attempt_id: Refused("no", cause_class, 7) for _, request in calls}

    batch_id = world.batch(2, max_concurrent_calls=1)
    refusing = replace(world.context, providers=Refusing(lambda _: None, world.clock))  # type: ignore[arg-type,return-value]
    assert dispatch_and_place(world, batch_id, context=refusing).refused == 1
    assert dispatch_and_place(world, batch_id).placed == 1


class TooFast(ProviderPool):
    """A network that takes no call now, and says when it will, if it does."""

    def __init__(self, retry_after_seconds: float | None) -> None:
        self._seconds = retry_after_seconds

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        return {request.attempt_id: Refused("rate_limited", CauseClass.RATE, self._seconds) for _, request in calls}


@pytest.mark.parametrize(("asked_for", "pause"), [(None, 1), (7, 7), (1e9, LAST_PAUSE_SECONDS)])
def test_a_network_that_says_too_fast_is_left_alone_for_as_long_as_is_reasonable(
    world: World, asked_for: float | None, pause: float
) -> None:
    batch_id = world.batch(2, max_concurrent_calls=1)
    assert (
        dispatch_and_place(world, batch_id, context=replace(world.context, providers=TooFast(asked_for))).refused == 1
    )
    assert world.value("SELECT sum(refusals) FROM contacts") == 0
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.add(seconds=pause), "rate")
    assert world.value("SELECT due_at FROM contacts WHERE status = 'waiting'") <= MONDAY.add(seconds=max(pause, 5))


def test_a_network_that_says_too_fast_pauses_its_trunk_and_is_no_failure(world: World) -> None:
    batch_id = world.batch(20, max_concurrent_calls=15)
    assert dispatch_and_place(world, batch_id, context=replace(world.context, providers=TooFast(7))).refused == 15
    assert world.value("SELECT count(*) FROM trunk_health") == 0
    assert world.value("SELECT count(*) FROM contacts WHERE refusals > 0 OR attempts > 0") == 0
    advance_clock(world, 6.9)
    assert dispatch_and_place(world, batch_id).claimed == 0
    assert next_dispatch(world, batch_id) == (MONDAY.add(seconds=7), "rate")
    advance_clock(world, 0.1)
    assert retry(world.context, world.clock.now).requeued == 15
    assert dispatch_and_place(world, batch_id).placed == 15
    assert_audit_is_clean(world)


class Held(ProviderPool):
    """After requests have left, someone locks rows and stands still. `answer`: what the network says of each."""

    def __init__(self, world: World, answer: Placement | None, statement: str) -> None:
        self._world, self._answer, self._statement = world, answer, statement
        self.operator = ExitStack()

    def place_all(self, calls: Sequence[tuple[Trunk, CallRequest]]) -> dict[AttemptId, Placement]:
        answers = self._world.providers.place_all(calls)
        rows(self.operator.enter_context(self._world.db.begin()), self._statement)
        return {of: self._answer or answer for of, answer in answers.items()}


@pytest.mark.parametrize("answer", [None, Unclear("no answer")])
def test_an_attempt_that_is_locked_when_its_answer_comes_is_found_by_rescue_and_the_others_are_noted(
    world: World, answer: Placement | None
) -> None:
    departure = reserved(world, world.batch(3))
    first, *others = departure.attempt_ids
    pool = Held(world, answer, f"SELECT 1 FROM attempts WHERE id = '{first}' FOR UPDATE")
    with pool.operator:
        leave(world, departure, replace(world.context, providers=pool))
    state = "unclear" if answer else "placed"
    assert dict(world.rows("SELECT id, state FROM attempts")) == {first: "reserved"} | dict.fromkeys(others, state)
    advance_clock(world, 30)
    world.rescue()
    assert world.value("SELECT state FROM attempts WHERE id = :id", id=first) != "reserved"


def test_what_waits_to_leave_is_not_lost_when_someone_is_changing_the_trunk_whose_breaker_would_be_noted(
    world: World,
) -> None:
    departure = reserved(world, world.batch(3))
    rate = RateLimit(departure.trunk.id, limit=1, window_ms=1000)
    world.leases.leave(world.clock.now, rate, [])  # from now on its departures are counted
    world.sql("INSERT INTO trunk_health (trunk_id, failures, reason) SELECT id, 1, 'x' FROM trunks")
    pool = Held(world, Unclear("no answer"), "UPDATE trunks SET name = 'edited' RETURNING id")
    advance_clock(world, 2)
    with pool.operator:
        report = leave(world, replace(departure, rate=rate), replace(world.context, providers=pool))
    assert (report.unclear, [len(departure.requests) for departure in report.later]) == (1, [2])


def test_a_call_that_has_passed_the_rate_and_leaves_late_still_counts_on_a_slow_network(world: World) -> None:
    """Answers take 2 s here, so that a call without an answer is no reason to believe that it has not begun."""
    set_limit(world, "trunks", "calls_per_second = 1")
    first, second = (reserved(world, world.batch(made_up_phones(1, first=n))) for n in range(2))
    rate = RateLimit(first.trunk.id, 1, 1000)
    world.context.leases.leave(world.clock.now, rate, [])  # from now on departures are counted
    world.context.leases.answered(world.clock.now, rate, 2.0, [])
    advance_clock(world, 1)
    reports: list[PlaceReport] = []

    class Stopped(Database):
        """Stands still between the rate and the permit, while another worker goes on."""

        def begin(self) -> Any:
            if not reports:
                advance_clock(world, 1.1)
                reports.append(leave(world, second))
            return world.db.begin()

    stopped = Stopped(world.database_url)
    assert leave(world, first, replace(world.context, db=stopped)).placed == 1
    stopped.close()
    assert reports[0].placed == 0
    (again,) = reports[0].later
    advance_clock(world, again.wait_seconds)
    assert leave(world, again).placed == 0, "the first left just now"
    advance_clock(world, 1)
    assert leave(world, again).placed == 1
    assert_audit_is_clean(world)


@pytest.mark.parametrize("method", ["answered", "pause_trunk"])
def test_what_the_network_answered_is_recorded_where_redis_fails_just_then(world: World, method: str) -> None:
    def fail(*_: Any) -> None:
        raise Unavailable("Redis does not answer")

    departure = reserved(world, world.batch(2))
    rate = RateLimit(departure.trunk.id, 100, 1000)
    world.leases.leave(world.clock.now, rate, [])  # from now on its departures are counted
    advance_clock(world, 1)
    leases = Leases(world.redis_url, is_virtual=True)
    setattr(leases, method, fail)
    leave(world, replace(departure, rate=rate), replace(world.context, leases=leases, providers=TooFast(7)))
    leases.close()
    assert attempts(world) == [("refused", "rate_limited")] * 2
    assert world.value("SELECT count(*) FROM contacts WHERE status = 'waiting' AND attempts = 0") == 2


def test_where_redis_fails_between_the_rate_and_the_departure_nothing_leaves_and_nobody_is_lost(world: World) -> None:
    class Away(Leases):
        def depart(self, *_: Any) -> None:
            raise Unavailable("Redis does not answer")

    set_limit(world, "trunks", "calls_per_second = 1")
    departure = reserved(world, world.batch(1))
    leases = Away(world.redis_url, is_virtual=True)
    leases.leave(world.clock.now, RateLimit(departure.trunk.id, 1, 1000), [])  # from now on departures are counted
    advance_clock(world, 1)
    assert leave(world, departure, replace(world.context, leases=leases)).refused == 1
    leases.close()
    assert (attempts(world), len(world.network.log)) == ([("refused", "too_late")], 0)
    assert world.value("SELECT status FROM contacts") == "waiting"
    assert_audit_is_clean(world)
