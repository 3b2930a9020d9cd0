"""The simulated network in virtual time: its calls, and the effect of each fault."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import DateTime, datetime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, uuid7
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.providers.base import TOO_LATE, Absent, CallRequest, LookupFailed, Placed, Refused, Seen, Unclear
from dialer.providers.simulator import CarrierCall, NetworkProfile, SimulatedNetwork
from dialer.providers.simulator.call import to_micros
from dialer.providers.simulator.network import most_in_any_second

CallRequests = Callable[..., CallRequest]

# Every call: one second until it rings, five of ringing, ten of talking.
STEADY: dict[str, Any] = {
    "outcomes": {"answered": 1},
    "setup_seconds": {"mean": 1, "min": 1, "max": 1},
    "ring_seconds": {"mean": 5, "min": 5, "max": 5},
    "talk_seconds": {"mean": 10, "min": 10, "max": 10},
}
TALKING, ENDED_AFTER = 7, 16


def network(**config: object) -> SimulatedNetwork:
    return SimulatedNetwork(NetworkProfile.parse(STEADY | config))


def run_out(network: SimulatedNetwork) -> list[tuple[DateTime, CallEvent]]:
    """Let time pass until there is nothing left to report; return the reports and when they came."""
    received: list[tuple[DateTime, CallEvent]] = []
    while due := network.next_due():
        events = network.due(due)
        assert events, "a network that says when it has something must have it then"
        received += [(due, event) for event in events]
        network.acknowledge([event.key for event in events])
    return received


def kinds(received: list[tuple[DateTime, CallEvent]]) -> list[EventKind]:
    return [event.kind for _, event in received]


def only(network: SimulatedNetwork) -> CarrierCall:
    (call,) = network.log
    return call


def test_an_answered_call_rings_is_answered_and_ends(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(), call_request(start)
    assert net.place(request, start) == Placed(only(net).call_id)
    received = run_out(net)
    assert kinds(received) == [EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED]
    assert [at.diff(start).in_seconds() for at, _ in received] == [1, 6, 16]
    assert all(event.at == at and event.attempt_id == request.attempt_id for at, event in received)
    ended = received[-1][1]
    assert (ended.outcome, ended.cause, ended.talk_seconds) == (Outcome.ANSWERED, "normal_clearing", 10.0)
    assert {event.outcome for _, event in received[:2]} == {None}


@pytest.mark.parametrize(
    ("outcome", "cause", "steps"),
    [
        (Outcome.MACHINE, "normal_clearing", [EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED]),
        (Outcome.BUSY, "user_busy", [EventKind.ENDED]),
        (Outcome.NO_ANSWER, "no_answer", [EventKind.RINGING, EventKind.ENDED]),
        (Outcome.REJECTED, "call_rejected", [EventKind.RINGING, EventKind.ENDED]),
        (Outcome.INVALID_NUMBER, "unallocated_number", [EventKind.ENDED]),
        (Outcome.FAILED, "normal_temporary_failure", [EventKind.ENDED]),
    ],
)
def test_each_outcome_has_its_steps_and_its_cause(
    start: DateTime, call_request: CallRequests, outcome: Outcome, cause: str, steps: list[EventKind]
) -> None:
    net = network(outcomes={outcome: 1})
    net.place(call_request(start), start)
    received = run_out(net)
    assert kinds(received) == steps
    assert (received[-1][1].outcome, received[-1][1].cause) == (outcome, cause)


def test_the_log_says_what_the_reports_say_when_none_is_tampered_with(
    start: DateTime, call_request: CallRequests
) -> None:
    net = SimulatedNetwork(NetworkProfile())
    for second in range(200):
        net.place(call_request(start), start.add(seconds=second % 15))
    ends = {event.attempt_id: event for _, event in run_out(net) if event.kind is EventKind.ENDED}
    assert {call.outcome for call in net.log} >= {Outcome.ANSWERED, Outcome.MACHINE, Outcome.NO_ANSWER}
    for call in net.log:
        assert (ends[call.attempt_id].at, ends[call.attempt_id].outcome) == (call.ended_at, call.outcome)
        assert (call.rang_at is not None) == (call.outcome in {"answered", "machine", "no_answer", "rejected"})
        assert (call.answered_at is not None) == (call.outcome in {"answered", "machine"})
        steps = [call.placed_at, call.rang_at, call.answered_at, call.ended_at]
        assert sorted(step for step in steps if step) == [step for step in steps if step]


def test_speed_divides_every_duration_but_no_moment(start: DateTime, call_request: CallRequests) -> None:
    net = network(speed=10, outcomes={"no_answer": 1})
    net.place(call_request(start, ring_timeout_seconds=30), start)
    assert only(net).rang_at == start.add(microseconds=100_000)
    assert only(net).ended_at == start.add(microseconds=3_100_000)


def test_nobody_rings_longer_than_the_ring_timeout(start: DateTime, call_request: CallRequests) -> None:
    net = network()
    net.place(call_request(start, ring_timeout_seconds=4), start)
    assert (only(net).outcome, only(net).ended_at) == (Outcome.NO_ANSWER, start.add(seconds=5))


@given(numbers=st.lists(st.sampled_from("abcde"), max_size=30), data=st.data())
def test_the_course_of_a_call_depends_on_seed_number_and_count_alone(numbers: list[str], data: st.DataObject) -> None:
    config = {"seed": 5, "faults": {"lost": 0.3, "late": 0.3, "repeated": 0.3, "reordered": 0.3, "timeout_after": 0.3}}
    runs = [numbers, data.draw(st.permutations(numbers))]
    assert _courses(config, runs[0], seed=1) == _courses(config, runs[1], seed=2)


def _courses(config: dict[str, Any], numbers: list[str], seed: int) -> dict[tuple[str, int], object]:
    """Place a call to each number, at odd times and under ids that depend on `seed`; return the course of each."""
    rng, start = Random(seed), datetime(2026, 3, 2)
    net, seen, names = SimulatedNetwork(NetworkProfile.parse(config)), Counter[str](), {}
    for number in numbers:
        now = start.add(microseconds=rng.randrange(10**9))
        seen[number] += 1
        attempt_id = AttemptId(uuid7(now, rng))
        answer = net.place(CallRequest(attempt_id, number, "+1", {}, 30, now, None), now)
        names[attempt_id] = (number, seen[number], type(answer), now)
    reports: dict[AttemptId, list[tuple[EventKind, float]]] = {name: [] for name in names}
    for at, event in run_out(net):
        placed = names[event.attempt_id][3]
        reports[event.attempt_id].append((event.kind, round((at - placed).total_seconds(), 6)))
    return {names[name][:2]: (names[name][2], report) for name, report in reports.items()}


def test_another_seed_is_another_world(start: DateTime, call_request: CallRequests) -> None:
    numbers = [f"+4930{n}" for n in range(50)]
    worlds = []
    for seed in (1, 2):
        net = SimulatedNetwork(NetworkProfile.parse({"seed": seed}))
        for number in numbers:
            net.place(call_request(start, number), start)
        worlds.append([call.outcome for call in net.log])
    assert worlds[0] != worlds[1]


def test_an_attempt_placed_twice_rings_twice_and_the_log_shows_it(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(), call_request(start)
    first, second = net.place(request, start), net.place(request, start.add(seconds=1))
    assert isinstance(first, Placed)
    assert isinstance(second, Placed)
    assert first.provider_call_id != second.provider_call_id
    assert [call.attempt_id for call in net.log] == [request.attempt_id] * 2
    assert len({event.key for _, event in run_out(net)}) == 6


def test_a_request_past_its_place_by_is_refused(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(), call_request(start, place_by=start)
    assert net.place(request, start) == TOO_LATE
    assert net.look_up(request.attempt_id, start.add(seconds=1)) == Absent()
    assert isinstance(net.place(request, start.subtract(microseconds=1)), Placed)


@pytest.mark.parametrize("outcome", ["answered", "busy"])
def test_a_call_that_would_ring_only_at_ring_by_is_given_up_then(
    start: DateTime, call_request: CallRequests, outcome: str
) -> None:
    net, end = network(outcomes={outcome: 1}), start.add(seconds=1)
    assert isinstance(net.place(call_request(start, ring_by=end), start), Placed)
    assert (only(net).rang_at, only(net).ended_at, only(net).outcome) == (None, end, Outcome.NO_ANSWER)
    assert [event.cause for _, event in run_out(net)] == ["recovery_on_timer_expire"]


def test_a_call_that_rings_just_before_ring_by_goes_on(start: DateTime, call_request: CallRequests) -> None:
    net, end = network(), start.add(seconds=1, microseconds=1)
    net.place(call_request(start, ring_by=end), start)
    assert (only(net).rang_at, only(net).outcome) == (start.add(seconds=1), Outcome.ANSWERED)


def test_a_request_at_its_ring_by_is_refused(start: DateTime, call_request: CallRequests) -> None:
    assert isinstance(network().place(call_request(start, ring_by=start), start), Refused)


@pytest.mark.parametrize(
    ("after", "outcome", "left"),
    [
        (0, Outcome.CANCELLED, []),
        (3, Outcome.CANCELLED, [EventKind.RINGING]),
        (TALKING, Outcome.ANSWERED, [EventKind.RINGING, EventKind.ANSWERED]),
    ],
)
def test_hanging_up_cuts_the_call_short(
    start: DateTime, call_request: CallRequests, after: int, outcome: Outcome, left: list[EventKind]
) -> None:
    net, request, then = network(), call_request(start), start.add(seconds=after)
    net.place(request, start)
    net.hang_up(request.attempt_id, then)
    net.hang_up(request.attempt_id, then.add(seconds=1))
    assert (only(net).ended_at, only(net).outcome) == (then, outcome)
    received = run_out(net)
    assert kinds(received) == [*left, EventKind.ENDED]
    assert (received[-1][0], received[-1][1].outcome) == (then, outcome)


def test_hanging_up_an_ended_or_unknown_call_does_nothing(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(), call_request(start)
    net.place(request, start)
    before = only(net)
    net.hang_up(request.attempt_id, start.add(seconds=ENDED_AFTER))
    net.hang_up(call_request(start).attempt_id, start)
    assert only(net) == before


def test_a_look_up_tells_what_has_happened_so_far(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(faults={"lost": 1}), call_request(start)
    net.place(request, start)
    seen = [net.look_up(request.attempt_id, start.add(seconds=after)) for after in (0, TALKING, ENDED_AFTER)]
    assert [len(each.events) for each in seen if isinstance(each, Seen)] == [0, 2, 3]
    assert isinstance(seen[2], Seen)
    assert (seen[2].events[-1].kind, seen[2].events[-1].outcome) == (EventKind.ENDED, Outcome.ANSWERED)


def test_lost_reports_never_come(start: DateTime, call_request: CallRequests) -> None:
    net = network(faults={"lost": 1})
    net.place(call_request(start), start)
    assert (net.next_due(), net.due(start.add(days=9)), len(net.log)) == (None, [], 1)


def test_late_reports_come_late_and_tell_the_true_time(start: DateTime, call_request: CallRequests) -> None:
    net = network(faults={"late": 1, "late_seconds": 100}, speed=2)
    net.place(call_request(start), start)
    assert [(at - event.at).total_seconds() for at, event in run_out(net)] == [50.0] * 3


def test_repeated_reports_come_twice_with_the_same_key(start: DateTime, call_request: CallRequests) -> None:
    net = network(faults={"repeated": 1})
    net.place(call_request(start), start)
    received = [event for _, event in run_out(net)]
    assert sorted(Counter(event.key for event in received).values()) == [2, 2, 2]
    assert len(set(received)) == 3


def test_reordered_reports_come_in_the_wrong_order(start: DateTime, call_request: CallRequests) -> None:
    net = network(faults={"reordered": 1})
    net.place(call_request(start), start)
    received = run_out(net)
    assert kinds(received) == [EventKind.ENDED, EventKind.ANSWERED, EventKind.RINGING]
    assert all(at >= event.at for at, event in received)


def test_a_timeout_before_leaves_no_call(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(faults={"timeout_before": 1}), call_request(start)
    assert isinstance(net.place(request, start), Unclear)
    assert (net.look_up(request.attempt_id, start.add(minutes=1)), net.log) == (Absent(), ())


def test_a_timeout_after_leaves_a_call_that_rings(start: DateTime, call_request: CallRequests) -> None:
    net, request = network(faults={"timeout_after": 1}), call_request(start)
    assert isinstance(net.place(request, start), Unclear)
    assert kinds(run_out(net)) == [EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED]


@pytest.mark.parametrize("fault", ["refused", "server_error"])
def test_a_refused_placement_leaves_no_call_and_blames_the_network(
    start: DateTime, call_request: CallRequests, fault: str
) -> None:
    net, request = network(faults={fault: 1}), call_request(start)
    answer = net.place(request, start)
    assert isinstance(answer, Refused)
    assert answer.cause_class is CauseClass.INFRASTRUCTURE
    assert (net.look_up(request.attempt_id, start), net.log) == (Absent(), ())


def test_a_fault_with_a_probability_befalls_that_share(start: DateTime, call_request: CallRequests) -> None:
    net = network(faults={"timeout_before": 0.2, "server_error": 0.3})
    answers = Counter(type(net.place(call_request(start), start)) for _ in range(1000))
    assert answers[Unclear] == pytest.approx(200, abs=50)
    assert answers[Refused] == pytest.approx(300, abs=60)


def test_a_report_is_returned_again_until_it_is_acknowledged(start: DateTime, call_request: CallRequests) -> None:
    net = network(faults={"repeated": 1})
    net.place(call_request(start), start)
    ringing = net.due(start.add(seconds=1))
    assert net.due(start.add(seconds=1)) == ringing
    net.acknowledge([ringing[0].key])
    assert net.due(start.add(seconds=1)) == []
    assert net.due(start.add(seconds=2)) == ringing, "the copy had not come yet, so it was not acknowledged"


def test_the_network_refuses_what_exceeds_its_concurrency(start: DateTime, call_request: CallRequests) -> None:
    net, first = network(max_concurrent_calls=2), call_request(start)
    assert isinstance(net.place(first, start), Placed)
    assert isinstance(net.place(call_request(start), start), Placed)
    refused = net.place(call_request(start), start)
    assert refused == Refused("normal_circuit_congestion", CauseClass.INFRASTRUCTURE)
    net.hang_up(first.attempt_id, start.add(seconds=2))
    assert isinstance(net.place(call_request(start), start.add(seconds=2)), Placed)
    assert isinstance(net.place(call_request(start), start.add(seconds=15)), Refused)
    assert isinstance(net.place(call_request(start), start.add(seconds=16)), Placed)


def test_the_network_refuses_what_exceeds_its_rate(start: DateTime, call_request: CallRequests) -> None:
    net = network(calls_per_second=3)
    answers = [net.place(call_request(start), start.add(microseconds=250_000 * n)) for n in range(8)]
    assert [type(each) for each in answers] == [Placed, Placed, Placed, Refused] * 2
    assert answers[3] == Refused("rate_limited", CauseClass.RATE, 0.25)
    assert most_in_any_second(call.placed for call in net.log) == 3
    assert [(excess.cause, excess.at) for excess in net.over_limit] == [
        ("rate_limited", to_micros(start.add(microseconds=250_000 * n))) for n in (3, 7)
    ]


def test_a_second_begins_at_any_moment_and_ends_before_the_same_of_the_next() -> None:
    assert most_in_any_second([]) == 0
    assert most_in_any_second([0, 999_999, 1_000_000]) == 2
    assert most_in_any_second([1_400_000, 0, 900_000, 600_000, 1_599_999]) == 4
    assert most_in_any_second([5] * 7) == 7


def test_a_bounded_network_remembers_the_latest_requests_that_were_too_many(
    start: DateTime, call_request: CallRequests
) -> None:
    net, requests = SimulatedNetwork(NetworkProfile.parse(STEADY | {"calls_per_second": 1}), max_log=2), []
    for _ in range(5):
        requests.append(call_request(start))
        net.place(requests[-1], start)
    assert [excess.attempt_id for excess in net.over_limit] == [request.attempt_id for request in requests[3:]]


def test_a_bounded_network_forgets_old_calls_and_says_so(start: DateTime, call_request: CallRequests) -> None:
    net, requests = SimulatedNetwork(NetworkProfile.parse(STEADY), max_log=2), []
    for minute in range(4):
        requests.append(call_request(start.add(minutes=minute)))
        net.place(requests[-1], start.add(minutes=minute))
        run_out(net)
    end = start.add(minutes=5)
    assert [call.attempt_id for call in net.log] == [each.attempt_id for each in requests[2:]]
    assert isinstance(net.look_up(requests[0].attempt_id, end), LookupFailed)
    assert isinstance(net.look_up(requests[3].attempt_id, end), Seen)
    assert net.look_up(call_request(end).attempt_id, end) == Absent(), "it was made after all that was forgotten"


def test_a_bounded_network_keeps_what_is_up_or_unreported(start: DateTime, call_request: CallRequests) -> None:
    net = SimulatedNetwork(NetworkProfile.parse(STEADY), max_log=1)
    for _ in range(3):
        net.place(call_request(start), start)
    net.place(call_request(start), start.add(seconds=17))
    assert len(net.log) == 4
