"""Twilio's REST API: what is asked, what its answers mean, and what a bad other side can do (nothing)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pendulum
import pytest
from pendulum import DateTime

from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.errors import InvalidInput, Unavailable
from dialer.providers import registry
from dialer.providers.base import (
    TOO_LATE,
    Absent,
    CallRequest,
    Candidates,
    LookupFailed,
    Placed,
    ProviderEnvironment,
    Refused,
    Seen,
    Unclear,
)
from dialer.providers.twilio import PLUGIN, Twilio
from dialer.providers.twilio.config import TwilioConfig
from dialer.service.agents import NewAgent
from support.networks.http_server import HttpRequest, Reply
from support.networks.tcp_server import tcp_server
from support.networks.tls import CERTIFICATE, with_tls
from support.networks.twilio import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    AUTHORIZATION,
    BASE,
    CONNECTION,
    FakeTwilio,
    refused,
    serve,
    trunk,
)
from support.networks.twilio_calls import when
from support.provider_arguments import call_handle

CallRequests = Callable[..., CallRequest]

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000022"))
# Nothing listens there: the carrier cannot report what becomes of a call.
PUBLIC = "https://127.0.0.1:1"
SID = "CA" + "a" * 32
CONFIG = trunk(1)["config"]
LONG = {"mean": 5000, "min": 5000, "max": 5000}
TALKS = {"speed": 1000, "outcomes": {"answered": 1}, "talk_seconds": LONG}
RINGS_LONG = {"speed": 1, "outcomes": {"answered": 1}, "ring_seconds": LONG}
INFRASTRUCTURE, POLICY, CONTACT, RATE = (
    CauseClass.INFRASTRUCTURE,
    CauseClass.POLICY,
    CauseClass.CONTACT,
    CauseClass.RATE,
)


def utc_now() -> DateTime:
    return pendulum.now("UTC")


@asynccontextmanager
async def connected(
    base_url: str, clock: Callable[[], DateTime] = utc_now, public_url: str | None = PUBLIC, **config: object
) -> AsyncIterator[Twilio]:
    around = ProviderEnvironment(clock, lambda _: AUTH_TOKEN, public_url)
    provider = PLUGIN.connect(TRUNK, {**CONFIG, "api_base_url": base_url, **config}, around)
    assert isinstance(provider, Twilio)
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def network(
    profile: Mapping[str, Any] = TALKS, clock: Callable[[], DateTime] = utc_now, **config: Any
) -> AsyncIterator[tuple[FakeTwilio, Twilio]]:
    async with serve(0, profile) as carrier, connected(f"http://127.0.0.1:{carrier.port}", clock, **config) as provider:
        yield carrier, provider


@pytest.fixture
def request_(call_request: CallRequests) -> CallRequest:
    return replace(call_request(utc_now()), connection=CONNECTION)


def listed(request: CallRequest, seconds: float, **changes: object) -> dict[str, Any]:
    """A call of the list that was made so long after the attempt."""
    made = when(call_handle(request).created_at.add(seconds=seconds))
    whole = {"sid": SID, "to": request.to_number, "from": request.from_number, "direction": "outbound-api"}
    return whole | {"date_created": made, "status": "ringing"} | changes


def sids(result: object) -> list[str]:
    assert isinstance(result, Candidates)
    return [call.provider_call_id for call in result.calls]


def page(*calls: dict[str, Any]) -> Reply:
    return Reply(200, {"page": 0, "next_page_uri": None, "uri": f"{BASE}/Calls.json", "calls": list(calls)})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_sid", "ACME"),
        ("account_sid", None),
        ("auth_token", AUTH_TOKEN),
        ("auth_token", 5),
        ("api_base_url", "ftp://x"),
        ("api_base_url", "https://u:p@x"),
        ("api_base_url", "https://x/2010-04-01"),
        ("api_base_url", "https://x:y"),
        ("api_base_url", "http://\uff11\uff12\uff17.0.0.1:18088"),
        ("api_base_url", "http://⒈.com"),
        ("api_base_url", "http://[v1.x]"),
        ("timeout_seconds", 0),
        ("timeout_seconds", 15.5),
        ("timeout_seconds", True),
        ("timeout_seconds", float("nan")),
        ("listed_after_seconds", -1),
        ("edge", "Dublin!"),
        ("colour", "red"),
    ],
)
def test_a_wrong_field_is_named_without_its_value(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as wrong:
        PLUGIN.check({**CONFIG, field: value})
    assert [error.field for error in wrong.value.errors] == [field]
    assert AUTH_TOKEN not in str(wrong.value)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as wrong:
        PLUGIN.check({"account_sid": 1, "x": 2})
    assert {error.field for error in wrong.value.errors} == {"account_sid", "auth_token", "x"}


def test_a_region_goes_without_an_address() -> None:
    PLUGIN.check({"account_sid": ACCOUNT_SID, "auth_token": "env:TRUNK_X", "region": "ie1", "edge": "dublin"})
    with pytest.raises(InvalidInput, match="region"):
        PLUGIN.check({**CONFIG, "region": "ie1"})


def test_a_new_trunk_calls_once_a_second_so_that_nothing_waits_in_the_queue_of_twilio() -> None:
    assert registry.plugin("twilio").calls_per_second == 1


def test_a_token_that_is_not_set_is_told_when_the_trunk_is_connected() -> None:
    def unset(_: str) -> str:
        raise Unavailable("The environment variable TRUNK_TWILIO_AUTH_TOKEN is not set in this process")

    with pytest.raises(Unavailable, match="TRUNK_TWILIO_AUTH_TOKEN"):
        PLUGIN.connect(TRUNK, CONFIG, ProviderEnvironment(utc_now, unset, PUBLIC))


@pytest.mark.parametrize(
    ("connection", "fields"),
    [
        ({"twilio": {"url": "https://x", "machine_detection": True}}, []),
        ({"twilio": {"twiml": "<Response/>"}}, []),
        ({"twilio": {}}, ["connection.twilio.url"]),
        ({"twilio": {"url": "http://[::1"}}, ["connection.twilio.url"]),
        ({"twilio": {"url": "https://x", "twiml": "<Response/>"}}, ["connection.twilio.url"]),
        ({"twilio": {"twiml": "x" * 4001}}, ["connection.twilio.twiml"]),
        ({"twilio": {"url": "https://x", "machine_detection": "yes"}}, ["connection.twilio.machine_detection"]),
    ],
)
def test_an_agent_has_either_a_url_or_twiml(connection: dict[str, Any], fields: list[str]) -> None:
    body = json.dumps({"name": "Bo", "connection": connection}).encode()
    try:
        NewAgent.read_json(body, utc_now())
        wrong_fields = []
    except InvalidInput as wrong:
        wrong_fields = [error.field for error in wrong.errors]
    assert wrong_fields == fields


def form_of(asked: HttpRequest) -> dict[str, Any]:
    return {name: values if len(values) > 1 else values[0] for name, values in asked.form.items()}


async def test_twilio_is_asked_for_all_that_it_needs_to_know(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        assert isinstance(await twilio.place(request_), Placed)
        assert form_of(carrier.asked[0]) == {
            "To": request_.to_number,
            "From": request_.from_number,
            "Url": CONNECTION["url"],
            "Timeout": "30",
            "StatusCallback": f"{PUBLIC}/v1/providers/twilio/{TRUNK}/events/{request_.attempt_id}",
            "StatusCallbackMethod": "POST",
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        }


@pytest.mark.parametrize(
    ("detects", "connection", "fields"),
    [
        (True, {"url": "https://a.example"}, {"Url": "https://a.example", "MachineDetection": "Enable"}),
        (False, {"url": "https://a.example", "machine_detection": True}, {"MachineDetection": "Enable"}),
        (False, {"twiml": "<Response/>", "url": None}, {"Twiml": "<Response/>", "Url": None, "MachineDetection": None}),
    ],
)
async def test_the_agent_says_what_becomes_of_the_call_and_both_may_ask_for_machines(
    request_: CallRequest, detects: bool, connection: dict[str, Any], fields: dict[str, Any]
) -> None:
    async with network() as (carrier, twilio):
        await twilio.place(replace(request_, connection=connection, detect_machine=detects))
        form = form_of(carrier.asked[0])
        assert {name: form.get(name) for name in fields} == fields


@pytest.mark.parametrize(
    ("left", "timeout", "cut"), [(100, "30", False), (34.5, "28", True), (12.5, "6", True), (3, "1", True)]
)
async def test_it_rings_no_longer_than_the_window_is_open_though_twilio_adds_five_seconds(
    request_: CallRequest, left: float, timeout: str, cut: bool
) -> None:
    now = utc_now()
    async with network(clock=lambda: now) as (carrier, twilio):
        await twilio.place(replace(request_, ring_by=now.add(seconds=left)))
        form = form_of(carrier.asked[0])
        assert (form["Timeout"], form["StatusCallback"].endswith("?ring=until_window_ends")) == (timeout, cut)


async def test_without_a_public_url_no_call_is_placed_and_health_says_so(request_: CallRequest) -> None:
    async with network(public_url=None) as (carrier, twilio):
        assert await twilio.place(request_) == Refused("no_public_url", INFRASTRUCTURE)
        assert "DIALER_PUBLIC_URL" in (await twilio.health() or "")
        assert not carrier.asked


async def test_a_call_that_leads_nowhere_is_not_placed(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        refusal = await twilio.place(replace(request_, connection={"url": None}))
        assert refusal == Refused("agent_has_no_url", INFRASTRUCTURE)
        assert not carrier.asked


@pytest.mark.parametrize(
    ("status", "code", "cause", "cause_class"),
    [
        (400, 21211, "invalid_number", CONTACT),
        (400, 21214, "invalid_number", CONTACT),
        (400, 21217, "invalid_number", CONTACT),
        (400, 21210, "from_number_not_owned", POLICY),
        (400, 21212, "from_number_not_owned", POLICY),
        (400, 21213, "from_number_not_owned", POLICY),
        (400, 21606, "from_number_not_owned", POLICY),
        (400, 21219, "to_number_not_verified", POLICY),
        (403, 21215, "destination_not_permitted", POLICY),
        (400, 21203, "destination_not_permitted", POLICY),
        (400, 13227, "destination_not_permitted", POLICY),
        (400, 21202, "premium_number", POLICY),
        (400, 21216, "blocked_by_twilio", POLICY),
        (429, 20429, "rate_limited", RATE),
        (400, 10004, "concurrency_limit", INFRASTRUCTURE),
        (400, 22005, "call_queue_full", RATE),
        (429, 10004, "concurrency_limit", RATE),
        (401, 20003, "wrong_credentials", INFRASTRUCTURE),
        (403, 20003, "wrong_credentials", INFRASTRUCTURE),
        (400, 10001, "account_not_active", INFRASTRUCTURE),
        (401, 20005, "account_not_active", INFRASTRUCTURE),
        (400, 21205, "agent_url_invalid", INFRASTRUCTURE),
        (404, 20404, "wrong_url", INFRASTRUCTURE),
        (400, 21999, "twilio_21999: No calls to … today", INFRASTRUCTURE),
    ],
)
async def test_each_refusal_says_whose_fault_it_is(
    request_: CallRequest, status: int, code: int, cause: str, cause_class: CauseClass
) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(refused(status, code, "No calls to +49301234567 today"))
        assert await twilio.place(request_) == Refused(cause, cause_class)
        assert len(carrier.asked) == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Reply(401, b"?"), "wrong_credentials"),
        (Reply(404, b"<html>"), "wrong_url"),
        (Reply(301, b"", headers={"Location": "https://elsewhere.example"}), "redirects_are_not_followed"),
        (Reply(400, b"[1]"), "http_400: without a reason"),
        (
            Reply(400, {"type": "t", "title": "Sorry", "status": 400, "code": 20001, "detail": "Not +4930123456"}),
            "twilio_20001: Not …",
        ),
        (Reply(400, {"type": "t", "title": "Sorry", "status": "?", "code": 20001}), "twilio_20001: Sorry"),
    ],
)
async def test_a_refusal_by_somebody_else_is_the_fault_of_the_way_there(
    request_: CallRequest, answer: Reply, cause: str
) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(answer)
        assert await twilio.place(request_) == Refused(cause, INFRASTRUCTURE)


@pytest.mark.parametrize(("headers", "seconds"), [({}, None), ({"Retry-After": "2"}, 2.0)])
async def test_twilio_says_how_long_it_wants_to_be_left_alone(
    request_: CallRequest, headers: dict[str, str], seconds: float | None
) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(Reply(429, b"", headers=headers))
        assert await twilio.place(request_) == Refused("rate_limited", RATE, seconds)
        carrier.answers.append(Reply(403, b"", headers=headers))
        refused = await twilio.place(request_)
        assert isinstance(refused, Refused)
        assert refused.retry_after_seconds is None


SILENT = Reply(None)


UNREADABLE = [
    Reply(201, b"?"),
    Reply(201, b""),
    Reply(201, b"[]"),
    Reply(201, b"\xff\x00"),
    Reply(201, b"[" * 100_000),
    Reply(201, b" " * 2_000_000),
    Reply(201, {}),
    Reply(201, {"sid": 5}),
    Reply(201, {"sid": "CA1"}),
    Reply(201, {"sid": SID, "date_created": 5}),
    Reply(201, {"sid": SID}, cut=True),
]


@pytest.mark.parametrize(
    "answer",
    [
        *UNREADABLE,
        Reply(500, b"?"),
        Reply(503, b""),
        refused(500, 20500, "x"),
        Reply(504, b""),
        Reply(408, b""),
        SILENT,
    ],
)
async def test_a_call_that_may_exist_is_unclear_and_is_not_asked_for_again(
    request_: CallRequest, answer: Reply
) -> None:
    # A busy machine may take a second to connect, and what has not left is refused.
    async with network(timeout_seconds=3 if answer is SILENT else 15) as (carrier, twilio):
        carrier.answers.append(answer)
        unclear = await twilio.place(request_)
        assert isinstance(unclear, Unclear)
        assert AUTH_TOKEN not in unclear.reason
        assert len(carrier.asked) == 1
        assert isinstance(await twilio.place(replace(request_, to_number="+4930999")), Placed)


async def test_placements_share_connections_that_are_kept_alive(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        for number in range(5):
            assert isinstance(await twilio.place(replace(request_, to_number=f"+493000{number}")), Placed)
        assert carrier.server.connections == 1


async def test_a_kept_connection_that_breaks_under_a_request_does_not_make_it_leave_twice(
    request_: CallRequest,
) -> None:
    asked: list[bytes] = []

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status": "active"}')
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with tcp_server(rude) as port, connected(f"http://127.0.0.1:{port}") as twilio:
        assert await twilio.health() is None
        assert isinstance(await twilio.place(request_), Unclear)
        assert [line.split()[0] for line in asked] == [b"GET", b"POST"]


async def test_what_could_not_leave_is_refused_and_health_says_why(request_: CallRequest) -> None:
    async with serve(0, TALKS) as gone:
        port = gone.port
    async with connected(f"http://127.0.0.1:{port}") as twilio:
        assert await twilio.place(request_) == Refused("network_unreachable", INFRASTRUCTURE)
        assert "cannot be reached" in (await twilio.health() or "")
        assert isinstance(await twilio.look_up(call_handle(request_)), LookupFailed)
        with pytest.raises(Unavailable):
            await twilio.hang_up(call_handle(request_, SID))


async def test_without_tls_nothing_leaves_and_health_says_why(request_: CallRequest) -> None:
    async with serve(0, TALKS) as carrier, connected(f"https://127.0.0.1:{carrier.port}") as twilio:
        assert await twilio.place(request_) == Refused("tls_failed", INFRASTRUCTURE)
        assert "No secure connection" in (await twilio.health() or "")
        assert not carrier.asked


async def test_a_certificate_that_nobody_vouches_for_is_named_and_one_that_is_vouched_for_will_do(
    request_: CallRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(0, TALKS, secure=with_tls()) as carrier:
        url = f"https://127.0.0.1:{carrier.port}"
        async with connected(url) as twilio:
            assert await twilio.place(request_) == Refused("tls_failed", INFRASTRUCTURE)
            assert "self-signed certificate" in (await twilio.health() or "")
            assert not carrier.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        async with connected(url) as twilio:
            assert await twilio.health() is None
            assert isinstance(await twilio.place(request_), Placed)


async def test_a_server_that_takes_no_connection_in_time_has_not_got_the_request(request_: CallRequest) -> None:
    hung_up = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # a greeting in TLS, which is never answered
        writer.close()
        hung_up.set()

    async with tcp_server(mute) as port, connected(f"https://127.0.0.1:{port}", timeout_seconds=0.3) as twilio:
        assert await twilio.place(request_) == Refused("timed_out", INFRASTRUCTURE)
        await hung_up.wait()


async def test_a_request_that_is_late_when_it_would_leave_stays_here(request_: CallRequest) -> None:
    moments = iter([request_.place_by.subtract(seconds=1), request_.place_by])
    async with network(clock=lambda: next(moments)) as (carrier, twilio):
        assert await twilio.place(request_) == TOO_LATE
        assert not carrier.asked


async def test_a_request_whose_window_has_ended_stays_here(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        assert await twilio.place(replace(request_, ring_by=utc_now())) == TOO_LATE
        assert not carrier.asked


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Reply(200, {"status": "active"}), None),
        (Reply(200, {"status": "suspended"}), "is suspended"),
        (Reply(200, {"status": {}}), "not known"),
        (refused(401, 20003, "Authenticate"), "refuses the auth token"),
        (refused(404, 20404, "x"), "is api_base_url right"),
        (Reply(302, b""), "not Twilio's API"),
        (Reply(200, b"<html>"), "not Twilio's API"),
        (Reply(200, b" " * 2_000_000), "more than"),
        (Reply(503, b""), "http_503"),
        (Reply(400, {"type": "t", "title": "x", "status": "?", "code": 1}), "twilio_1"),
    ],
)
async def test_health_tells_apart_what_can_be_wrong(answer: Reply, reason: str | None) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(answer)
        health = await twilio.health()
        assert health is None if reason is None else reason in (health or "")


async def test_a_wrong_token_is_refused_and_told_but_not_shown(
    request_: CallRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    around = ProviderEnvironment(utc_now, lambda _: "wr0ngt0ken", PUBLIC)
    async with serve(0, TALKS) as carrier:
        twilio = PLUGIN.connect(TRUNK, trunk(carrier.port)["config"], around)
        reasons = [
            str(await twilio.place(request_)),
            str(await twilio.health()),
            str(await twilio.look_up(call_handle(request_))),
        ]
        with pytest.raises(Unavailable) as refusal:
            await twilio.hang_up(call_handle(request_, SID))
        assert "wrong_credentials" in reasons[0]
        assert "refuses the auth token" in reasons[1]
        shown = "".join([*reasons, str(refusal.value), repr(twilio), caplog.text])
        assert not any(secret in shown for secret in ("wr0ngt0ken", AUTH_TOKEN, AUTHORIZATION.split()[1]))
        await twilio.close()


@pytest.mark.parametrize(
    ("place", "host"),
    [
        ({}, "api.twilio.com"),
        ({"region": "ie1"}, "api.ie1.twilio.com"),
        ({"edge": "dublin"}, "api.dublin.us1.twilio.com"),
        ({"region": "ie1", "edge": "dublin"}, "api.dublin.ie1.twilio.com"),
    ],
)
def test_a_region_and_an_edge_have_their_own_address(place: dict[str, str], host: str) -> None:
    config = {"account_sid": ACCOUNT_SID, "auth_token": "env:TRUNK_X", **place}
    assert TwilioConfig.parse(config).api_url == f"https://{host}"


async def test_a_call_is_found_by_its_sid(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        placed = await twilio.place(request_)
        assert isinstance(placed, Placed)
        result = await twilio.look_up(call_handle(request_, placed.provider_call_id))
        assert isinstance(result, Seen)
        assert carrier.asked[-1].path == f"{BASE}/Calls/{placed.provider_call_id}.json"
        assert await twilio.look_up(call_handle(request_, SID)) == Absent()


async def test_a_machine_is_told_by_the_record_too(request_: CallRequest) -> None:
    record = {"status": "completed", "answered_by": "machine_end_beep", "duration": "7"}
    times = {"start_time": "Mon, 02 Mar 2026 09:00:03 +0000", "end_time": "Mon, 02 Mar 2026 09:00:15 +0000"}
    async with network() as (carrier, twilio):
        carrier.answers.append(Reply(200, listed(request_, 0) | record | times))
        result = await twilio.look_up(call_handle(request_, SID))
        assert isinstance(result, Seen)
        assert [str(event.kind) for event in result.events] == ["ringing", "answered", "ended"]
        assert [event.at.second for event in result.events] == [3, 8, 15]
        assert (result.events[-1].outcome, result.events[-1].talk_seconds) == ("machine", 7)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("busy", "busy"), ("no-answer", "no_answer"), ("failed", "failed"), ("canceled", "cancelled")],
)
async def test_of_a_call_that_nobody_took_the_record_tells_the_end_alone(
    request_: CallRequest, status: str, outcome: str
) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(Reply(200, listed(request_, 1, status=status)))
        result = await twilio.look_up(call_handle(request_, SID))
        assert isinstance(result, Seen)
        assert [(event.kind, event.outcome, event.talk_seconds) for event in result.events] == [("ended", outcome, 0)]


async def test_a_call_without_a_sid_may_be_the_one_that_was_made_with_the_attempt(request_: CallRequest) -> None:
    before, own, later = listed(request_, -60, sid="CA" + "b" * 32), listed(request_, 3), listed(request_, 200)
    child = listed(request_, 3, direction="outbound-dial")
    other = listed(request_, 3, to="+4930555")
    async with network() as (carrier, twilio):
        for calls, expected in [
            ((later, own, before, child, other), SID),
            ((later, before), None),
            ((), None),
        ]:
            carrier.answers.append(page(*calls))
            result = await twilio.look_up(call_handle(request_))
            assert result == Absent() if expected is None else sids(result) == [expected]
        assert carrier.asked[0].query == {
            "To": [request_.to_number], "From": [request_.from_number], "PageSize": ["50"],
        }  # fmt: skip


async def test_of_several_calls_of_that_moment_the_engine_decides_which_it_is(request_: CallRequest) -> None:
    other = "CA" + "b" * 32
    async with network(listed_after_seconds=3600) as (carrier, twilio):
        carrier.answers.append(page(listed(request_, 3), listed(request_, 5, sid=other, status="queued")))
        result = await twilio.look_up(call_handle(request_))
        assert isinstance(result, Candidates)
        assert sids(result) == [SID, other]
        assert [len(call.events) for call in result.calls] == [1, 0]
        assert isinstance(result.otherwise, LookupFailed)


async def test_a_call_of_which_it_is_not_known_whether_it_is_ours_is_not_hung_up(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(page(listed(request_, 3)))
        with pytest.raises(Unavailable, match="which of Twilio's calls"):
            await twilio.hang_up(call_handle(request_))
        assert [request.method for request in carrier.asked] == ["GET"]


async def test_what_is_not_listed_on_a_full_page_may_be_on_the_next(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(page(*[listed(request_, 500)] * 50))
        assert isinstance(await twilio.look_up(call_handle(request_)), LookupFailed)
        carrier.answers.append(page(*[listed(request_, 500)] * 49, listed(request_, -60)))
        assert await twilio.look_up(call_handle(request_)) == Absent()


async def test_a_call_that_may_not_be_listed_yet_is_not_absent(request_: CallRequest) -> None:
    moments = {"now": call_handle(request_).created_at.add(seconds=59)}
    async with network(clock=lambda: moments["now"], listed_after_seconds=60) as (_, twilio):
        result = await twilio.look_up(call_handle(request_))
        assert isinstance(result, LookupFailed)
        assert "too early" in result.reason
        moments["now"] = moments["now"].add(seconds=1)
        assert await twilio.look_up(call_handle(request_)) == Absent()


@pytest.mark.parametrize(
    "answer",
    [*UNREADABLE, Reply(200, b"{}"), Reply(200, {"calls": 5}), Reply(200, {"calls": [5]}), Reply(404, b"?"),
     refused(401, 20003, "x"), Reply(503, b""), Reply(200, {"sid": SID, "status": "floating"}), SILENT],
)  # fmt: skip
async def test_an_answer_that_makes_no_sense_says_nothing_of_a_call(request_: CallRequest, answer: Reply) -> None:
    async with network(timeout_seconds=1) as (carrier, twilio):
        for sid in (SID, None):
            carrier.answers.append(answer)
            assert isinstance(await twilio.look_up(call_handle(request_, sid)), LookupFailed)


async def test_a_list_with_a_call_that_has_no_date_proves_nothing(request_: CallRequest) -> None:
    async with network() as (carrier, twilio):
        carrier.answers.append(page(listed(request_, 0, date_created=None)))
        assert isinstance(await twilio.look_up(call_handle(request_)), LookupFailed)


async def test_a_call_that_was_not_answered_is_cancelled_and_not_completed(request_: CallRequest) -> None:
    async with network(RINGS_LONG) as (carrier, twilio):
        placed = await twilio.place(request_)
        assert isinstance(placed, Placed)
        await twilio.hang_up(call_handle(request_, placed.provider_call_id))
        assert carrier.switch.network.log[0].outcome == "cancelled"
        assert form_of(carrier.asked[-1]) == {"Status": "canceled"}


async def test_a_call_that_is_answered_while_it_is_hung_up_is_hung_up(request_: CallRequest) -> None:
    ringing, talking = listed(request_, 0), listed(request_, 0, status="in-progress")
    async with network() as (carrier, twilio):
        for first in (Reply(200, talking), refused(400, 21220, "Call is not in-progress. Cannot redirect.")):
            carrier.answers += [Reply(200, ringing), first, Reply(200, {**talking, "status": "completed"})]
            await twilio.hang_up(call_handle(request_, SID))
            assert [form_of(request) for request in carrier.asked[-2:]] == [
                {"Status": "canceled"},
                {"Status": "completed"},
            ]


@pytest.mark.parametrize(
    ("late", "asked"),
    [
        (refused(400, 21220, "over"), ["canceled", "completed"]),
        (refused(404, 20404, "gone"), ["canceled"]),
    ],
)
async def test_a_call_that_ends_while_it_is_hung_up_is_no_error(
    request_: CallRequest, late: Reply, asked: list[str]
) -> None:
    """It ended after the look-up. Twilio is not asked again once it says that the call is over."""
    async with network() as (carrier, twilio):
        carrier.answers += [Reply(200, listed(request_, 0, status="ringing")), *[late] * len(asked)]
        await twilio.hang_up(call_handle(request_, SID))
        assert [request.method for request in carrier.asked] == ["GET", *["POST"] * len(asked)]
        assert [form_of(request) for request in carrier.asked[1:]] == [{"Status": status} for status in asked]
        assert not carrier.answers


async def test_a_call_that_was_answered_and_ends_while_it_is_hung_up_is_no_error(request_: CallRequest) -> None:
    talking = Reply(200, listed(request_, 0, status="in-progress"))
    async with network() as (carrier, twilio):
        for late in (refused(400, 21220, "over"), refused(404, 20404, "gone")):
            carrier.answers += [talking, talking, late]
            await twilio.hang_up(call_handle(request_, SID))
            assert [form_of(request) for request in carrier.asked[-2:]] == [
                {"Status": "canceled"},
                {"Status": "completed"},
            ]
            assert not carrier.answers


@pytest.mark.parametrize("answer", [Reply(503, b""), refused(429, 20429, "x"), Reply(200, b"?"), SILENT])
@pytest.mark.parametrize("asked_before", [0, 1, 2])
async def test_a_call_that_was_not_surely_hung_up_is_an_error(
    request_: CallRequest, answer: Reply, asked_before: int
) -> None:
    talking = Reply(200, listed(request_, 0, status="in-progress"))
    async with network(timeout_seconds=1) as (carrier, twilio):
        carrier.answers += [*[talking] * asked_before, answer]
        with pytest.raises(Unavailable):
            await twilio.hang_up(call_handle(request_, SID))
