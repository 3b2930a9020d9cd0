"""What is special to platforms with an HTTP API: signatures, statuses, garbage, and what is sent and never sent."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pendulum
import pytest
from pendulum import DateTime
from standardwebhooks import Webhook

from dialer.domain.call import CallEvent, CallFacts, EventKind, HungUpBy
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.timezones import in_utc
from dialer.errors import InvalidInput, NotSigned, Unavailable, UnreadableBody
from dialer.providers.base import (
    TOO_LATE,
    Absent,
    CallRequest,
    ContactCard,
    LookupFailed,
    LookupResult,
    Placed,
    ProviderEnvironment,
    Refused,
    ReportsByWebhook,
    Seen,
    Unclear,
    WebhookRequest,
)
from dialer.providers.egress import AddressRefused, Egress
from dialer.providers.http import PLUGIN, HttpPlatform
from support.networks import http as carrier
from support.networks.http import SECRET, trunk
from support.networks.http_server import HttpRequest, HttpServer, Reply
from support.networks.switch import now
from support.networks.tcp_server import tcp_server
from support.networks.tls import CERTIFICATE, with_tls
from support.provider_arguments import call_handle
from support.resolvers import no_such_host
from support.rigs.http import TRUNK, around

CallRequests = Callable[..., CallRequest]

NOON = pendulum.datetime(2026, 3, 2, 12)
INFRASTRUCTURE = CauseClass.INFRASTRUCTURE
RATE = CauseClass.RATE
ATTEMPT = "018f0000-0000-7000-8000-00000000000a"
ENDED = {"attempt_id": ATTEMPT, "event": "ended", "at": "2026-03-02T13:00:00+01:00", "outcome": "busy"}


def platform(config: dict[str, Any] | None = None, public_url: str | None = "https://dialer.example") -> HttpPlatform:
    provider = PLUGIN.connect(TRUNK, config or trunk(9)["config"], around(public_url))
    assert isinstance(provider, HttpPlatform)
    return provider


class Counterpart:
    """A platform that answers everything in the same way, and keeps what it was sent."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.sent: list[HttpRequest] = []

    async def answer(self, sent: HttpRequest) -> Reply:
        self.sent.append(sent)
        return self.reply


@asynccontextmanager
async def provider_with_counterpart(
    reply: Reply, secure: ssl.SSLContext | None = None, **config: Any
) -> AsyncIterator[tuple[HttpPlatform, Counterpart]]:
    """Connect a provider to a server that gives this reply to every request. `config`: None removes a field."""
    counterpart = Counterpart(reply)
    web = await HttpServer.start(counterpart.answer, secure=secure)
    known = {name: value for name, value in (trunk(web.port)["config"] | config).items() if value is not None}
    if secure:
        known["url"] = known["url"].replace("http:", "https:")
    provider = platform(known)
    try:
        async with asyncio.timeout(20):
            yield provider, counterpart
    finally:
        await provider.close()
        await web.close()


# --- What is sent.


async def test_a_request_for_a_call_says_all_and_is_signed(call_request: CallRequests) -> None:
    asked = call_request(now(), ring_by=now().add(seconds=10.5), detect_machine=True)
    whole = CallRequest(
        asked.attempt_id, asked.to_number, asked.from_number, {"agent": "front desk"}, 30.0, asked.place_by,
        asked.ring_by, True, ContactCard("Ada", "c-1", {"plan": "gold", "naïve": ["ü"]}),
    )  # fmt: skip
    async with provider_with_counterpart(Reply(200, {"call_id": "C1", "more": 1})) as (provider, counterpart):
        assert await provider.place(whole) == Placed("C1")
        sent = counterpart.sent[0]
    payload = Webhook(SECRET).verify(sent.body, dict(sent.headers))
    assert (
        sent.headers["idempotency-key"] == sent.headers["webhook-id"] == payload["attempt_id"] == str(asked.attempt_id)
    )
    assert asked.ring_by is not None
    assert 9 <= payload.pop("ring_timeout_seconds") <= 10
    assert payload == {
        "attempt_id": str(asked.attempt_id),
        "to_number": asked.to_number,
        "from_number": asked.from_number,
        "place_by": in_utc(asked.place_by),
        "ring_by": in_utc(asked.ring_by),
        "detect_machine": True,
        "connection": {"agent": "front desk"},
        "contact": {"name": "Ada", "external_id": "c-1", "variables": {"plan": "gold", "naïve": ["ü"]}},
        "report_url": f"https://dialer.example/v1/providers/http/{TRUNK}/events",
    }


async def test_many_requests_share_connections_that_stay_open(call_request: CallRequests) -> None:
    async with carrier.serve(0, {"speed": 1000}, None) as served:
        provider = platform(trunk(served.port)["config"])
        for _ in range(5):
            await asyncio.gather(*(provider.place(call_request(now())) for _ in range(10)))
        await provider.close()
        result = served.server.connections
    assert result <= 10


async def test_nothing_leaves_once_place_by_has_come_even_while_the_connection_was_made(
    call_request: CallRequests,
) -> None:
    """The clock is read again when the body is to leave: by then it is later."""
    moments = iter([NOON, NOON.add(seconds=30)])
    counterpart = Counterpart(Reply(200))
    web = await HttpServer.start(counterpart.answer)
    late = ProviderEnvironment(lambda: next(moments), lambda _: SECRET, "https://dialer.example")
    provider = PLUGIN.connect(TRUNK, trunk(web.port)["config"], late)
    try:
        assert await provider.place(call_request(NOON)) == TOO_LATE
        assert not counterpart.sent
    finally:
        await provider.close()
        await web.close()


async def test_without_a_public_url_no_call_is_asked_for_since_none_could_be_reported(
    call_request: CallRequests,
) -> None:
    provider = platform(public_url=None)
    assert await provider.place(call_request(now())) == Refused("no_public_url", INFRASTRUCTURE)
    assert "DIALER_PUBLIC_URL" in (await provider.health() or "")


# --- What an answer to a placement means.

REFUSALS = [
    (Reply(400), Refused("bad_request", INFRASTRUCTURE)),
    (Reply(401), Refused("wrong_credentials", INFRASTRUCTURE)),
    (Reply(403), Refused("permission_denied", INFRASTRUCTURE)),
    (Reply(404, b"<html>"), Refused("wrong_url", INFRASTRUCTURE)),
    (Reply(418), Refused("http_418", INFRASTRUCTURE)),
    (Reply(429), Refused("rate_limited", RATE)),
    (Reply(429, headers={"retry-after": "7"}), Refused("rate_limited", RATE, 7.0)),
    (Reply(429, {"cause": "busy", "cause_class": "infrastructure"}, {"retry-after": "soon"}), Refused("busy", RATE)),
    (Reply(429, {"cause": "blocked", "cause_class": "policy"}, {"retry-after": "7"}),
     Refused("blocked", CauseClass.POLICY)),
    (Reply(422, {"cause": "too_fast", "cause_class": "rate"}, {"retry-after": "7"}), Refused("too_fast", RATE, 7.0)),
    (Reply(403, headers={"retry-after": "7"}), Refused("permission_denied", INFRASTRUCTURE)),
    (Reply(451), Refused("legal_reasons", CauseClass.POLICY)),
    (Reply(422, {"cause": "unallocated_number", "cause_class": "contact"}),
     Refused("unallocated_number", CauseClass.CONTACT)),
    (Reply(403, {"cause": "on_the_list", "cause_class": "policy"}), Refused("on_the_list", CauseClass.POLICY)),
    (Reply(422, {"cause": "number_not_owned"}), Refused("number_not_owned", INFRASTRUCTURE)),
    (Reply(422, {"cause": "x" * 65, "cause_class": "contact"}), Refused("bad_request", INFRASTRUCTURE)),
    (Reply(422, {"cause": "odd", "cause_class": "weather"}), Refused("bad_request", INFRASTRUCTURE)),
    (Reply(422, {"cause": "busy"}, cut=True), Refused("bad_request", INFRASTRUCTURE)),
    (Reply(308, headers={"location": "/elsewhere"}), Refused("redirects_are_not_followed", INFRASTRUCTURE)),
    (Reply(302, headers={"location": "/elsewhere"}), Refused("redirects_are_not_followed", INFRASTRUCTURE)),
]  # fmt: skip
ACCEPTED = [
    Reply(200),
    Reply(204),
    Reply(202, {}),
    Reply(201, {"call_id": None}),
    Reply(200, {"state": "queued"}),
]
UNCLEAR = {
    "303 means that it was handled": Reply(303, headers={"location": "/calls/1"}),
    "408 may be of a gateway": Reply(408),
    "409 knows this key": Reply(409, {"cause": "known", "cause_class": "infrastructure"}),
    "500": Reply(500, {"cause": "crash", "cause_class": "infrastructure"}),
    "503": Reply(503),
    "no JSON": Reply(200, b"OK"),
    "no object": Reply(200, [1]),
    "no text": Reply(200, {"call_id": 7}),
    "NUL": Reply(200, {"call_id": "a\0b"}),
    "endless": Reply(200, b"x" * 300_000),
    "cut": Reply(200, {"call_id": "C1"}, cut=True),
    "packed": Reply(200, b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    "not HTTP": Reply(None, raw=b"\x00garbage\r\n\r\n"),
    "huge head": Reply(None, raw=b"HTTP/1.1 200 OK\r\nx: " + b"x" * 300_000 + b"\r\n\r\n"),
    "nothing": Reply(None, raw=b""),
}


async def place(reply: Reply, request: CallRequest, **config: Any) -> object:
    """Place a call with a provider whose server gives this reply."""
    async with provider_with_counterpart(reply, **config) as (provider, counterpart):
        answer = await provider.place(request)
        assert len(counterpart.sent) == 1, "it was sent more than once"
        return answer


@pytest.mark.parametrize(("reply", "meaning"), REFUSALS, ids=lambda parameter: str(getattr(parameter, "status", "")))
async def test_a_refusal_blames_whom_it_names(call_request: CallRequests, reply: Reply, meaning: Refused) -> None:
    assert await place(reply, call_request(now())) == meaning


@pytest.mark.parametrize("reply", ACCEPTED, ids=lambda reply: f"{reply.status} {reply.content}")
async def test_a_call_that_the_platform_gives_no_name_is_known_by_its_attempt(
    call_request: CallRequests, reply: Reply
) -> None:
    request = call_request(now())
    placed = await place(reply, request)
    assert placed == Placed(str(request.attempt_id))


@pytest.mark.parametrize("reply", UNCLEAR.values(), ids=UNCLEAR.keys())
async def test_an_answer_after_which_the_call_may_exist_is_unclear(call_request: CallRequests, reply: Reply) -> None:
    answer = await place(reply, call_request(now()))
    assert isinstance(answer, Unclear)
    assert answer.reason
    assert len(answer.reason) < 300


async def test_an_answer_that_does_not_come_in_time_is_unclear(call_request: CallRequests) -> None:
    answer = await place(Reply(None), call_request(now()), timeout_seconds=1)
    assert answer == Unclear("asked for the call, no answer within 1 seconds")


async def test_an_answer_that_trickles_in_is_not_waited_for_longer_than_the_timeout(call_request: CallRequests) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async with tcp_server(trickle) as port:
        provider = platform(trunk(port)["config"] | {"timeout_seconds": 0.2})
        answer = await asyncio.wait_for(provider.place(call_request(now())), 5)
        await provider.close()
    assert isinstance(answer, Unclear)


async def test_a_host_that_does_not_exist_refuses_and_says_so(call_request: CallRequests) -> None:
    config = {"url": "http://nowhere.invalid/calls", "secret": "env:TRUNK_HTTP_SECRET"}
    provider = PLUGIN.connect(
        TRUNK, config, replace(around("https://dialer.example"), egress=Egress(resolve=no_such_host))
    )
    try:
        answer, reason = await provider.place(call_request(now())), await provider.health()
    finally:
        await provider.close()
    assert answer == Refused("network_unreachable", INFRASTRUCTURE)
    assert reason == f"The platform at nowhere.invalid:80 cannot be reached: {AddressRefused()}"


# --- TLS.


async def test_a_certificate_that_nobody_vouches_for_is_named(call_request: CallRequests) -> None:
    async with provider_with_counterpart(Reply(200), secure=with_tls(), health_url=None) as (provider, counterpart):
        assert await provider.place(call_request(now())) == Refused("tls_failed", INFRASTRUCTURE)
        assert "certificate is not trusted (self-signed certificate)" in (await provider.health() or "")
        assert not counterpart.sent


async def test_a_certificate_of_the_operators_own_is_trusted(
    call_request: CallRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with provider_with_counterpart(Reply(200), secure=with_tls(), health_url=None) as (provider, _):
        assert isinstance(await provider.place(call_request(now())), Placed)
        assert await provider.health() is None


async def test_a_server_without_tls_at_an_https_url_is_named(call_request: CallRequests) -> None:
    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with tcp_server(speak_plainly) as port:
        provider = platform({"url": f"https://127.0.0.1:{port}/calls", "secret": "env:TRUNK_HTTP_SECRET"})
        answer, reason = await provider.place(call_request(now())), await provider.health()
        await provider.close()
    assert answer == Refused("tls_failed", INFRASTRUCTURE)
    assert "TLS failed" in (reason or "")


async def test_a_server_that_is_silent_before_anything_could_be_sent_has_no_call(call_request: CallRequests) -> None:
    """In the middle of the TLS handshake, that is: it cannot have heard what is wanted."""

    async def never_greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with tcp_server(never_greet) as port:
        url = f"https://127.0.0.1:{port}/"
        provider = platform({"url": url, "secret": "env:TRUNK_HTTP_SECRET", "timeout_seconds": 0.3})
        answer = await provider.place(call_request(now()))
        await provider.close()
    assert answer == Refused("timed_out", INFRASTRUCTURE)


# --- Look-ups, hang-ups, health.


async def look_up(reply: Reply, request: CallRequest, **config: Any) -> LookupResult:
    async with provider_with_counterpart(reply, **config) as (provider, _):
        return await provider.look_up(call_handle(request, "C9"))


async def test_a_look_up_is_signed_for_the_call_it_asks_for(call_request: CallRequests) -> None:
    request = call_request(now())
    async with provider_with_counterpart(Reply(500)) as (provider, counterpart):
        await provider.look_up(call_handle(request))
        sent = counterpart.sent[0]
    Webhook(SECRET).verify(sent.body, dict(sent.headers), json_parse=False)
    assert (sent.method, sent.path) == ("GET", f"/calls/{request.attempt_id}")
    assert sent.headers["webhook-id"] == f"look_up:{request.attempt_id}"


async def test_a_look_up_tells_of_the_call_oldest_first_with_the_keys_of_its_reports(
    call_request: CallRequests,
) -> None:
    request = call_request(now())
    steps = [dict(ENDED, attempt_id=str(request.attempt_id))]
    steps += [{"attempt_id": str(request.attempt_id), "event": "ringing", "at": "2026-03-02T12:00:00Z"}]
    seen = await look_up(Reply(200, {"events": steps}), request)
    assert isinstance(seen, Seen)
    assert seen.provider_call_id == "C9"
    assert [event.key for event in seen.events] == [f"{request.attempt_id}:ringing", f"{request.attempt_id}:ended"]
    assert await look_up(Reply(200, {"call_id": "C1", "events": []}), request) == Seen("C1", ())


async def test_a_404_is_believed_only_when_it_names_the_attempt(call_request: CallRequests) -> None:
    """A web server says 404 too when the look_up_url is wrong, and the contact must not be called again for that."""
    request = call_request(now())
    assert await look_up(Reply(404, {"attempt_id": str(request.attempt_id)}), request) == Absent()
    for wrong in (b"", b"<html>Not Found</html>", {"detail": "Not Found"}, {"attempt_id": ATTEMPT}, [1]):
        assert isinstance(await look_up(Reply(404, wrong), request), LookupFailed)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200),
        Reply(200, b"?"),
        Reply(200, {"events": 5}),
        Reply(200, {"call_id": "C1"}),
        Reply(200, {"events": [ENDED]}),  # of another call
        Reply(200, {"events": [{"event": "ended"}]}),
        Reply(200, {"events": []}, cut=True),
        Reply(200, b"x" * 300_000),
        Reply(204),
        Reply(301),
        Reply(401),
        Reply(410),
        Reply(500),
    ],
)
async def test_a_look_up_that_cannot_be_believed_is_no_word(call_request: CallRequests, reply: Reply) -> None:
    sighting = await look_up(reply, call_request(now()))
    assert isinstance(sighting, LookupFailed)
    assert sighting.reason


async def test_a_trunk_without_a_look_up_url_says_so(call_request: CallRequests) -> None:
    sighting = await look_up(Reply(200), call_request(now()), look_up_url=None)
    assert sighting == LookupFailed("its trunk has no look_up_url")


async def hang_up(reply: Reply, request: CallRequest, **config: Any) -> list[HttpRequest]:
    async with provider_with_counterpart(reply, **config) as (provider, counterpart):
        await provider.hang_up(call_handle(request, "C9"))
        return counterpart.sent


@pytest.mark.parametrize("status", [200, 202, 204, 404, 410])
async def test_a_call_that_is_over_or_never_was_is_hung_up(call_request: CallRequests, status: int) -> None:
    request = call_request(now())
    (sent,) = await hang_up(Reply(status), request)
    assert sent.path == f"/calls/{request.attempt_id}/hang-up"
    payload = Webhook(SECRET).verify(sent.body, dict(sent.headers))
    assert payload == {"attempt_id": str(request.attempt_id), "call_id": "C9", "action": "hang_up"}


@pytest.mark.parametrize(
    ("reply", "config", "reason"),
    [
        (Reply(500), {}, "answered 500"),
        (Reply(302), {}, "answered 302"),
        (Reply(None, raw=b""), {}, "did not say"),
        (Reply(None), {"timeout_seconds": 0.5}, "within 0.5 seconds"),
        (Reply(204), {"hang_up_url": None}, "no hang_up_url"),
    ],
)
async def test_a_call_that_may_still_be_up_is_not_said_to_be_hung_up(
    call_request: CallRequests, reply: Reply, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unavailable, match=reason):
        await hang_up(reply, call_request(now()), **config)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, None), (204, None), (401, "secret"), (403, "secret"), (404, "URL"), (302, "redirects"), (503, "503")],
)
async def test_health_says_what_is_wrong(status: int, reason: str | None) -> None:
    async with provider_with_counterpart(Reply(status)) as (provider, _):
        health = await provider.health()
    assert (health is None) == (reason is None)
    assert (reason or "") in (health or "")


async def test_health_without_a_health_url_asks_for_nothing_but_a_connection() -> None:
    async with provider_with_counterpart(Reply(500), health_url=None) as (provider, counterpart):
        assert await provider.health() is None
        assert not counterpart.sent


async def test_health_says_when_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: nobody else can
        config = trunk(taken.getsockname()[1])["config"]
        for settings in (config, {name: config[name] for name in ("url", "secret")}):
            provider = platform(settings)
            try:
                result = await provider.health()
            finally:
                await provider.close()
            assert "nothing listens there" in (result or "")


# --- Reports.


def posted(body: bytes, at: DateTime = NOON, read_at: DateTime = NOON, **headers: str | None) -> WebhookRequest:
    signature = Webhook(SECRET).sign("msg_1", at, body.decode())
    given = {
        "webhook_id": "msg_1",
        "webhook_timestamp": str(at.int_timestamp),
        "webhook_signature": signature,
    } | headers
    named = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    return WebhookRequest("https://dialer.example/v1/providers/http/x/events", named, body, None, read_at)


def read(request: WebhookRequest) -> Sequence[CallEvent]:
    return platform().read_reports(request)


def test_the_provider_is_one_that_is_reported_to_by_http() -> None:
    assert isinstance(platform(), ReportsByWebhook)


def test_one_report_and_several_are_read() -> None:
    ringing = {"attempt_id": ATTEMPT, "event": "ringing", "at": "2026-03-02T11:59:00Z", "call_id": "C1"}
    ended = {**ENDED, "cause": "user_busy", "talk_seconds": 0, "recording_url": "https://example.org/1"}
    (alone,) = read(posted(json.dumps(ended).encode()))
    assert alone.key == f"{ATTEMPT}:ended"
    assert (alone.kind, alone.at, alone.outcome) == (EventKind.ENDED, NOON, Outcome.BUSY)
    assert (alone.cause, alone.talk_seconds, alone.provider_call_id) == ("user_busy", 0, None)
    both = read(posted(json.dumps({"events": [ringing, ended]}).encode()))
    assert both[1] == alone
    assert (both[0].kind, both[0].provider_call_id) == (EventKind.RINGING, "C1")
    assert read(posted(b'{"events": []}')) == []


def test_what_the_telephone_network_said_may_be_told_of_an_end() -> None:
    details: dict[str, Any] = {"sip_code": 503, "q850_cause": 34, "sip_call_id": "c-1@carrier", "hung_up_by": "network"}
    details |= {"disposition": "no agent was free", "opt_out": False}
    (event,) = read(posted(json.dumps({**ENDED, **details}).encode()))
    assert event.facts == CallFacts(503, 34, "c-1@carrier", HungUpBy.NETWORK, "no agent was free", False)


@pytest.mark.parametrize(
    ("given", "kept"), [("2026-03-02T12:00Z", "2026-03-02T12:00Z"), ("soon", "soon"), (5, "5"), (None, None)]
)
def test_a_callback_is_kept_as_it_is_written_and_never_costs_the_end_of_the_call(given: object, kept: object) -> None:
    (event,) = read(posted(json.dumps({**ENDED, "callback_at": given}).encode()))
    assert (event.kind, event.facts.callback_at) == (EventKind.ENDED, kept)


def test_one_right_signature_among_several_suffices() -> None:
    body = json.dumps(ENDED).encode()
    right = posted(body).headers["webhook-signature"]
    assert read(posted(body, webhook_signature=f"v1,AAAA v1a,{right[3:]} junk {right}"))


BODY = json.dumps(ENDED).encode()
WRONG: dict[str, tuple[WebhookRequest, str]] = {
    "no id": (posted(BODY, webhook_id=None), "are needed"),
    "no timestamp": (posted(BODY, webhook_timestamp=None), "are needed"),
    "no signature": (posted(BODY, webhook_signature=None), "are needed"),
    "another id": (posted(BODY, webhook_id="msg_2"), "wrong"),
    "another body": (WebhookRequest("", posted(BODY).headers, BODY + b" ", None, NOON), "wrong"),
    "another secret": (posted(BODY, webhook_signature=Webhook(b"another").sign("msg_1", NOON, BODY.decode())), "wrong"),
    "another version": (posted(BODY, webhook_signature="v1a" + posted(BODY).headers["webhook-signature"][2:]), "wrong"),
    "no version": (posted(BODY, webhook_signature=posted(BODY).headers["webhook-signature"][3:]), "wrong"),
    "its beginning": (posted(BODY, webhook_signature=posted(BODY).headers["webhook-signature"][:20]), "wrong"),
    "its version alone": (posted(BODY, webhook_signature="v1,"), "wrong"),
    "blanks": (posted(BODY, webhook_signature="  "), "wrong"),
    "not ASCII": (posted(BODY, webhook_signature="v1,é"), "wrong"),
    "a moved timestamp": (posted(BODY, webhook_timestamp=str(NOON.int_timestamp + 1)), "wrong"),
    "a word for a timestamp": (posted(BODY, webhook_timestamp="noon"), "whole number"),
    "a fraction": (posted(BODY, webhook_timestamp="1.5"), "whole number"),
    "endless": (posted(BODY, webhook_timestamp="9" * 400), "whole number"),
    "far ahead": (posted(BODY, webhook_timestamp="9" * 11), "newer than 5 minutes"),
    "replayed": (posted(BODY, read_at=NOON.add(minutes=5, seconds=1)), "older than 5 minutes"),
    "of the future": (posted(BODY, read_at=NOON.subtract(minutes=5, seconds=1)), "newer than 5 minutes"),
    "not UTF-8": (WebhookRequest("", posted(BODY).headers, b"\xff", None, NOON), "UTF-8"),
}


@pytest.mark.parametrize(("webhook", "reason"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_proved_to_come_from_the_platform_is_not_read(webhook: WebhookRequest, reason: str) -> None:
    with pytest.raises(NotSigned, match=reason):
        read(webhook)


@pytest.mark.parametrize("away", [-300, 300])
def test_clocks_may_differ_by_five_minutes(away: int) -> None:
    assert read(posted(BODY, read_at=NOON.add(seconds=away)))


@pytest.mark.parametrize("body", [b"", b"{", b"?", b'{"a": "\x00"}', b"[" * 100_000])
def test_a_signed_report_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBody, match="not JSON"):
        read(posted(body))


def test_a_signed_report_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger than 1024 KiB"):
        read(posted(b'{"events": [], "x": "' + b"x" * 2_000_000 + b'"}'))
    with pytest.raises(InvalidInput) as refused:
        read(posted(json.dumps({"events": [ENDED] * 1001}).encode()))
    assert refused.value.errors[0].field == "events"


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({**ENDED, "attempt_id": "7"}, "attempt_id"),
        ({**ENDED, "attempt_id": 7}, "attempt_id"),
        ({**ENDED, "event": "hung_up"}, "event"),
        ({**ENDED, "at": "2026-03-02T13:00:00"}, "at"),  # of no zone
        ({**ENDED, "at": 1772449200}, "at"),
        ({**ENDED, "at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({**ENDED, "at": "9999-12-31T23:59:59-12:00"}, "at"),
        ({**ENDED, "outcome": "great"}, "outcome"),
        ({**ENDED, "outcome": None}, "outcome"),
        ({name: ENDED[name] for name in ("attempt_id", "event", "at")}, "outcome"),
        ({**ENDED, "event": "answered"}, "outcome"),
        ({**ENDED, "talk_seconds": -1}, "talk_seconds"),
        ({**ENDED, "talk_seconds": float("nan")}, "talk_seconds"),
        ({**ENDED, "talk_seconds": True}, "talk_seconds"),
        ({**ENDED, "cause": "x" * 256}, "cause"),
        ({**ENDED, "cause": "a\0b"}, "cause"),
        ({**ENDED, "call_id": ""}, "call_id"),
        ({**ENDED, "sip_code": 7}, "sip_code"),
        ({**ENDED, "q850_cause": 128}, "q850_cause"),
        ({**ENDED, "hung_up_by": "me"}, "hung_up_by"),
        ({**ENDED, "disposition": ""}, "disposition"),
        ({**ENDED, "disposition": "x" * 101}, "disposition"),
        ({**ENDED, "opt_out": "yes"}, "opt_out"),
        ({**ENDED, "event": "answered", "outcome": None, "opt_out": True}, "opt_out"),
        (5, ""),
    ],
)
def test_a_wrong_field_of_a_report_is_named_by_its_path(report: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(posted(json.dumps({"events": [ENDED, report]}).encode()))
    assert [error.field for error in refused.value.errors] == [f"events.1.{field}".rstrip(".")]


# --- The trunk's config.


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"url": "ftp://127.0.0.1/calls"}, ["url"]),
        ({"url": "http://"}, ["url"]),
        ({"url": "http://127.0.0.1:99999/"}, ["url"]),
        ({"url": "http://a b/"}, ["url"]),
        ({"url": "http://[::1/"}, ["url"]),
        ({"url": "http://[v1.x]/"}, ["url"]),
        ({"url": "http://⒈.com/"}, ["url"]),
        ({"look_up_url": "http://[v1.x]/{attempt_id}"}, ["look_up_url"]),
        ({"url": "https://me:hunter2@example.org/calls"}, ["url"]),
        ({"url": "https://example.org/calls#x"}, ["url"]),
        ({"url": "https://example.org/{attempt_id}"}, ["url"]),
        ({"url": 5}, ["url"]),
        ({"look_up_url": "https://example.org/calls"}, ["look_up_url"]),
        ({"look_up_url": "https://{attempt_id}/calls"}, ["look_up_url"]),
        ({"hang_up_url": "https://example.org/{attempt_id}/{other}"}, ["hang_up_url"]),
        ({"health_url": ""}, ["health_url"]),
        ({"secret": SECRET}, ["secret"]),
        ({"secret": None}, ["secret"]),
        ({"timeout_seconds": 0}, ["timeout_seconds"]),
        ({"timeout_seconds": 16}, ["timeout_seconds"]),
        ({"timeout_seconds": True}, ["timeout_seconds"]),
        ({"timeout_seconds": float("nan")}, ["timeout_seconds"]),
        ({"headers": {}, "timeout_seconds": "5"}, ["timeout_seconds", "headers"]),
    ],
)
def test_each_wrong_field_of_a_config_is_named(change: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        PLUGIN.check(trunk(9)["config"] | change)
    assert [error.field for error in refused.value.errors] == fields
    assert "hunter2" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_config_needs_a_url_and_a_secret_alone() -> None:
    with pytest.raises(InvalidInput) as refused:
        PLUGIN.check({})
    assert [error.field for error in refused.value.errors] == ["url", "secret"]
    PLUGIN.check({"url": "https://example.org/calls", "secret": "env:TRUNK_HTTP_SECRET"})


@pytest.mark.parametrize("secret", ["", "hunter2hunter2hunter2hunter2hunter2", "whsec_", "whsec_hunter2", "whsec_hün"])
def test_a_secret_of_another_form_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(Unavailable, match="must be whsec_") as refused:
        PLUGIN.connect(TRUNK, trunk(9)["config"], ProviderEnvironment(now, lambda _: secret, None))
    assert "hunter2" not in f"{refused.value!r} {refused.value.__context__!r}"


def test_a_trunk_names_no_rate_of_its_own() -> None:
    assert PLUGIN.calls_per_second is None
