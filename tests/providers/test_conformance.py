"""What the contract promises, tried on every provider that can be told how its network should behave.

A rig is a provider with its network: it is opened for a config, waits in its own kind of time, and knows which calls
truly existed. To try another provider, add its rig to `RIGS`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import pendulum
import pytest
from pendulum import DateTime

from dialer.domain.events import CallEvent, EventKind
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.providers.base import Absent, CallRequest, Placed, Provider, Refused, Seen, Unclear
from dialer.providers.simulator import InProcessSimulator, NetworkProfile, SimulatedNetwork, Simulator, serve

CallRequests = Callable[..., CallRequest]

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000002"))
SECOND = {"mean": 1, "min": 1, "max": 1}
LONG = {"mean": 5000, "min": 5000, "max": 5000}
ANSWERED = {"outcomes": {"answered": 1}, "setup_seconds": SECOND, "ring_seconds": SECOND, "talk_seconds": SECOND}
# The patience of a provider whose network will not answer.
SOON = {"timeout_seconds": 0.2}
TALKS_LONG = {**ANSWERED, "talk_seconds": LONG}
STEPS = [EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED]


class Rig(Protocol):
    """A provider and its network."""

    @property
    def provider(self) -> Provider: ...

    @property
    def received(self) -> Sequence[CallEvent]:
        """The reports handed over so far."""

    def now(self) -> DateTime: ...

    async def until(self, enough: Callable[[], bool]) -> None:
        """Let time pass until this holds; fail when it never does."""

    def existed(self) -> Sequence[AttemptId]:
        """The attempts whose calls truly existed, one entry a call."""


@dataclass
class InProcessRig:
    network: SimulatedNetwork
    moment: DateTime
    received: list[CallEvent] = field(default_factory=list)

    @property
    def provider(self) -> Provider:
        return InProcessSimulator(self.network, self.now)

    def now(self) -> DateTime:
        return self.moment

    async def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            due = self.network.next_due()
            assert due is not None, "nothing more will be reported"
            self.moment = max(self.moment, due)
            events = self.network.due(self.moment)
            self.received.extend(events)
            self.network.acknowledge([event.key for event in events])

    def existed(self) -> Sequence[AttemptId]:
        return [call.attempt_id for call in self.network.log]


@dataclass
class SocketRig:
    provider: Provider
    network: SimulatedNetwork
    received: list[CallEvent] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def now(self) -> DateTime:
        return pendulum.now("UTC")

    async def hand_over(self, events: Sequence[CallEvent]) -> None:
        async with self.news:
            self.received.extend(events)
            self.news.notify_all()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(enough)

    def existed(self) -> Sequence[AttemptId]:
        return [call.attempt_id for call in self.network.log]


@asynccontextmanager
async def in_process(config: dict[str, Any]) -> AsyncIterator[Rig]:
    yield InProcessRig(SimulatedNetwork(NetworkProfile.parse(config)), pendulum.datetime(2026, 3, 2, 9))


@asynccontextmanager
async def over_a_socket(config: dict[str, Any]) -> AsyncIterator[Rig]:
    server = await serve("127.0.0.1", 0, lambda: pendulum.now("UTC"))
    profile = NetworkProfile.parse({"speed": 1000, "timeout_seconds": 10, "url": server.url, **config})
    simulator = Simulator(TRUNK, profile, lambda: pendulum.now("UTC"))
    network, _ = server.open_trunk(TRUNK, profile)
    rig = SocketRig(simulator, network)
    listening = asyncio.create_task(simulator.listen(rig.hand_over))
    try:
        yield rig
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await simulator.close()
        await server.close()


OpenRig = Callable[[dict[str, Any]], AbstractAsyncContextManager[Rig]]
Story = Callable[[Rig], Awaitable[None]]
Play = Callable[[dict[str, Any], Story], None]
RIGS = [in_process, over_a_socket]


@pytest.fixture(params=RIGS)
def play(request: pytest.FixtureRequest) -> Play:
    """Run a story on a provider whose network behaves as the config says."""
    open_rig: OpenRig = request.param

    async def run(config: dict[str, Any], story: Story) -> None:
        async with open_rig(config) as rig:
            await story(rig)

    return lambda config, story: asyncio.run(run(config, story))


def test_a_network_that_works_is_healthy(play: Play) -> None:
    async def story(rig: Rig) -> None:
        assert await rig.provider.health() is None

    play(ANSWERED, story)


def test_a_placed_call_is_reported_to_its_end(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        placed = await rig.provider.place(request)
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) == 3)
        assert [event.kind for event in rig.received] == STEPS
        assert {event.attempt_id for event in rig.received} == {request.attempt_id}
        assert {event.provider_call_id for event in rig.received} == {placed.provider_call_id}
        assert len({event.key for event in rig.received}) == 3
        assert rig.received[-1].outcome is Outcome.ANSWERED
        assert rig.received[-1].talk_seconds is not None

    play(ANSWERED, story)


def test_many_calls_are_placed_at_once_each_once(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        requests = [call_request(rig.now()) for _ in range(100)]
        answers = await asyncio.gather(*(rig.provider.place(request) for request in requests))
        assert {type(answer) for answer in answers} == {Placed}
        assert sorted(rig.existed()) == sorted(request.attempt_id for request in requests)
        await rig.until(lambda: len(rig.received) == 300)

    play(ANSWERED, story)


@pytest.mark.parametrize("fault", ["refused", "server_error"])
def test_a_refused_call_does_not_exist(play: Play, call_request: CallRequests, fault: str) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        answer = await rig.provider.place(request)
        assert isinstance(answer, Refused)
        assert answer.cause_class is CauseClass.INFRASTRUCTURE
        assert await rig.provider.look_up(request.attempt_id) == Absent()
        assert not rig.existed()

    play({**ANSWERED, "faults": {fault: 1}}, story)


def test_a_request_past_its_place_by_is_refused(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        answer = await rig.provider.place(call_request(rig.now(), place_by=rig.now().subtract(seconds=1)))
        assert isinstance(answer, Refused)
        assert answer.cause_class is CauseClass.INFRASTRUCTURE
        assert not rig.existed()

    play(ANSWERED, story)


def test_a_call_that_cannot_ring_in_time_never_rings(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        assert isinstance(await rig.provider.place(call_request(rig.now(), ring_by=rig.now().add(seconds=1))), Placed)
        await rig.until(lambda: len(rig.received) > 0)
        assert [(event.kind, event.outcome) for event in rig.received] == [(EventKind.ENDED, Outcome.CANCELLED)]

    play({**ANSWERED, "setup_seconds": LONG}, story)


def test_an_unclear_call_that_never_arrived_is_absent(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        assert isinstance(await rig.provider.place(request), Unclear)
        assert await rig.provider.look_up(request.attempt_id) == Absent()

    play({**ANSWERED, **SOON, "faults": {"timeout_before": 1}}, story)


def test_an_unclear_call_that_did_arrive_is_seen_and_reported(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        assert isinstance(await rig.provider.place(request), Unclear)
        assert isinstance(await rig.provider.look_up(request.attempt_id), Seen)
        await rig.until(lambda: len(rig.received) == 3)
        assert rig.existed() == [request.attempt_id]

    play({**ANSWERED, **SOON, "faults": {"timeout_after": 1}}, story)


def test_a_call_that_is_up_is_seen_as_far_as_it_has_come(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        placed = await rig.provider.place(request)
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) == 2)
        seen = await rig.provider.look_up(request.attempt_id)
        assert seen == Seen(placed.provider_call_id, tuple(rig.received))

    play(TALKS_LONG, story)


def test_a_call_that_has_ended_is_seen_to_its_end_with_the_keys_of_its_reports(
    play: Play, call_request: CallRequests
) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        await rig.provider.place(request)
        await rig.until(lambda: len(rig.received) == 3)
        seen = await rig.provider.look_up(request.attempt_id)
        assert isinstance(seen, Seen)
        assert list(seen.events) == list(rig.received)

    play(ANSWERED, story)


def test_a_call_that_was_never_placed_is_absent(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        assert await rig.provider.look_up(call_request(rig.now()).attempt_id) == Absent()

    play(ANSWERED, story)


def test_a_call_that_is_hung_up_twice_ends_once(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        await rig.provider.place(request)
        await rig.until(lambda: len(rig.received) == 2)
        await rig.provider.hang_up(request.attempt_id)
        await rig.provider.hang_up(request.attempt_id)
        await rig.until(lambda: len(rig.received) == 3)
        assert (rig.received[-1].kind, rig.received[-1].outcome) == (EventKind.ENDED, Outcome.ANSWERED)
        seen = await rig.provider.look_up(request.attempt_id)
        assert isinstance(seen, Seen)
        assert list(seen.events) == list(rig.received)

    play(TALKS_LONG, story)


def test_hanging_up_what_does_not_exist_is_no_error(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        request = call_request(rig.now())
        await rig.provider.hang_up(request.attempt_id)
        assert await rig.provider.look_up(request.attempt_id) == Absent()

    play(ANSWERED, story)


def test_a_repeated_report_is_the_same_report(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        await rig.provider.place(call_request(rig.now()))
        await rig.until(lambda: len(rig.received) == 6)
        assert set(Counter(rig.received).values()) == {2}
        assert len({event.key for event in rig.received}) == 3

    play({**ANSWERED, "faults": {"repeated": 1}}, story)


def test_reordered_reports_tell_the_true_times(play: Play, call_request: CallRequests) -> None:
    async def story(rig: Rig) -> None:
        await rig.provider.place(call_request(rig.now()))
        await rig.until(lambda: len(rig.received) == 3)
        assert [event.kind for event in rig.received] == STEPS[::-1]
        assert [event.kind for event in sorted(rig.received, key=lambda event: event.at)] == STEPS

    play({**ANSWERED, "faults": {"reordered": 1}}, story)
