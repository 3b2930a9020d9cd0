"""Listening to a FreeSWITCH: restarts, unreadable data, floods, and the state of the connection."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from dialer.domain.call import CallEvent
from dialer.errors import Unavailable
from dialer.providers.base import Placed
from dialer.providers.event_source import Received, follow
from dialer.providers.freeswitch import FreeSwitch
from dialer.providers.freeswitch.esl import LONGEST_BODY, LONGEST_HEAD
from dialer.providers.freeswitch.event_socket import MOST_WAITING_BYTES, ListeningConnection, receive
from dialer.providers.freeswitch.events import ChannelEventReader
from support.freeswitch_recordings import (
    QUICK,
    RECORDED,
    TRUNK,
    CallRequests,
    Inbox,
    encode_message,
    event_facts,
    frame,
    listening,
    provider,
    recorded_messages,
    scripted_server,
    with_agent,
)
from support.networks.freeswitch import serve
from support.networks.switch import now, wait_until
from support.networks.tcp_server import tcp_server
from support.provider_arguments import ignore_link_state


async def test_two_listeners_tell_each_fact_by_one_key(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake, AsyncExitStack() as stack:
        first_provider, second_provider = [await stack.enter_async_context(provider(fake.port)) for _ in range(2)]
        async with listening(first_provider, second_provider) as (first, second):
            requests = [with_agent(call_request(now())) for _ in range(20)]
            await asyncio.gather(*(first_provider.place(request) for request in requests))
            await wait_until(lambda: len(first.events) == len(second.events) == 60)
            assert set(first.events) == set(second.events)
            assert len({event.key for event in first.events + second.events}) == 60


async def test_a_listener_finds_a_restarted_switch_again(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake, provider(fake.port) as switch, listening(switch) as (inbox,):
        port = fake.port
        await fake.stop()
        await wait_until(lambda: len(inbox.links) > 1)
        async with serve(port, QUICK):
            await wait_until(lambda: inbox.links[-1] is None)
            assert isinstance(await switch.place(with_agent(call_request(now()))), Placed)
            await wait_until(lambda: len(inbox.events) == 3)
        assert inbox.links[0] is None
        assert all(inbox.links[1:-1])


def tell(scenario: str) -> bytes:
    return b"".join(
        encode_message(message) for message in recorded_messages(scenario) if "Event-Name" in message.get("body", "")
    )


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff?\n\n",
        b"Content-Type: text/event-plain\nContent-Length: banana\n\n",
        b"Content-Type: text/event-plain\nContent-Length: -5\n\n",
        f"Content-Type: text/event-plain\nContent-Length: {10**15}\n\n".encode(),
        b"y" * (LONGEST_HEAD + 100),
        frame("text/disconnect-notice", "Disconnected, goodbye.\n"),
    ],
)
async def test_what_came_before_garbage_is_handed_over_and_the_listener_goes_on(garbage: bytes) -> None:
    """The first connection reports one call and then sends garbage; the second reports another call."""
    turns = iter([tell("sofia-busy") + garbage, tell("sofia-ok")])

    def answer(command: str) -> bytes | None:
        return next(turns, b"") if command.startswith("event") else None

    async with scripted_server(answer) as (_, port), provider(port) as switch, listening(switch) as (inbox,):
        if garbage.startswith(b"Content-Type: text/disconnect"):
            await wait_until(lambda: len(inbox.events) == 2)
            return
        await wait_until(lambda: len(inbox.events) == 5)
        assert event_facts(inbox.events) == RECORDED["sofia-busy"] + RECORDED["sofia-ok"]
        assert inbox.links[0] is None
        assert any(word in (inbox.links[1] or "") for word in ("longer than", "not a number", "Content-Type"))
        assert inbox.links[2] is None


async def test_an_event_that_cannot_be_read_is_passed_over_and_the_connection_counts_as_interrupted() -> None:
    broken = frame(
        "text/event-plain", f"Event-Name: CHANNEL_ANSWER\nUnique-ID: {TRUNK}\nvariable_dialer_attempt_id: {TRUNK}\n\n"
    )
    stray = frame("log/data", "2026 [INFO] hello") + frame("text/event-plain", "\x00\ufffd")
    script = scripted_server(lambda command: broken + stray + tell("sofia-ok") if command.startswith("event") else None)
    async with script as (_, port), provider(port) as switch, listening(switch) as (inbox,):
        await wait_until(lambda: len(inbox.events) == 3)
        assert event_facts(inbox.events) == RECORDED["sofia-ok"]
        up, interrupted = inbox.links[:2]
        assert up is None
        assert "cannot be read: CHANNEL_ANSWER" in (interrupted or "")


@asynccontextmanager
async def listening_often(switch: FreeSwitch, inbox: Inbox) -> AsyncIterator[None]:
    def connect() -> AsyncGenerator[Received, None]:
        return receive(switch._open_listening, ChannelEventReader(TRUNK, None), 0.3, 0.05)

    task = asyncio.create_task(follow(connect, inbox.take, inbox.linked))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_connection_is_said_to_be_up_again_and_again_once_what_came_before_is_handed_over() -> None:
    inbox, up_with = Inbox(), list[int]()

    async def on_link_state(reason: str | None) -> None:
        assert reason is None
        up_with.append(len(inbox.events))

    inbox.linked = on_link_state  # type: ignore[method-assign]

    def answer(command: str) -> bytes | None:
        return tell("sofia-ok") + frame("api/response", "UP") if command == "api status" else None

    async with scripted_server(answer) as (_, port), provider(port) as switch, listening_often(switch, inbox):
        await wait_until(lambda: len(up_with) == 4)
        assert up_with == [0, 3, 6, 9]


async def test_a_connection_that_does_not_answer_any_more_is_said_to_be_down() -> None:
    inbox = Inbox()
    async with (
        scripted_server(lambda _: None) as (_, port),
        provider(port) as switch,
        listening_often(switch, inbox),
    ):
        await wait_until(lambda: len(inbox.links) >= 3)
        assert inbox.links[:3] == [None, "FreeSWITCH does not answer any more", None]


async def test_reports_that_could_not_be_stored_end_the_listening(call_request: CallRequests) -> None:
    async def fail(_: Sequence[CallEvent]) -> None:
        raise Unavailable("The database does not answer")

    script = scripted_server(lambda command: tell("sofia-ok") if command.startswith("event") else None)
    async with script as (_, port), provider(port) as switch:
        with pytest.raises(Unavailable, match="database"):
            await switch.listen(fail, ignore_link_state)


async def test_a_flood_of_events_is_handed_over_whole(call_request: CallRequests) -> None:
    script = scripted_server(lambda command: tell("sofia-ok") * 1000 if command.startswith("event") else None)
    async with script as (_, port), provider(port) as switch, listening(switch) as (inbox,):
        # Only the first event is new to the reader, but each of them is reported.
        await wait_until(lambda: len(inbox.events) == 3000)


async def test_large_events_wait_at_the_switch_while_reports_cannot_be_stored() -> None:
    """Back-pressure: a peer that sends the largest allowed events must not fill the memory of this process."""
    large = frame("text/event-plain", "Event-Name: CHANNEL_ANSWER\n" + f"variable_x: {'x' * (LONGEST_BODY // 4)}\n\n")
    sent_bytes, is_asked = 0, asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        writer.write(frame("auth/request"))
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            for _ in ("auth", "event"):
                await reader.readuntil(b"\n\n")
                writer.write(frame("command/reply", **{"Reply-Text": "+OK"}))
            writer.write(tell("sofia-ok"))
            while sent_bytes < 40 * MOST_WAITING_BYTES:
                writer.write(large)
                await writer.drain()
                sent_bytes += len(large)
        writer.close()

    async def store(_: Sequence[CallEvent]) -> None:
        is_asked.set()
        await asyncio.Event().wait()

    async with tcp_server(flood) as port, provider(port) as switch:
        opened: list[ListeningConnection] = []

        async def open_connection() -> ListeningConnection:
            opened.append(await switch._open_listening())
            return opened[-1]

        connect = receive(open_connection, ChannelEventReader(TRUNK, None), 5.0)
        listens = asyncio.create_task(follow(lambda: connect, store, ignore_link_state))
        await is_asked.wait()
        # Once it has stopped reading, it takes nothing more while the reports are being stored.
        await wait_until(lambda: opened[0].is_paused)
        assert sent_bytes < 10 * MOST_WAITING_BYTES
        assert not opened[0]._transport.is_reading()
        listens.cancel()
        await asyncio.gather(listens, return_exceptions=True)
