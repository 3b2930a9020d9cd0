"""The example voice agent, as a process, and the real provider in conversation with it."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.errors import NotSigned
from dialer.providers.base import Absent, CallRequest, Placed, Refused, Seen, WebhookRequest
from dialer.providers.http import PLUGIN, HttpPlatform
from support.networks import http as carrier
from support.networks.http_server import HttpRequest, HttpServer, Reply
from support.networks.switch import now, wait_until
from support.provider_arguments import call_handle
from support.rigs.http import TRUNK, around

CallRequests = Callable[..., CallRequest]

EXAMPLE = Path(__file__).parents[2] / "examples" / "voice_agent.py"
STEPS = [EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED]


class Conversation:
    """The agent's process, the provider, and what was reported."""

    def __init__(self, provider: HttpPlatform, reports: list[CallEvent]) -> None:
        self.provider = provider
        self.reports = reports

    async def until(self, kind: EventKind) -> CallEvent:
        await wait_until(lambda: kind in {event.kind for event in self.reports})
        return next(event for event in self.reports if event.kind is kind)


@asynccontextmanager
async def voice_agent() -> AsyncIterator[int]:
    env = {**os.environ, "VOICE_AGENT_SECRET": carrier.SECRET}
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE, "0", env=env, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        first_line = (await process.stdout.readline()).decode()
        port = re.search(r"port (\d+)", first_line)
        assert port, first_line
        yield int(port[1])
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def conversing() -> AsyncIterator[Conversation]:
    reports: list[CallEvent] = []
    provider: HttpPlatform

    async def receive(sent: HttpRequest) -> Reply:
        try:
            reports.extend(provider.read_reports(WebhookRequest("", sent.headers, sent.body, None, now())))
        except NotSigned:
            return Reply(403)
        return Reply(204)

    receiver = await HttpServer.start(receive)
    async with voice_agent() as port:
        config = carrier.trunk(port)["config"]
        connected = PLUGIN.connect(TRUNK, config, around(f"http://127.0.0.1:{receiver.port}"))
        assert isinstance(connected, HttpPlatform)
        provider = connected
        try:
            async with asyncio.timeout(30):
                yield Conversation(provider, reports)
        finally:
            await provider.close()
            await receiver.close()


async def test_a_call_rings_is_answered_and_ends_and_is_told_the_same_when_looked_up(
    call_request: CallRequests,
) -> None:
    async with conversing() as talk:
        assert await talk.provider.health() is None
        request = call_request(now())
        assert await talk.provider.place(request) == Placed(str(request.attempt_id))
        ended = await talk.until(EventKind.ENDED)
        assert (ended.outcome, ended.cause) == (Outcome.ANSWERED, "normal_clearing")
        assert ended.talk_seconds == pytest.approx(2, abs=1)
        assert [event.kind for event in talk.reports] == STEPS
        seen = await talk.provider.look_up(call_handle(request))
        assert isinstance(seen, Seen)
        assert [event.key for event in seen.events] == [event.key for event in talk.reports]


async def test_a_request_that_comes_twice_makes_one_call(call_request: CallRequests) -> None:
    async with conversing() as talk:
        request = call_request(now())
        assert await talk.provider.place(request) == await talk.provider.place(request)
        await talk.until(EventKind.ENDED)
        assert [event.kind for event in talk.reports] == STEPS


async def test_a_call_is_hung_up(call_request: CallRequests) -> None:
    async with conversing() as talk:
        request = call_request(now())
        await talk.provider.place(request)
        await talk.until(EventKind.RINGING)
        await talk.provider.hang_up(call_handle(request))
        await talk.provider.hang_up(call_handle(request))
        assert (await talk.until(EventKind.ENDED)).outcome is Outcome.CANCELLED


async def test_what_never_was_is_absent_and_hung_up_without_an_error(call_request: CallRequests) -> None:
    async with conversing() as talk:
        request = call_request(now())
        assert await talk.provider.look_up(call_handle(request)) == Absent()
        await talk.provider.hang_up(call_handle(request))


async def test_it_believes_only_what_is_signed_with_its_secret(
    call_request: CallRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with voice_agent() as port:
        monkeypatch.setitem(carrier.ENVIRONMENT, "TRUNK_HTTP_SECRET", f"whsec_{'A' * 40}")
        stranger = PLUGIN.connect(TRUNK, carrier.trunk(port)["config"], around("http://127.0.0.1:9"))
        answer = await stranger.place(call_request(now()))
        assert answer == Refused("wrong_credentials", CauseClass.INFRASTRUCTURE)
        assert "401" in (await stranger.health() or "")
        await stranger.close()
