"""The FreeSWITCH provider: look-ups, hanging up, connection problems, and configuration."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dialer.domain.outcomes import CauseClass
from dialer.errors import InvalidInput, Unavailable
from dialer.providers.base import CallRequest, LookupFailed, NotFoundNow, Refused
from dialer.providers.freeswitch import PLUGIN, FreeSwitch, FreeSwitchConfig
from dialer.providers.freeswitch.esl import LONGEST_BODY, LONGEST_HEAD
from support.freeswitch_recordings import (
    QUICK,
    RINGING,
    TRUNK,
    CallRequests,
    environment,
    event_facts,
    frame,
    listening,
    provider,
    scripted_server,
    with_agent,
)
from support.networks.freeswitch import serve, trunk
from support.networks.freeswitch_client import PASSWORD
from support.networks.switch import now, wait_until
from support.networks.tcp_server import tcp_server
from support.provider_arguments import call_handle

# Looking up and hanging up


@pytest.mark.parametrize(
    ("up_seconds", "expected"), [("3", NotFoundNow(True)), ("86400", NotFoundNow()), ("-ERR\n", NotFoundNow())]
)
async def test_a_call_from_before_a_restart_is_over_for_good(
    call_request: CallRequests, up_seconds: str, expected: NotFoundNow
) -> None:
    def answer(command: str) -> bytes:
        return frame("api/response", "false" if "uuid_exists" in command else up_seconds)

    async with scripted_server(answer) as (_, port), provider(port) as switch:
        call = replace(call_handle(call_request(now())), created_at=now().subtract(hours=1))
        assert await switch.look_up(call) == expected


def dumped(dump: str, exists: str = "true") -> Callable[[str], bytes | None]:
    return lambda command: frame("api/response", exists if "uuid_exists" in command else dump)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (dumped("", "false"), NotFoundNow),
        (dumped("-ERR No such channel!\n"), NotFoundNow),
        (dumped("", "-ERR permission denied"), LookupFailed),
        (dumped("", ""), LookupFailed),
        (dumped("?"), LookupFailed),
        (dumped("Unique-ID: another\n"), LookupFailed),
        (lambda _: None, LookupFailed),
        (lambda _: b"", LookupFailed),
    ],
)
async def test_only_a_plain_no_means_that_a_call_is_gone(
    call_request: CallRequests, answer: Callable[[str], bytes | None], expected: type
) -> None:
    async with scripted_server(answer) as (_, port), provider(port, timeout_seconds=0.3) as switch:
        assert isinstance(await switch.look_up(call_handle(call_request(now()))), expected)


async def test_a_channel_whose_times_make_no_sense_is_no_word(call_request: CallRequests) -> None:
    request = call_request(now())
    dump = f"Unique-ID: {request.attempt_id}\nCaller-Channel-Answered-Time: soon\n"
    async with scripted_server(dumped(dump)) as (_, port), provider(port) as switch:
        assert isinstance(await switch.look_up(call_handle(request)), LookupFailed)


@pytest.mark.parametrize(
    "answer", [frame("api/response", "-ERR permission denied"), frame("api/response", ""), b"", None]
)
async def test_a_call_that_was_not_surely_hung_up_is_an_error(call_request: CallRequests, answer: bytes | None) -> None:
    async with scripted_server(lambda _: answer) as (_, port), provider(port, timeout_seconds=0.3) as switch:
        with pytest.raises(Unavailable):
            await switch.hang_up(call_handle(call_request(now())))


async def test_hanging_up_a_call_that_rings_cancels_it(call_request: CallRequests) -> None:
    rings = {"setup_seconds": {"mean": 1, "min": 1, "max": 1}, "ring_seconds": {"mean": 9000, "min": 9000, "max": 9000}}
    profile = {**QUICK, **rings}
    async with serve(0, profile) as fake, provider(fake.port) as switch, listening(switch) as (inbox,):
        request = with_agent(call_request(now(), ring_timeout_seconds=9500))
        await switch.place(request)
        await wait_until(lambda: len(inbox.events) == 1)
        await switch.hang_up(call_handle(request))
        await wait_until(lambda: len(inbox.events) == 2)
        assert event_facts(inbox.events) == [RINGING, ("ended", "cancelled", "normal_clearing")]


# Connection problems


async def reasons(port: int, request: CallRequest, **config: Any) -> tuple[str, str]:
    """Ask for the health, place, look up and listen; return the reason of the first and the cause of the second."""
    async with provider(port, timeout_seconds=0.3, **config) as switch, listening(switch) as (inbox,):
        health, placed = await switch.health(), await switch.place(with_agent(request))
        assert isinstance(placed, Refused)
        assert placed.cause_class is CauseClass.INFRASTRUCTURE
        assert isinstance(await switch.look_up(call_handle(request)), LookupFailed)
        with pytest.raises(Unavailable):
            await switch.hang_up(call_handle(request))
        assert health
        assert inbox.links[0]
        assert PASSWORD not in f"{health} {placed} {inbox.links}"
        return health, placed.cause


async def test_a_wrong_password_is_said_so(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake:
        health, cause = await reasons(fake.port, call_request(now()), password="env:TRUNK_WRONG")
        assert "refuses the password" in health
        assert cause == "wrong_credentials"


async def test_an_address_that_is_not_let_in_is_said_so(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake:
        fake.lets_in = False
        health, cause = await reasons(fake.port, call_request(now()))
        assert "apply-inbound-acl" in health
        assert cause == "access_denied"


async def test_a_pause_of_outbound_calls_is_told_though_the_status_is_ready(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake, provider(fake.port) as switch:
        assert await switch.health() is None
        fake.is_paused = True
        assert "fsctl resume outbound" in str(await switch.health())


@pytest.mark.parametrize(
    ("greeting", "is_said"),
    [
        (None, "does not greet"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not greet"),
        (b"HTTP/1.1 400 Bad Request\n\n", "no Content-Type"),
        (b"Content-Type: x\nContent-Length: nine\n\n", "not a number"),
        (f"Content-Type: x\nContent-Length: {LONGEST_BODY + 1}\n\n".encode(), "longer than"),
        (b"x" * (LONGEST_HEAD + 1), "longer than"),
        (b"", "connection was lost"),
    ],
)
async def test_something_else_that_listens_there_is_said_so(
    call_request: CallRequests, greeting: bytes | None, is_said: str
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting is not None:
            writer.write(greeting)
        if greeting != b"":
            await reader.read()
        writer.close()

    async with tcp_server(greet) as port:
        health, cause = await reasons(port, call_request(now()))
        assert is_said in health
        assert cause == "network_unreachable"


async def test_nothing_that_listens_there_is_said_so(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake:
        port = fake.port
    health, cause = await reasons(port, call_request(now()))
    assert f"Nothing listens at 127.0.0.1:{port}" in health
    assert cause == "network_unreachable"


@pytest.mark.parametrize(
    ("dial_string", "status", "is_said"),
    [
        ("sofia/gateway/lab/{number}", "UP", None),
        ("sofia/gateway/lab/{number}", "UP (ping)", None),
        ("sofia/gateway/lab/{number}", "DOWN", "gateway lab is down (its state is NOREG)"),
        ("sofia/gateway/other/{number}", "UP", "has no gateway other"),
        ("sofia/internal/{e164}@example.com", "DOWN", None),
    ],
)
async def test_the_gateway_must_be_up(dial_string: str, status: str, is_said: str | None) -> None:
    async with serve(0, QUICK) as fake, provider(fake.port, dial_string=dial_string) as switch:
        fake.gateway_status = status
        health = await switch.health()
        assert health is None if is_said is None else is_said in (health or "")


@pytest.mark.parametrize("answer", [frame("api/response", "-ERR status Command not found!\n"), b"", None])
async def test_a_freeswitch_that_is_not_ready_is_said_so(answer: bytes | None) -> None:
    async with scripted_server(lambda _: answer) as (_, port), provider(port, timeout_seconds=0.3) as switch:
        assert f"FreeSWITCH at 127.0.0.1:{port}" in (await switch.health() or "")


# Configuration


GOOD = trunk(8021)["config"]


def test_a_good_config_is_taken() -> None:
    config = FreeSwitchConfig.parse(
        {"host": "::1", "password": "env:TRUNK_X", "dial_string": "sofia/gateway/a::b/{e164}"}
    )
    assert (config.address, config.gateway, config.timeout_seconds) == ("[::1]:8021", "a::b", 5.0)
    assert "TRUNK_X" not in repr(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", ""),
        ("host", "a b"),
        ("host", None),
        ("port", 0),
        ("port", "8021"),
        ("password", ""),
        ("password", 5),
        ("dial_string", "sofia/gateway/lab/123"),
        ("dial_string", "sofia/gateway/lab/{number},user/1000"),
        ("dial_string", "sofia/gateway/lab/{number}|user/1000"),
        ("dial_string", "sofia/gateway/lab/{number}:_:user/1000"),
        ("dial_string", "{a=b}sofia/gateway/lab/{number}"),
        ("dial_string", "sofia/gateway/lab/{number} &park()"),
        ("dial_string", "sofia/gateway/lab/{number}\n"),
        ("machine_variable", "amd_result"),
        ("machine_variable", "a b=c"),
        ("timeout_seconds", 0),
        ("timeout_seconds", 16),
        ("timeout_seconds", float("nan")),
        ("unknown", 1),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        PLUGIN.check({**GOOD, field: value})
    assert [error.field for error in refused.value.errors] == [field]


def test_a_password_of_more_than_one_line_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Unavailable, match="one line") as refused:
        FreeSwitch(
            TRUNK, FreeSwitchConfig.parse(GOOD), replace(environment(), secret=lambda _: "a\n\napi fsctl shutdown")
        )
    assert "shutdown" not in str(refused.value)


async def test_connecting_touches_no_network() -> None:
    made = PLUGIN.connect(TRUNK, GOOD, environment())
    assert PASSWORD not in repr(made)
    await made.close()
