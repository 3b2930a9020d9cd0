"""The simulator's server: broken connections lose nothing, and a bad client does no harm."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pendulum
import pytest
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.errors import Unavailable
from dialer.providers.base import TOO_LATE, CallRequest, LookupFailed, Placed, Refused, Unclear
from dialer.providers.simulator import NetworkProfile, Simulator, SimulatorServer, serve
from dialer.providers.simulator.protocol import LINE_LIMIT
from support.networks.tcp_server import tcp_server
from support.provider_arguments import call_handle, ignore_link_state

CallRequests = Callable[..., CallRequest]

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000003"))
OTHER_TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000004"))
QUICK: dict[str, Any] = {"speed": 1000, "outcomes": {"answered": 1}, "timeout_seconds": 5}


def utc_now() -> DateTime:
    return pendulum.now("UTC")


@asynccontextmanager
async def running(port: int = 0, clock: Callable[[], DateTime] = utc_now, journals: Path | None = None,
) -> AsyncIterator[SimulatorServer]:  # fmt: skip
    server = await serve("127.0.0.1", port, clock, journals)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def client(
    url: str, trunk: TrunkId = TRUNK, clock: Callable[[], DateTime] = utc_now, **config: object
) -> AsyncIterator[Simulator]:
    simulator = Simulator(trunk, NetworkProfile.parse({**QUICK, "url": url, **config}), clock)
    try:
        yield simulator
    finally:
        await simulator.close()


@asynccontextmanager
async def listening(
    simulator: Simulator, on_events: Callable[[Sequence[CallEvent]], Awaitable[None]]
) -> AsyncIterator[None]:
    task = asyncio.create_task(simulator.listen(on_events, ignore_link_state))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Inbox:
    """Takes reports and waits for them."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._news = asyncio.Condition()

    async def take(self, events: Sequence[CallEvent]) -> None:
        async with self._news:
            self.keys += [event.key for event in events]
            self._news.notify_all()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(enough)


class RawClient:
    """Sends lines of the protocol, or anything else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, line: bytes) -> dict[str, Any]:
        self.writer.write(line + b"\n")
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self.reader.readline())
        return answer

    async def ask(self, op: str, **fields: object) -> dict[str, Any]:
        return await self.say(json.dumps({"id": 1, "op": op, **fields}).encode())


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[RawClient]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2 * LINE_LIMIT)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_reports_of_a_broken_subscriber_come_again_to_the_next(call_request: CallRequests) -> None:
    async with running() as server, client(server.url) as simulator:
        assert isinstance(await simulator.place(call_request(utc_now())), Placed)
        async with by_hand(server.url) as broken:
            await broken.ask("hello", trunk_id=str(TRUNK), profile=QUICK)
            await broken.ask("subscribe")
            lost = [event["key"] for _, event in (await broken.hear())["reports"]]
        inbox = Inbox()
        async with listening(simulator, inbox.take):
            await inbox.until(lambda: len(set(inbox.keys)) == 3)
        assert set(lost) <= set(inbox.keys)


async def test_reports_that_could_not_be_stored_come_again(call_request: CallRequests) -> None:
    async def fail(_: Sequence[CallEvent]) -> None:
        raise Unavailable("The database does not answer")

    async with running() as server, client(server.url) as simulator:
        await simulator.place(call_request(utc_now()))
        with pytest.raises(Unavailable, match="database"):
            await simulator.listen(fail, ignore_link_state)
        inbox = Inbox()
        async with listening(simulator, inbox.take):
            await inbox.until(lambda: len(set(inbox.keys)) == 3)


async def test_of_two_subscribers_each_gets_its_share_and_no_report_comes_twice(call_request: CallRequests) -> None:
    async with running() as server, client(server.url) as simulator:
        both, first, second = Inbox(), asyncio.Event(), asyncio.Event()

        def subscriber(own: asyncio.Event, others: asyncio.Event) -> Callable[..., Awaitable[None]]:
            async def take(events: Sequence[CallEvent]) -> None:
                own.set()
                await both.take(events)
                await others.wait()

            return take

        async with listening(simulator, subscriber(first, second)), listening(simulator, subscriber(second, first)):
            requests = [call_request(utc_now()) for _ in range(50)]
            await asyncio.gather(*(simulator.place(request) for request in requests))
            await both.until(lambda: len(both.keys) >= 150)
            # A later call: whatever was sent twice would have come before it ends.
            await simulator.place(call_request(utc_now()))
            await both.until(lambda: len(set(both.keys)) == 153)
        assert set(Counter(both.keys).values()) == {1}


async def test_a_listener_finds_a_restarted_server_again(call_request: CallRequests, tmp_path: Path) -> None:
    inbox = Inbox()
    async with running(journals=tmp_path) as server:
        url, port = server.url, urlsplit(server.url).port
        simulator = Simulator(TRUNK, NetworkProfile.parse({**QUICK, "url": url}), utc_now)
        task = asyncio.create_task(simulator.listen(inbox.take, ignore_link_state))
        await simulator.place(call_request(utc_now()))
        await inbox.until(lambda: len(set(inbox.keys)) == 3)
    async with running(port or 0, journals=tmp_path):
        assert isinstance(await simulator.place(call_request(utc_now())), Placed)
        await inbox.until(lambda: len(set(inbox.keys)) == 6)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await simulator.close()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\x00",
        b"[1]",
        b"[" * 100_000,
        b'{"op": "fly"}',
        b'{"op": ["place"]}',
        b'{"op": "place"}',
        b'{"op": "place", "request": 5}',
        b'{"op": "place", "request": {"attempt_id": 5}}',
        b'{"op": "look_up", "attempt_id": []}',
        b'{"op": "hang_up"}',
        b'{"op": "acknowledge", "deliveries": [[]]}',
        b'{"op": "hello", "trunk_id": "../../etc", "profile": {}}',
        b'{"op": "hello", "trunk_id": "018f0000-0000-7000-8000-000000000003", "profile": {"speed": 0}}',
    ],
)
async def test_garbage_is_answered_with_an_error_and_harms_nobody(line: bytes) -> None:
    async with running() as server, by_hand(server.url) as stranger:
        assert "error" in await stranger.say(line)
        await stranger.ask("hello", trunk_id=str(TRUNK), profile={})
        if b"hello" not in line:
            assert "error" in await stranger.say(line)
        assert (await stranger.ask("health"))["ok"] is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("to_number", "\ud800"),
        ("to_number", "1" * 1000),
        ("ring_timeout_seconds", float("nan")),
        ("ring_timeout_seconds", -1),
        ("place_by", 1e300),
        ("ring_by", "soon"),
    ],
)
async def test_a_request_that_makes_no_sense_is_not_placed(field: str, value: object) -> None:
    whole = {"attempt_id": str(TRUNK), "to_number": "+1", "from_number": "+1", "ring_timeout_seconds": 30}
    whole |= {"place_by": 4_000_000_000_000_000, "ring_by": None}
    async with running() as server, by_hand(server.url) as stranger:
        await stranger.ask("hello", trunk_id=str(TRUNK), profile=QUICK)
        assert "request" in (await stranger.ask("place", request={**whole, field: value}))["error"]
        assert not server.networks[TRUNK].log
        assert "placed" in await stranger.ask("place", request=whole)


async def test_an_endless_line_is_refused_and_ends_the_connection() -> None:
    async with running() as server, by_hand(server.url) as stranger, by_hand(server.url) as other:
        stranger.writer.write(b"x" * (LINE_LIMIT + 1))
        assert "longer" in (await stranger.hear())["error"]
        assert await stranger.reader.read() == b""
        assert (await other.ask("health"))["ok"] is True


async def test_each_trunk_has_a_network_of_its_own(call_request: CallRequests) -> None:
    async with running() as server, client(server.url) as first, client(server.url, OTHER_TRUNK) as second:
        request = call_request(utc_now())
        await first.place(request)
        await second.place(call_request(utc_now()))
        assert [len(network.log) for network in server.networks.values()] == [1, 1]
        assert server.networks[TRUNK].log[0].attempt_id == request.attempt_id


async def test_all_requests_of_a_client_share_one_connection(call_request: CallRequests) -> None:
    async with running() as server, client(server.url) as simulator:
        await asyncio.gather(*(simulator.place(call_request(utc_now())) for _ in range(50)))
        await simulator.health()
        assert len(server.connections) == 1


async def test_nothing_can_be_asked_of_a_server_that_is_not_there(call_request: CallRequests) -> None:
    async with running() as server:
        url = server.url
    async with client(url) as simulator:
        request = call_request(utc_now())
        refused = await simulator.place(request)
        assert refused == Refused("network_unreachable", CauseClass.INFRASTRUCTURE)
        assert isinstance(await simulator.look_up(call_handle(request)), LookupFailed)
        assert url in (await simulator.health() or "")
        with pytest.raises(Unavailable):
            await simulator.hang_up(call_handle(request))


@pytest.mark.parametrize("answer", [b"", b"?\n", b'{"id": 2}\n', b'{"id": 2, "refused": "no", "class": "odd"}\n'])
async def test_a_request_that_left_and_has_no_proper_answer_is_unclear(
    call_request: CallRequests, answer: bytes
) -> None:
    async def be_rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"id": 1, "ok": true}\n')
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with tcp_server(be_rude) as port, client(f"tcp://127.0.0.1:{port}") as simulator:
        assert isinstance(await simulator.place(call_request(utc_now())), Unclear)


async def test_a_request_does_not_leave_after_its_place_by(call_request: CallRequests) -> None:
    late = utc_now().add(hours=1)
    async with running() as server, client(server.url, clock=lambda: late) as simulator:
        refused = await simulator.place(call_request(utc_now()))
        assert refused == TOO_LATE
        assert not server.networks[TRUNK].log


async def test_a_server_whose_journal_is_damaged_takes_no_calls(call_request: CallRequests, tmp_path: Path) -> None:
    (tmp_path / f"{TRUNK}.jsonl").write_text("?\n")
    async with running(journals=tmp_path) as server, client(server.url) as simulator:
        assert isinstance(await simulator.place(call_request(utc_now())), Refused)
        assert "damaged at line 1" in (await simulator.health() or "")
