"""The state of a simulated network after it was killed and restarted from its journal."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import UUID

import pendulum
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import Outcome
from dialer.errors import Unavailable
from dialer.providers.base import Absent, CallRequest, LookupFailed, Placed, Seen
from dialer.providers.simulator import NetworkProfile, SimulatedNetwork, Simulator
from dialer.providers.simulator.call import to_micros
from dialer.providers.simulator.delivery import Pump
from dialer.providers.simulator.network import most_in_any_second
from support.cluster import request_times
from support.provider_arguments import call_handle, ignore_link_state

CallRequests = Callable[..., CallRequest]

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000001"))
FAULTY = {
    "faults": {"lost": 0.1, "late": 0.2, "repeated": 0.3, "reordered": 0.3, "timeout_before": 0.1},
    "max_concurrent_calls": 2,
}
STEP = st.tuples(st.sampled_from(["place", "hang_up", "receive", "restart"]), st.integers(0, 5))


def utc_now() -> DateTime:
    return pendulum.now("UTC")


def keys(events: Sequence[CallEvent]) -> list[str]:
    return [event.key for event in events]


# The factory of requests only counts numbers and draws ids: what it did for one example does not matter to the next.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=30))
def test_a_restart_at_any_point_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, call_request: CallRequests, start: DateTime, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "trunk.jsonl"
    profile = NetworkProfile.parse(FAULTY)
    steady, restarted = SimulatedNetwork(profile), SimulatedNetwork(profile, path)
    now, requests = start, [call_request(start, f"+49{number}", place_by=start.add(days=1)) for number in range(6)]
    for step, number in steps:
        now = now.add(seconds=7)
        if step == "restart":
            restarted.close()
            restarted = SimulatedNetwork(profile, path)
        for net in (steady, restarted):
            if step == "place":
                net.place(requests[number], now)
            elif step == "hang_up":
                net.hang_up(requests[number].attempt_id, now)
            elif step == "receive":
                net.acknowledge(keys(net.due(now)[:number]))
    restarted.close()
    restarted = SimulatedNetwork(profile, path)
    assert restarted.log == steady.log
    assert restarted.over_limit == steady.over_limit
    end = now.add(days=1)
    assert restarted.due(end) == steady.due(end)
    restarted.close()


def test_a_judge_reads_when_calls_were_asked_for_also_those_over_the_limit(
    tmp_path: Path, start: DateTime, call_request: CallRequests
) -> None:
    path, moments = tmp_path / "trunk.jsonl", [start.add(microseconds=400_000 * n) for n in range(4)]
    with closing(SimulatedNetwork(NetworkProfile.parse({"calls_per_second": 2}), path)) as net:
        for moment in moments:
            net.place(call_request(start), moment)
        assert (len(net.log), len(net.over_limit)) == (3, 1)
    assert sorted(request_times([path])) == [to_micros(moment) for moment in moments]
    assert most_in_any_second(request_times([path])) == 3


def test_a_torn_last_line_is_dropped(tmp_path: Path, start: DateTime, call_request: CallRequests) -> None:
    path, requests = tmp_path / "trunk.jsonl", [call_request(start) for _ in range(2)]
    with closing(SimulatedNetwork(NetworkProfile(), path)) as net:
        for request in requests:
            net.place(request, start)
    path.write_bytes(path.read_bytes()[:-5])
    with closing(SimulatedNetwork(NetworkProfile(), path)) as again:
        assert [call.attempt_id for call in again.log] == [requests[0].attempt_id]
        assert isinstance(again.place(call_request(start), start), Placed)
    with closing(SimulatedNetwork(NetworkProfile(), path)) as third:
        assert len(third.log) == 2


def test_any_other_damaged_line_stops_the_start(tmp_path: Path, start: DateTime, call_request: CallRequests) -> None:
    path = tmp_path / "trunk.jsonl"
    with closing(SimulatedNetwork(NetworkProfile(), path)) as net:
        net.place(call_request(start), start)
    path.write_bytes(b'["opened"]\n' + path.read_bytes())
    with pytest.raises(Unavailable, match="line 1"):
        SimulatedNetwork(NetworkProfile(), path)


def test_the_journal_is_compacted_at_the_start(tmp_path: Path, start: DateTime, call_request: CallRequests) -> None:
    path = tmp_path / "trunk.jsonl"
    with closing(SimulatedNetwork(NetworkProfile(), path)) as net:
        for _ in range(20):
            net.place(call_request(start, "+4930"), start)
        while due := net.next_due():
            net.acknowledge(keys(net.due(due)))
    grown = path.stat().st_size
    SimulatedNetwork(NetworkProfile(), path).close()
    assert path.stat().st_size < grown / 2
    with closing(SimulatedNetwork(NetworkProfile(), path)) as again:
        assert (again.log, again.next_due()) == (net.log, None)


def test_what_was_forgotten_stays_forgotten(tmp_path: Path, start: DateTime, call_request: CallRequests) -> None:
    path, requests = tmp_path / "trunk.jsonl", []
    busy = NetworkProfile.parse({"outcomes": {"busy": 1}})
    with closing(SimulatedNetwork(busy, path, max_log=1)) as net:
        for minute in range(3):
            now = start.add(minutes=minute)
            requests.append(call_request(now))
            net.place(requests[-1], now)
            net.acknowledge(keys(net.due(now.add(seconds=30))))
    with closing(SimulatedNetwork(busy, path, max_log=1)) as again:
        assert [call.attempt_id for call in again.log] == [requests[2].attempt_id]
        assert isinstance(again.look_up(requests[0].attempt_id, start), LookupFailed)
        later = start.add(hours=1)
        assert again.look_up(call_request(later).attempt_id, later) == Absent()


async def test_what_a_subscriber_acknowledged_does_not_come_again_after_a_restart(
    tmp_path: Path, start: DateTime, call_request: CallRequests
) -> None:
    path, later = tmp_path / "trunk.jsonl", start.add(days=1)

    async def acknowledge_all_but_one(net: SimulatedNetwork) -> str:
        batches: asyncio.Queue[Sequence[tuple[str, CallEvent]]] = asyncio.Queue()
        pump = Pump(net, lambda: later)
        pump.join(batches.put_nowait)
        (_, left), *others = reversed(await batches.get())
        pump.acknowledge(batches.put_nowait, [delivery for delivery, _ in others])
        return left.key

    with closing(SimulatedNetwork(NetworkProfile(), path)) as net:
        for _ in range(5):
            net.place(call_request(start), start)
        left = await acknowledge_all_but_one(net)
    with closing(SimulatedNetwork(NetworkProfile(), path)) as again:
        assert keys(again.due(later)) == [left]


SERVER = """
import asyncio, pathlib, sys, pendulum
from dialer.providers.simulator import serve

async def main():
    server = await serve("127.0.0.1", 0, lambda: pendulum.now("UTC"), pathlib.Path(sys.argv[1]))
    print(server.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def server_process(journals: Path) -> AsyncIterator[str]:
    """Run a server in a process of its own, which is killed at the end without a clean shutdown."""
    arguments = ("-c", SERVER, str(journals))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def receive(simulator: Simulator, enough: Callable[[set[EventKind], int], bool]) -> list[CallEvent]:
    """Listen until enough has come."""
    received: list[CallEvent] = []
    done = asyncio.Event()

    async def on_events(events: Sequence[CallEvent]) -> None:
        received.extend(events)
        if enough({event.kind for event in received}, len(set(keys(received)))):
            done.set()

    listening = asyncio.create_task(simulator.listen(on_events, ignore_link_state))
    try:
        async with asyncio.timeout(10):
            await done.wait()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return received


async def test_a_killed_server_goes_on_with_its_calls_and_their_reports(
    tmp_path: Path, call_request: CallRequests
) -> None:
    await _kill_a_server(tmp_path, call_request)


async def _kill_a_server(journals: Path, call_request: CallRequests) -> None:
    steps = {"setup_seconds": {"mean": 0, "max": 0}, "ring_seconds": {"mean": 0.01, "max": 0.01, "min": 0.01}}
    config = {"outcomes": {"answered": 1}, **steps, "talk_seconds": {"mean": 0.3, "min": 0.3, "max": 0.3}}
    calls = 20
    async with server_process(journals) as url:
        simulator = Simulator(TRUNK, NetworkProfile.parse({**config, "url": url}), utc_now)
        requests = [call_request(utc_now()) for _ in range(calls)]
        placed = await asyncio.gather(*(simulator.place(request) for request in requests))
        assert all(isinstance(each, Placed) for each in placed)
        before = await receive(simulator, lambda kinds, _: EventKind.ANSWERED in kinds)
        await simulator.close()
    async with server_process(journals) as url:
        simulator = Simulator(TRUNK, NetworkProfile.parse({**config, "url": url}), utc_now)
        known = set(keys(before))
        after = await receive(simulator, lambda _, count: count >= 3 * calls - len(known))
        while len(known | set(keys(after))) < 3 * calls:
            after += await receive(simulator, lambda _, count: count > 0)
        sighting = await simulator.look_up(call_handle(requests[0]))
        await simulator.close()
    ends = {event.attempt_id for event in after if event.kind is EventKind.ENDED}
    assert ends == {request.attempt_id for request in requests}
    assert isinstance(sighting, Seen)
    assert [event.outcome for event in sighting.events] == [None, None, Outcome.ANSWERED]
