"""Placing calls on a FreeSWITCH: never twice, only certain answers, and no injection through names."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from dialer.domain.outcomes import CauseClass
from dialer.errors import InvalidInput
from dialer.providers.base import TOO_LATE, CallRequest, ContactCard, Placed, Refused, Unclear
from dialer.providers.freeswitch import FreeSwitchConfig
from dialer.providers.freeswitch.requests import originate
from dialer.providers.switches import NOT_PERMITTED
from support.freeswitch_recordings import (
    QUICK,
    TRUNK,
    CallRequests,
    frame,
    job_accepted,
    listening,
    provider,
    scripted_server,
    with_agent,
)
from support.networks.freeswitch import read_originate, serve, trunk
from support.networks.switch import now, wait_until
from support.networks.tcp_server import tcp_server

# Never twice


async def test_a_uuid_that_is_taken_makes_a_second_call_of_which_nothing_is_told(call_request: CallRequests) -> None:
    """FreeSWITCH does make a second call: only we prevent it."""
    # The first call must still be up when the second is asked for.
    talk = {"mean": 3000, "min": 3000, "max": 3000}
    async with serve(0, QUICK | {"talk_seconds": talk}) as fake, AsyncExitStack() as stack:
        first_provider, second_provider = [await stack.enter_async_context(provider(fake.port)) for _ in range(2)]
        async with listening(first_provider) as (inbox,):
            request = with_agent(call_request(now()))
            assert isinstance(await first_provider.place(request), Placed)
            # The end of the first job has the same Job-UUID as the second: it must have come before that is asked for.
            await wait_until(lambda: len(inbox.events) == 2)
            assert isinstance(await second_provider.place(request), Unclear)
            assert len(fake.channels) == 2
            await wait_until(lambda: len(inbox.events) == 3)
            later = with_agent(call_request(now()))
            await first_provider.place(later)
            await wait_until(lambda: len(inbox.events) == 6)
            assert Counter(event.attempt_id for event in inbox.events) == {
                request.attempt_id: 3,
                later.attempt_id: 3,
            }


@pytest.mark.parametrize(
    "answer",
    [b"", b"Content-Type: command/reply\nReply-Te", b"\xff\x00\n\n", b"Content-Type: x\nContent-Length: -1\n\n"],
)
async def test_a_socket_that_breaks_after_the_command_leaves_it_unclear_and_nothing_is_sent_again(
    call_request: CallRequests, answer: bytes
) -> None:
    def cut(command: str) -> bytes | None:
        return answer if command.startswith("bgapi") else None

    async with scripted_server(cut) as (script, port), provider(port, timeout_seconds=0.3) as switch:
        assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
        assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
        sent = [command for command in script.commands if command.startswith("bgapi")]
        assert len(sent) == len(set(sent)) == 2


async def test_whatever_the_network_does_each_attempt_is_sent_once_and_the_answer_is_true(
    call_request: CallRequests,
) -> None:
    faults = {"timeout_before": 0.1, "timeout_after": 0.1, "refused": 0.2, "server_error": 0.1}
    async with serve(0, {**QUICK, "faults": faults}) as fake, provider(fake.port, timeout_seconds=1.0) as switch:
        requests = [with_agent(call_request(now())) for _ in range(200)]
        answers = await asyncio.gather(*(switch.place(request) for request in requests))
        assert len(fake.originates) == len(set(fake.originates)) == 200
        existed = Counter(call.attempt_id for call in fake.switch.network.log)
        assert max(existed.values()) == 1
        for request, answer in zip(requests, answers, strict=True):
            if not isinstance(answer, Unclear):
                assert isinstance(answer, Placed) == (request.attempt_id in existed)
        assert {type(answer) for answer in answers} == {Placed, Refused, Unclear}


async def test_calls_share_one_connection_until_an_answer_on_it_is_overdue(call_request: CallRequests) -> None:
    silent: list[str] = []

    def answer(command: str) -> bytes | None:
        if not command.startswith("bgapi") or not silent:
            silent.append(command)
            return None
        uuid = command.rpartition("Job-UUID: ")[2]
        return job_accepted(command) + frame("text/event-plain", f"Event-Name: CHANNEL_CREATE\nUnique-ID: {uuid}\n\n")

    async with scripted_server(answer) as (script, port), provider(port, timeout_seconds=0.3) as switch:
        silent.clear()
        requests = [with_agent(call_request(now())) for _ in range(30)]
        answers = await asyncio.gather(*(switch.place(request) for request in requests))
        assert [type(answer) for answer in answers] == [Placed] * 30
        assert script.connections == 1
        silent.clear()
        assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
        assert isinstance(await switch.place(with_agent(call_request(now()))), Placed)
        assert script.connections == 2


async def test_a_switch_that_hangs_does_not_find_the_command_when_it_goes_on(call_request: CallRequests) -> None:
    """By then, rescue may have put the contact back."""
    goes_on, received = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame("auth/request"))
        for _ in range(2):
            await reader.readuntil(b"\n\n")
            writer.write(frame("command/reply", **{"Reply-Text": "+OK"}))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await goes_on.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        try:
            received.set_result(await reader.read())
        except ConnectionError:
            received.set_result(b"")
        writer.close()

    async with tcp_server(hang) as port, provider(port, timeout_seconds=0.3) as switch:
        assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
        goes_on.set()
        assert await received == b""


# What placing may answer


def replied(text: str) -> Callable[[str], bytes]:
    return lambda _: frame("command/reply", **{"Reply-Text": text})


def ended(result: str) -> Callable[[str], bytes]:
    """Accept the command, and send the result of its job."""

    def answer(command: str) -> bytes:
        uuid = command.rpartition("Job-UUID: ")[2]
        return job_accepted(command) + frame(
            "text/event-plain", f"Event-Name: BACKGROUND_JOB\nJob-UUID: {uuid}\n\n{result}"
        )

    return answer


def ours(cause: str) -> Refused:
    return Refused(cause, CauseClass.INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (replied("-ERR permission denied"), ours("permission_denied")),
        (replied("-ERR command not found"), ours("command_refused")),
        (replied("+OK whatever"), Unclear),
        (lambda _: frame("api/response", "?"), Unclear),
        (job_accepted, Unclear),
        (ended("+OK 5f3b9f0e-0000-4000-8000-000000000000\n"), Unclear),
        (ended("?"), Unclear),
        (ended("-USAGE: <call url> <exten>\n"), ours("command_refused")),
        (ended("-ERR originate Command not found!\n"), ours("command_refused")),
        (ended("-ERR GATEWAY_DOWN\n"), ours("gateway_down")),
        (ended("-ERR UNALLOCATED_NUMBER\n"), Refused("unallocated_number", CauseClass.CONTACT)),
        (ended("-ERR OUTGOING_CALL_BARRED\n"), Refused("outgoing_call_barred", CauseClass.POLICY)),
        (ended("-ERR USER_BUSY\n"), Placed),
    ],
)
async def test_only_what_is_surely_known_is_said_of_a_placement(
    call_request: CallRequests, answer: Callable[[str], bytes], expected: Any
) -> None:
    script = scripted_server(lambda command: answer(command) if command.startswith("bgapi") else None)
    async with script as (_, port), provider(port, timeout_seconds=0.3) as switch:
        placed = await switch.place(with_agent(call_request(now())))
        assert placed == expected if isinstance(expected, Refused) else isinstance(placed, expected)


async def test_nothing_leaves_once_the_time_to_place_is_over(call_request: CallRequests) -> None:
    async with serve(0, QUICK) as fake, provider(fake.port, clock=lambda: now().add(hours=1)) as switch:
        assert await switch.place(with_agent(call_request(now()))) == TOO_LATE
        over = with_agent(call_request(now(), place_by=now().add(hours=2), ring_by=now()))
        assert await switch.place(over) == TOO_LATE
        assert not fake.originates


def variables_of(request: CallRequest) -> dict[str, str]:
    command = originate(request, FreeSwitchConfig.parse(trunk(8021)["config"]), TRUNK, now())
    assert isinstance(command, str)
    return read_originate(command.removeprefix("bgapi originate "))[0]


def test_a_window_that_ends_soon_is_told_as_the_time_within_which_it_must_ring(call_request: CallRequests) -> None:
    soon = variables_of(with_agent(call_request(now(), ring_timeout_seconds=45, ring_by=now().add(seconds=20.5))))
    assert (soon["originate_timeout"], soon["leg_progress_timeout"]) == ("45", "19")
    far = variables_of(with_agent(call_request(now(), ring_timeout_seconds=45, ring_by=now().add(hours=1))))
    assert (far["originate_timeout"], far.get("leg_progress_timeout")) == ("45", None)


@pytest.mark.parametrize(
    ("dial_string", "written"),
    [
        ("sofia/gateway/lab/{number}", "}[leg_progress_timeout=19]sofia/gateway/lab/+"),
        (
            "[sip_cid_type=pid]sofia/gateway/lab/{number}",
            "}[leg_progress_timeout=19,sip_cid_type=pid]sofia/gateway/lab/+",
        ),
    ],
)
def test_the_end_of_the_window_cuts_no_phone_that_rings(
    call_request: CallRequests, dial_string: str, written: str
) -> None:
    """`progress_timeout`, among the variables of the originate, does: ten of ten rang on a real one and were cut."""
    request = with_agent(call_request(now(), ring_timeout_seconds=45, ring_by=now().add(seconds=20.5)))
    command = originate(request, FreeSwitchConfig.parse(trunk(8021, dial_string)["config"]), TRUNK, now())
    assert isinstance(command, str)
    assert written in command
    assert ",progress_timeout" not in command


def test_the_dialplan_is_told_that_a_machine_is_to_be_detected(call_request: CallRequests) -> None:
    assert variables_of(with_agent(call_request(now(), detect_machine=True)))["dialer_detect_machine"] == "true"
    assert "dialer_detect_machine" not in variables_of(with_agent(call_request(now())))


# Injection


EVIL = [
    "+49301\n\napi status",
    "+49301,origination_uuid=x",
    "+49301}sofia/evil/1",
    "+49301 &system(reboot)",
    "+49'",
    "${x}",
    "",
    "٣",
]


@pytest.mark.parametrize("number", EVIL)
async def test_a_number_that_is_more_than_a_number_is_not_called(call_request: CallRequests, number: str) -> None:
    async with serve(0, QUICK) as fake, provider(fake.port) as switch:
        request = with_agent(call_request(now()))
        to = await switch.place(replace(request, to_number=number))
        assert to == Refused("invalid_number", CauseClass.CONTACT)
        by = await switch.place(replace(request, from_number=number))
        assert by == Refused("invalid_caller_id", CauseClass.INFRASTRUCTURE)
        assert not fake.originates


@pytest.mark.parametrize(
    "destination",
    [
        {"application": "park()\n\napi fsctl shutdown"},
        {"application": "park", "data": "x\n\napi fsctl shutdown"},
        {"application": "park", "data": "x) &system(reboot"},
        {"application": "park", "data": "x' {a=b}"},
        {"application": "park", "data": "x\\"},
        {"application": "park", "data": 5},
        {"application": ["park"]},
        {"application": "park", "api_hangup_hook": "x"},
        "park",
    ],
)
def test_a_destination_that_cannot_be_written_is_refused_in_the_trunk(destination: Any) -> None:
    with pytest.raises(InvalidInput, match="destinations"):
        FreeSwitchConfig.parse({**trunk(8021)["config"], "destinations": [destination]})


@pytest.mark.parametrize(
    ("connection", "written"),
    [
        ({"extension": "1000"}, "1000 XML agents"),
        ({"application": "park"}, "&park()"),
        ({"application": "park", "data": ""}, "&park()"),
        ({"application": "playback", "data": "/srv/good morning.wav"}, "'&playback(/srv/good morning.wav)'"),
        ({"application": "playback", "data": "/srv/good evening.wav"}, None),
    ],
)
def test_an_answered_call_goes_to_an_extension_or_to_what_the_trunk_names(
    call_request: CallRequests, connection: dict[str, Any], written: str | None
) -> None:
    named = [{"application": "park"}, {"application": "playback", "data": "/srv/good morning.wav"}]
    config = FreeSwitchConfig.parse({**trunk(8021)["config"], "destinations": named})
    request = replace(call_request(now()), connection=connection)
    command = originate(request, config, TRUNK, now())
    if written is None:
        assert command == NOT_PERMITTED
        return
    assert isinstance(command, str)
    assert command.split("\n")[0].endswith(f"{request.to_number} {written}")


@pytest.mark.parametrize(
    ("number", "written", "expected"),
    [
        ("+493012345678", "e164", "+493012345678"),
        ("+493012345678", "digits", "493012345678"),
        ("+493012345678", "national", "03012345678"),
        ("+12022910002", "national", "2022910002"),
        ("+390612345678", "national", "0612345678"),
    ],
)
def test_the_caller_id_is_written_as_the_trunk_says(
    call_request: CallRequests, number: str, written: str, expected: str
) -> None:
    config = FreeSwitchConfig.parse({**trunk(8021)["config"], "caller_id": written})
    command = originate(replace(with_agent(call_request(now())), from_number=number), config, TRUNK, now())
    assert isinstance(command, str)
    assert f"origination_caller_id_number={expected}," in command


async def test_nothing_that_a_contact_is_called_can_say_anything_else(call_request: CallRequests) -> None:
    evil = "x,origination_uuid=y}sofia/evil/1 &system(reboot)\n\napi fsctl shutdown\n\n'\"\\${api(x)}[{^^:\u00fc"
    contact = ContactCard(name=evil, external_id=evil, variables={evil: evil, "n": 5})
    async with serve(0, QUICK) as fake, provider(fake.port) as switch:
        request = with_agent(call_request(now()), contact=contact)
        assert isinstance(await switch.place(request), Placed)
        (command,) = fake.originates
        variables, destination = read_originate(command.split("\n")[0].removeprefix("bgapi originate "))
        assert destination == f"sofia/gateway/lab/{request.to_number}"
        assert variables["origination_uuid"] == str(request.attempt_id)
        card = json.loads(unquote(variables["dialer_contact"]))
        assert card == {"name": evil, "external_id": evil, "variables": {evil: evil, "n": 5}}
        assert "$" not in unquote(variables["dialer_contact"])
        assert variables["dialer_contact_name"].startswith("xorigination_uuidysofia/evil/1_systemreboot")
        assert variables["dialer_var_n"] == "5"
        assert all(command.startswith(("event ", "bgapi originate ")) for command in fake.received)


def test_a_contact_too_long_for_a_channel_is_called_without_its_variables(call_request: CallRequests) -> None:
    long = ContactCard(name="Ada", variables={"story": "x" * 10_000})
    assert "dialer_contact" not in variables_of(with_agent(call_request(now()), contact=long))
