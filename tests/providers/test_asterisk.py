"""The Asterisk provider: placing, the ambiguous conflict (409), unusable answers, lost connections, configuration."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import chain, repeat
from random import Random
from typing import Any

import pendulum
import pytest
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, TrunkId, uuid7
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.errors import FieldError, InvalidInput, Unavailable
from dialer.providers import event_source, registry
from dialer.providers.asterisk import PLUGIN, Asterisk, AsteriskConfig
from dialer.providers.asterisk.event_socket import receive
from dialer.providers.asterisk.events import AriEventReader
from dialer.providers.base import (
    TOO_LATE,
    CallRequest,
    ContactCard,
    LookupFailed,
    NotFoundNow,
    OnEvents,
    OnLinkState,
    Placed,
    ProviderEnvironment,
    Refused,
    Seen,
    Unclear,
)
from dialer.providers.egress import THIS_MACHINE
from dialer.providers.http_client import basic_auth
from dialer.providers.switches import NOT_PERMITTED
from support.networks import asterisk as carrier
from support.networks.switch import wait_until
from support.networks.tcp_server import tcp_server
from support.networks.tls import CERTIFICATE, with_tls
from support.provider_arguments import call_handle

CallRequests = Callable[..., CallRequest]
Listen = Callable[[OnEvents, OnLinkState], Coroutine[Any, Any, None]]

SECOND = {"mean": 1, "min": 1, "max": 1}
LONG = {"mean": 5000, "min": 5000, "max": 5000}
QUICK = {
    "speed": 100, "outcomes": {"answered": 1}, "setup_seconds": SECOND, "ring_seconds": SECOND, "talk_seconds": SECOND,
}  # fmt: skip
LASTING = {**QUICK, "talk_seconds": LONG}


def utc_now() -> DateTime:
    return pendulum.now("UTC")


@asynccontextmanager
async def provider(
    port: int, clock: Callable[[], DateTime] = utc_now, password: str = carrier.PASSWORD, **config: Any
) -> AsyncIterator[Asterisk]:
    checked = AsteriskConfig.parse({**carrier.trunk(port)["config"], **config})
    asterisk = Asterisk(checked, password, clock)
    try:
        yield asterisk
    finally:
        await asterisk.close()


def often(port: int) -> Listen:
    """Make a listener that pings the other side very often."""
    headers, reader = basic_auth(carrier.USERNAME, carrier.PASSWORD), AriEventReader("AMDSTATUS", utc_now)

    def connect() -> AsyncGenerator[event_source.Received, None]:
        url = f"http://127.0.0.1:{port}/ari"
        return receive(url, headers, 5, reader, egress=THIS_MACHINE, ping_seconds=0.02)

    return lambda on_events, on_link_state: event_source.follow(connect, on_events, on_link_state)


class Inbox:
    """Collects what one listener hands over: events and link states."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.links: list[str | None] = []

    async def on_events(self, events: Sequence[CallEvent]) -> None:
        self.events.extend(events)

    async def on_link_state(self, reason: str | None) -> None:
        self.links.append(reason)

    def is_up(self) -> bool:
        return self.links[-1:] == [None]


@asynccontextmanager
async def listening(asterisk: Asterisk | Listen, *, is_up: bool = True) -> AsyncIterator[Inbox]:
    inbox = Inbox()
    listen = asterisk.listen if isinstance(asterisk, Asterisk) else asterisk
    task = asyncio.create_task(listen(inbox.on_events, inbox.on_link_state))
    try:
        if is_up:
            await wait_until(inbox.is_up)
        yield inbox
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def answering(
    answer: Callable[[bytes], bytes], *, and_goes: bool = True
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve these bytes as the answer to each request's head; yield the port and the received heads."""
    requests: list[bytes] = []
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer(requests[-1]))
            if not and_goes:
                await reader.read()
        finally:
            writer.close()
            serving.discard(task)

    async with tcp_server(serve) as port:
        yield port, requests
    await asyncio.gather(*serving)


def http(status: str, body: str, **headers: str) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n{body}".encode()


def ready(request: CallRequest, **changes: Any) -> CallRequest:
    return replace(request, connection=carrier.CONNECTION, **changes)


# Placing


async def test_asterisk_is_asked_for_all_that_the_call_needs_and_nothing_is_in_the_url(
    call_request: CallRequests,
) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        contact = ContactCard("O'Brien;\n\ud800 $(reboot)", "c-1", {"plan name": "Gold", "ä": 1, "of": [1], "n": 7})
        request = ready(call_request(utc_now(), detect_machine=True), contact=contact)
        assert await asterisk.place(request) == Placed(str(request.attempt_id))
        (body,) = server.originates
        assert body == {
            "endpoint": f"PJSIP/{request.to_number}@provider",
            "channelId": str(request.attempt_id),
            "callerId": request.from_number,
            "timeout": 30,
            "context": "agents",
            "extension": "s",
            "priority": 1,
            "variables": {
                "DIALER_ATTEMPT_ID": str(request.attempt_id),
                "DIALER_DETECT_MACHINE": "1",
                "DIALER_CONTACT_NAME": "OBrien reboot",
                "DIALER_CONTACT_EXTERNAL_ID": "c-1",
                "DIALER_VAR_PLAN_NAME": "Gold",
                "DIALER_VAR_N": "7",
            },
        }


async def test_an_answered_call_may_go_to_an_application_that_the_trunk_names(call_request: CallRequests) -> None:
    async with (
        carrier.serve(0, QUICK) as server,
        provider(
            server.port, endpoint="PJSIP/p/sip:{e164}@h", destinations=[{"app": "voice-ai"}], caller_id="national"
        ) as asterisk,
    ):
        server.applications.add("voice-ai")
        request = replace(call_request(utc_now()), connection={"app": "voice-ai"})
        assert isinstance(await asterisk.place(request), Placed)
        (body,) = server.originates
        assert (body["app"], body["appArgs"]) == ("voice-ai", str(request.attempt_id))
        assert body["endpoint"] == f"PJSIP/p/sip:{request.to_number[1:]}@h"
        assert body["callerId"] == "0301000"
        assert "extension" not in body
        other = replace(call_request(utc_now()), connection={"app": "voice-ai-2"})
        assert await asterisk.place(other) == NOT_PERMITTED


async def test_nobody_is_called_for_an_application_that_is_not_connected(call_request: CallRequests) -> None:
    async with (
        carrier.serve(0, QUICK) as server,
        provider(server.port, destinations=[{"app": "bot"}]) as asterisk,
    ):
        requests = [replace(call_request(utc_now()), connection={"app": "bot"}) for _ in range(20)]
        answers = await asyncio.gather(*(asterisk.place(request) for request in requests))
        assert set(answers) == {Refused("stasis_app_not_connected", CauseClass.AGENT)}
        assert server.originates == []
        assert await asterisk.missing_destination({"app": "bot"})
        assert await asterisk.missing_destination({"extension": "s"}) is None
        server.applications.add("bot")
        async with provider(server.port, destinations=[{"app": "bot"}]) as another:
            assert isinstance(await another.place(requests[0]), Placed)
            assert await another.missing_destination({"app": "bot"}) is None


def test_a_destination_is_named_exactly_as_the_trunk_names_it() -> None:
    config = {**carrier.trunk(1)["config"], "destinations": [{"context": "agents", "exten": "*98", "priority": 2}]}
    refusal = PLUGIN.agent_refusal
    assert refusal(config, {"extension": "s"}) is None
    assert refusal(config, {"context": "agents", "exten": "*98", "priority": 2}) is None
    assert refusal(config, {"context": "agents", "exten": "*98"}) == FieldError(
        "", "it is none of the trunk's destinations"
    )
    assert refusal({**config, "context": None}, {"extension": "s"}) == FieldError(
        "extension", "the trunk has no context"
    )


async def test_what_the_contact_brings_is_bounded(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        contact = ContactCard("n" * 5000, variables={f"v{n}": "x" * 5000 for n in range(500)})
        assert isinstance(await asterisk.place(ready(call_request(utc_now()), contact=contact)), Placed)
        assert len(json.dumps(server.originates[0])) < 10_000


@pytest.mark.parametrize(
    "number", ["", "110", "+49 30", "+4930@elsewhere", "+49${EXTEN}", "+1234567890123456", "+٤٩٣٠"]
)
async def test_what_is_no_number_is_not_dialled(call_request: CallRequests, number: str) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        answer = await asterisk.place(replace(ready(call_request(utc_now())), to_number=number))
        assert answer == Refused("invalid_number", CauseClass.CONTACT)
        assert server.originates == []


async def test_an_answered_call_must_have_somewhere_to_go(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        assert await asterisk.place(call_request(utc_now())) == NOT_PERMITTED
        assert server.originates == []


async def test_a_request_that_waited_for_its_connection_past_the_deadline_does_not_leave(
    call_request: CallRequests,
) -> None:
    moment = utc_now()
    moments = chain([moment], repeat(moment.add(minutes=1)))
    async with carrier.serve(0, QUICK) as server, provider(server.port, lambda: next(moments)) as asterisk:
        answer = await asterisk.place(ready(call_request(moment)))
        assert answer == TOO_LATE
        assert server.originates == []


async def test_a_call_whose_window_is_over_is_not_placed(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        answer = await asterisk.place(ready(call_request(utc_now()), ring_by=utc_now().subtract(seconds=1)))
        assert answer == TOO_LATE
        assert server.originates == []


async def test_it_rings_no_longer_than_the_window_is_open(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        await asterisk.place(ready(call_request(utc_now(), ring_by=utc_now().add(seconds=7))))
        assert server.originates[0]["timeout"] in (5, 6)


# The conflict


async def test_a_conflict_about_a_channel_that_is_there_means_that_it_is_placed(call_request: CallRequests) -> None:
    async with carrier.serve(0, LASTING) as server, provider(server.port) as asterisk:
        request = ready(call_request(utc_now()))
        assert isinstance(await asterisk.place(request), Placed)
        assert await asterisk.place(request) == Placed(str(request.attempt_id))
        assert len(server.switch.network.log) == 1


async def test_a_conflict_about_a_channel_that_is_not_there_is_unclear(call_request: CallRequests) -> None:
    """In older releases the endpoint may not exist, or the call is over: who has listened without a break knows."""
    async with (
        carrier.serve(0, QUICK) as server,
        provider(server.port, endpoint=f"PJSIP/{{number}}@{carrier.NOWHERE}") as asterisk,
    ):
        server.conflicts = True
        request = ready(call_request(utc_now()))
        assert isinstance(await asterisk.place(request), Unclear)
        assert await asterisk.look_up(call_handle(request)) == NotFoundNow()
        assert server.switch.network.log == ()


async def test_an_endpoint_that_does_not_exist_is_refused_and_named_by_the_check(call_request: CallRequests) -> None:
    async with (
        carrier.serve(0, QUICK) as server,
        provider(server.port, endpoint=f"PJSIP/{{number}}@{carrier.NOWHERE}") as asterisk,
    ):
        answer = await asterisk.place(ready(call_request(utc_now())))
        assert answer == Refused("allocation_failed", CauseClass.INFRASTRUCTURE)
        assert "no endpoint PJSIP/nowhere" in (await asterisk.health() or "")


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [("SIP/{number}@provider", "no channels of the technology SIP"), ("Local/{number}@agents", None)],
)
async def test_the_check_asks_for_the_technology_where_no_endpoint_can_be_looked_up(
    endpoint: str, text: str | None
) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port, endpoint=endpoint) as asterisk:
        problem = await asterisk.health()
        assert problem is None if text is None else text in (problem or "")


async def test_the_check_notices_a_user_who_may_only_read() -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        assert await asterisk.health() is None
        server.is_read_only = True
        assert "ari.conf" in (await asterisk.health() or "")


async def test_a_call_from_before_a_restart_is_over_for_good(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        call = call_handle(ready(call_request(utc_now())))
        server.started_at = utc_now().subtract(hours=1)
        assert await asterisk.look_up(call) == NotFoundNow()
        assert await asterisk.look_up(replace(call, created_at=utc_now().subtract(hours=2))) == NotFoundNow(True)


async def test_an_unknown_technology_is_refused(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port, endpoint="Nonsense/{number}") as asterisk:
        answer = await asterisk.place(ready(call_request(utc_now())))
        assert answer == Refused("invalid_endpoint_specified", CauseClass.INFRASTRUCTURE)


async def test_the_answer_that_comes_after_the_last_event_is_still_the_answer(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk, listening(asterisk) as inbox:
        server.answers_late = True
        request = ready(call_request(utc_now()))
        answer = asyncio.create_task(asterisk.place(request))
        await wait_until(lambda: len(inbox.events) == 3)
        assert await answer == Placed(str(request.attempt_id))
        assert inbox.events[-1].outcome is Outcome.ANSWERED


# Unusable answers


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (http("302 Found", "", Location="http://127.0.0.1:1/ari/channels"), "redirects_are_not_followed"),
        (http("403 Forbidden", '{"message": "Write access denied"}'), "permission_denied"),
        (http("404 Not Found", "<h1>Not Found</h1>"), "wrong_url"),
        (http("400 Bad Request", '{"message": "No\\u0000 \\ud800way"}'), "no_way"),
        (http("500 Internal Server Error", '{"error": "Allocation failed"}'), "allocation_failed"),
        (http("503 Service Unavailable", '{"message": "Asterisk not booted"}'), "not_booted"),
    ],
)
async def test_a_clear_refusal_is_not_the_contacts_fault(call_request: CallRequests, answer: bytes, cause: str) -> None:
    async with answering(lambda _: answer) as (port, requests), provider(port) as asterisk:
        placement = await asterisk.place(ready(call_request(utc_now())))
        assert placement == Refused(cause, CauseClass.INFRASTRUCTURE)
        assert len(requests) == 1


@pytest.mark.parametrize(("headers", "seconds"), [({}, None), ({"Retry_After": "3"}, 3.0)])
async def test_a_proxy_that_lets_fewer_requests_through_paces_the_trunk(
    call_request: CallRequests, headers: dict[str, str], seconds: float | None
) -> None:
    answer = http("429 Too Many Requests", "", **headers).replace(b"Retry_After", b"Retry-After")
    async with answering(lambda _: answer) as (port, requests), provider(port) as asterisk:
        placement = await asterisk.place(ready(call_request(utc_now())))
        assert placement == Refused("rate_limited", CauseClass.RATE, seconds)
        assert len(requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail.example.com ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
        http("200 OK", " " * 2_000_000),
        http("408 Request Timeout", ""),
        http("500 Internal Server Error", ""),
        http("502 Bad Gateway", "<html>nginx</html>"),
        http("503 Service Unavailable", "<html>nginx</html>"),
    ],
)
async def test_what_is_not_an_answer_leaves_it_unclear_and_is_not_asked_again(
    call_request: CallRequests, answer: bytes
) -> None:
    async with answering(lambda _: answer) as (port, requests), provider(port) as asterisk:
        request = ready(call_request(utc_now()))
        assert isinstance(await asterisk.place(request), Unclear)
        assert [line.split(b" ")[0] for line in requests] == [b"POST"]
        assert isinstance(await asterisk.look_up(call_handle(request)), LookupFailed)
        assert await asterisk.health()
        with pytest.raises(Unavailable) as raised:
            await asterisk.hang_up(call_handle(request))
        assert carrier.PASSWORD not in str(raised.value)


@pytest.mark.parametrize("body", ["pong", "[]", '{"id": 7}', '{"id": "018f0000-0000-7000-8000-000000000009"}'])
async def test_a_yes_that_names_no_channel_of_ours_leaves_it_unclear(call_request: CallRequests, body: str) -> None:
    async with answering(lambda _: http("200 OK", body)) as (port, requests), provider(port) as asterisk:
        request = ready(call_request(utc_now()))
        assert isinstance(await asterisk.place(request), Unclear)
        assert len(requests) == 1
        assert isinstance(await asterisk.look_up(call_handle(request)), LookupFailed)
        assert "does not speak ARI" in (await asterisk.health() or "")


async def test_an_answer_that_trickles_in_is_not_waited_for_longer_than_one_that_does_not_come(
    call_request: CallRequests,
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
    async with (
        answering(lambda _: answer, and_goes=False) as (port, _),
        provider(port, timeout_seconds=0.2) as asterisk,
    ):
        placement = await asterisk.place(ready(call_request(utc_now())))
        assert placement == Unclear("no answer within 0.2 seconds")


# Wrong password, wrong URL, TLS


async def test_a_wrong_password_is_named_wherever_it_is_used(call_request: CallRequests) -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port, password="wrong-9x") as asterisk:
        request = ready(call_request(utc_now()))
        assert await asterisk.place(request) == Refused("wrong_credentials", CauseClass.INFRASTRUCTURE)
        sentences = [await asterisk.health(), str(await asterisk.look_up(call_handle(request)))]
        with pytest.raises(Unavailable) as raised:
            await asterisk.hang_up(call_handle(request))
        sentences.append(str(raised.value))
        async with listening(asterisk, is_up=False) as inbox:
            await wait_until(lambda: len(inbox.links) > 1)
            sentences += [link or "" for link in inbox.links]
        assert all("refuses the username or the password" in str(text) for text in sentences)
        assert not any("wrong-9x" in str(text) for text in sentences)


async def test_a_wrong_url_is_named_wherever_it_is_used(call_request: CallRequests) -> None:
    async with (
        carrier.serve(0, QUICK) as server,
        provider(server.port, url=f"http://127.0.0.1:{server.port}/pbx") as asterisk,
    ):
        request = ready(call_request(utc_now()))
        assert await asterisk.place(request) == Refused("wrong_url", CauseClass.INFRASTRUCTURE)
        # It is not the word of an Asterisk that has no such channel.
        sighting = await asterisk.look_up(call_handle(request))
        assert isinstance(sighting, LookupFailed)
        async with listening(asterisk, is_up=False) as inbox:
            await wait_until(lambda: len(inbox.links) > 0)
        texts = [await asterisk.health() or "", sighting.reason, inbox.links[0] or ""]
        assert all("ARI is not there" in text for text in texts)


async def test_tls_that_fails_is_named_and_nothing_is_sent(call_request: CallRequests) -> None:
    async with (
        carrier.serve(0, QUICK) as server,
        provider(server.port, url=f"https://127.0.0.1:{server.port}") as asterisk,
    ):
        answer = await asterisk.place(ready(call_request(utc_now())))
        assert answer == Refused("tls_failed", CauseClass.INFRASTRUCTURE)
        assert "TLS failed" in (await asterisk.health() or "")
        async with listening(asterisk, is_up=False) as inbox:
            await wait_until(lambda: len(inbox.links) > 0)
        assert "TLS failed" in (inbox.links[0] or "")
        assert server.originates == []


async def test_a_certificate_that_nobody_vouches_for_is_named_and_one_that_is_vouched_for_will_do(
    call_request: CallRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with carrier.serve(0, QUICK, secure=with_tls()) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with provider(server.port, url=url) as asterisk:
            answer = await asterisk.place(ready(call_request(utc_now())))
            assert answer == Refused("tls_failed", CauseClass.INFRASTRUCTURE)
            assert "self-signed certificate" in (await asterisk.health() or "")
            async with listening(asterisk, is_up=False) as inbox:
                await wait_until(lambda: len(inbox.links) > 0)
            assert "self-signed certificate" in (inbox.links[0] or "")
            assert server.originates == []
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        async with provider(server.port, url=url) as asterisk, listening(asterisk) as inbox:
            assert isinstance(await asterisk.place(ready(call_request(utc_now()))), Placed)
            await wait_until(lambda: any(event.kind is EventKind.ENDED for event in inbox.events))


async def test_where_nothing_listens_is_named() -> None:
    async with carrier.serve(0, QUICK) as server:
        port = server.port
    async with provider(port) as asterisk, listening(asterisk, is_up=False) as inbox:
        await wait_until(lambda: len(inbox.links) > 1)
        assert "nothing listens there" in (inbox.links[0] or "")
        assert "nothing listens there" in (await asterisk.health() or "")


# Listening


async def test_two_listeners_on_one_trunk_tell_each_event_with_the_same_key(call_request: CallRequests) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(carrier.serve(0, QUICK))
        asterisk = await stack.enter_async_context(provider(server.port))
        inboxes = [await stack.enter_async_context(listening(asterisk)) for _ in range(2)]
        request = ready(call_request(utc_now()))
        await asterisk.place(request)
        await wait_until(lambda: all(len(inbox.events) == 3 for inbox in inboxes))
        assert inboxes[0].events == inboxes[1].events
        assert {event.key for event in inboxes[0].events} == {f"{request.attempt_id}:{kind}" for kind in EventKind}


async def test_a_link_that_breaks_is_told_and_comes_back(call_request: CallRequests) -> None:
    async with carrier.serve(0, LASTING) as server, provider(server.port) as asterisk, listening(asterisk) as inbox:
        request = ready(call_request(utc_now()))
        await asterisk.place(request)
        await wait_until(lambda: len(inbox.events) == 2)
        await server.hang_up_sockets()
        await wait_until(lambda: len(inbox.links) >= 3)
        assert inbox.links[0] is None
        assert "closed the connection" in (inbox.links[1] or "")
        assert inbox.links[2] is None
        # Messages received before the connection broke still count after it.
        await asterisk.hang_up(call_handle(request))
        await wait_until(lambda: len(inbox.events) == 3)
        assert (inbox.events[-1].outcome, inbox.events[-1].talk_seconds is None) == (Outcome.ANSWERED, False)


async def test_a_link_that_is_up_is_told_again_after_every_ping() -> None:
    async with carrier.serve(0, QUICK) as server, listening(often(server.port)) as inbox:
        await wait_until(lambda: len(inbox.links) > 5)
        assert set(inbox.links) == {None}


async def test_what_came_before_the_answer_to_a_ping_is_handed_over_before_the_link_is_up() -> None:
    async with carrier.serve(0, QUICK) as server, listening(often(server.port)) as inbox:
        messages = [_up(uuid7(utc_now(), Random(n))) for n in range(3000)]
        for message in messages:
            server.say(message)
        links = len(inbox.links)
        await wait_until(lambda: len(inbox.events) == len(messages))
        await wait_until(lambda: len(inbox.links) > links)
        assert len({event.key for event in inbox.events}) == len(messages)


async def test_an_asterisk_that_falls_silent_is_noticed() -> None:
    def upgraded(head: bytes) -> bytes:
        (key,) = re.findall(rb"(?im)^sec-websocket-key: (\S+)", head)
        accepted = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        return upgrade + b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"

    async with (
        answering(upgraded, and_goes=False) as (port, _),
        provider(port, timeout_seconds=0.2) as asterisk,
        listening(asterisk, is_up=False) as inbox,
    ):
        await wait_until(lambda: len(inbox.links) > 0)
        assert inbox.links[0] == "Asterisk does not answer: no answer within 0.2 seconds"


@pytest.mark.parametrize("garbage", ["not json", b"\xff\xfe\x00", "[]", '{"type": "ChannelDestroyed", "channel": 7}'])
async def test_a_message_that_cannot_be_read_is_told_and_the_listener_goes_on(garbage: str | bytes) -> None:
    async with carrier.serve(0, QUICK) as server, listening(often(server.port)) as inbox:
        before, after = (uuid7(utc_now(), Random(seed)) for seed in (1, 2))
        server.say(_up(before))
        server.say(garbage)
        server.say(_up(after))
        await wait_until(lambda: len(inbox.events) == 2 and any(inbox.links))
        assert [event.attempt_id for event in inbox.events] == [before, after]
        assert [link for link in inbox.links if link and "cannot be read" in link]
        await wait_until(inbox.is_up)


async def test_a_huge_message_breaks_the_link_and_nothing_before_it_is_lost() -> None:
    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk, listening(asterisk) as inbox:
        before = uuid7(utc_now(), Random(1))
        server.say(_up(before))
        server.say("x" * 1_000_000)
        await wait_until(lambda: len(inbox.links) >= 3)
        assert [event.attempt_id for event in inbox.events] == [before]
        assert "more than 131072 bytes" in (inbox.links[1] or "")
        assert inbox.links[2] is None


async def test_reports_that_cannot_be_stored_end_the_listening() -> None:
    async def refuse(_: Sequence[CallEvent]) -> None:
        raise Unavailable("Postgres does not answer")

    async with carrier.serve(0, QUICK) as server, provider(server.port) as asterisk:
        inbox = Inbox()
        task = asyncio.create_task(asterisk.listen(refuse, inbox.on_link_state))
        await wait_until(inbox.is_up)
        server.say(_up(uuid7(utc_now(), Random(1))))
        with pytest.raises(Unavailable):
            await task


async def test_a_machine_is_told_where_the_dialplan_looks_for_one(call_request: CallRequests) -> None:
    machines = {**QUICK, "outcomes": {"machine": 1}}
    async with (
        carrier.serve(0, machines) as server,
        provider(server.port) as asterisk,
        listening(asterisk) as inbox,
    ):
        requests = [ready(call_request(utc_now(), detect_machine=detects)) for detects in (True, False)]
        for request in requests:
            await asterisk.place(request)
        # Ringing, answered and ended of both calls, and the machine while its call is up.
        await wait_until(lambda: len(inbox.events) == 7)
        ends = {event.attempt_id: event.outcome for event in inbox.events if event.kind is EventKind.ENDED}
        assert [ends[request.attempt_id] for request in requests] == [Outcome.MACHINE, Outcome.ANSWERED]
        early = [(event.attempt_id, event.early_outcome) for event in inbox.events if event.early_outcome]
        assert early == [(requests[0].attempt_id, Outcome.MACHINE)]


async def test_a_call_that_was_seen_is_told_with_the_keys_of_its_reports(call_request: CallRequests) -> None:
    async with carrier.serve(0, LASTING) as server, provider(server.port) as asterisk, listening(asterisk) as inbox:
        request = ready(call_request(utc_now()))
        await asterisk.place(request)
        await wait_until(lambda: len(inbox.events) == 2)
        seen = await asterisk.look_up(call_handle(request))
        assert isinstance(seen, Seen)
        assert [event.key for event in seen.events] == [event.key for event in inbox.events]


# The trunk's config

GOOD = carrier.trunk(5099)["config"]


def surroundings(secrets: dict[str, str]) -> ProviderEnvironment:
    return ProviderEnvironment(utc_now, secrets.__getitem__, None)


def test_the_kind_is_installed_and_makes_a_provider_that_hides_its_password() -> None:
    assert registry.plugin("asterisk") is PLUGIN
    made = PLUGIN.connect(TrunkId(uuid7(utc_now(), Random(1))), GOOD, surroundings({GOOD["password"]: "s3cret-word"}))
    assert isinstance(made, Asterisk)
    assert "s3cret" not in repr(made)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://pbx:8088", "http://pbx:8088/ari"),
        ("http://pbx:8088/", "http://pbx:8088/ari"),
        ("https://pbx:8089/asterisk/ari", "https://pbx:8089/asterisk/ari"),
        ("http://[::1]:8088/asterisk", "http://[::1]:8088/asterisk/ari"),
    ],
)
def test_the_url_may_or_may_not_end_with_ari(given: str, url: str) -> None:
    assert AsteriskConfig.parse({**GOOD, "url": given}).url == url


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "pbx:8088"), ("url", "ftp://pbx"), ("url", "http://"), ("url", "http://u:p@pbx"), ("url", 7),
        ("url", "http://pbx/?x=1"), ("url", "http://pbx:99999"), ("url", "http://p bx"), ("url", "http://pbx\n"),
        ("url", "http://\uff11\uff12\uff17.0.0.1:18088"), ("url", "http://⒈.com"), ("url", "http://[v1.x]"),
        ("username", ""), ("username", "a:b"), ("username", "a\nb"), ("username", None),
        ("password", ""), ("password", 7),
        ("endpoint", "PJSIP"), ("endpoint", "PJSIP/"), ("endpoint", "PJSIP/provider"), ("endpoint", "{number}"),
        ("endpoint", "PJSIP/{number}@{host}"), ("endpoint", "PJSIP/{number}{e164}@p"), ("endpoint", "/{number}"),
        ("endpoint", "PJSIP/{number}@a&PJSIP/2@b"), ("endpoint", "PJSIP/{number}@" + "p" * 70),
        ("timeout_seconds", 0), ("timeout_seconds", 16), ("timeout_seconds", "5"), ("timeout_seconds", True),
        ("timeout_seconds", float("nan")),
        ("machine_variable", ""), ("machine_variable", "A B"), ("machine_variable", "CHANNEL(x)"),
        ("colour", "red"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_used_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        PLUGIN.check({**GOOD, field: value})
    assert [error.field for error in raised.value.errors] == [field]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as raised:
        PLUGIN.check({"url": 7, "extra": 1})
    assert {error.field for error in raised.value.errors} == {"url", "username", "password", "endpoint", "extra"}


def _up(attempt_id: Any) -> dict[str, Any]:
    at = "2026-11-23T12:35:57.306+0000"
    channel = {"id": str(AttemptId(attempt_id)), "name": "PJSIP/provider-00000001", "state": "Up"}
    return {"type": "ChannelStateChange", "timestamp": at, "channel": channel, "application": "dialer"}
