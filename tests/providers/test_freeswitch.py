"""FreeSWITCH's Event Socket: recorded conversations, traps seen on real servers, and bad input of all kinds."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pendulum
import pytest

from carriers.freeswitch import CONNECTION, ENVIRONMENT, read_originate, serve, trunk
from carriers.freeswitch_channels import TRACES
from carriers.freeswitch_client import PASSWORD
from carriers.switch import now, wait_until
from dialer.domain.events import CallEvent
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.errors import InvalidInput, Unavailable
from dialer.providers.base import CallRequest, ContactCard, Gone, NoWord, Placed, Refused, Surroundings, Unclear
from dialer.providers.freeswitch import KIND, FreeSwitch, TrunkConfig, causes, listening
from dialer.providers.freeswitch.frames import LONGEST_BODY, LONGEST_HEAD, Event, Frames, read_event
from dialer.providers.freeswitch.originate import originate
from dialer.providers.freeswitch.reports import Reports
from placing import handle, no_matter

CallRequests = Callable[..., CallRequest]
Said = tuple[str, str | None, str | None]

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-0000000000f6"))
QUICK = {"speed": 1000, "outcomes": {"answered": 1}}
RINGING: Said = ("ringing", None, None)
ANSWERED: Said = ("answered", None, None)

# What each recorded conversation comes to.
RECORDED: dict[str, list[Said]] = {
    "loopback-answer": [RINGING, ANSWERED, ("ended", "answered", "normal_clearing")],
    "loopback-busy": [("ended", "busy", "user_busy")],
    "loopback-reject": [("ended", "rejected", "call_rejected")],
    "loopback-noanswer": [RINGING, ("ended", "no_answer", "no_answer")],
    "sofia-ok": [RINGING, ANSWERED, ("ended", "answered", "normal_clearing")],
    "sofia-busy": [RINGING, ("ended", "busy", "user_busy")],
    "sofia-decline": [RINGING, ("ended", "rejected", "call_rejected")],
    "sofia-404": [RINGING, ("ended", "invalid_number", "unallocated_number")],
    "sofia-503": [RINGING, ("ended", "failed", "normal_temporary_failure")],
    "hang-up-while-ringing": [RINGING, ("ended", "cancelled", "normal_clearing")],
    "same-uuid-twice": [RINGING, ANSWERED, ("ended", "answered", "normal_clearing")],
    "unknown-gateway": [],
    "nobody-there": [("ended", "failed", "normal_temporary_failure")],
}


def said(events: Sequence[CallEvent]) -> list[Said]:
    return [(one.kind.value, one.outcome and one.outcome.value, one.cause) for one in events]


def recorded(scenario: str) -> list[dict[str, Any]]:
    messages = [json.loads(line) for line in TRACES.read_text().splitlines()]
    return [message for message in messages if message["scenario"] == scenario]


def attempt_of(scenario: str) -> str:
    asked = next(one["text"] for one in recorded(scenario) if one.get("text", "").startswith("bgapi originate"))
    return read_originate(asked.removeprefix("bgapi originate "))[0]["origination_uuid"]


def wire(message: dict[str, Any]) -> bytes:
    """Write a recorded message as it was on the wire."""
    head = "".join(f"{name}: {value}\n" for name, value in message["headers"].items())
    return f"{head}\n{message['body']}".encode()


def frame(kind: str, body: str = "", **head: str) -> bytes:
    return wire({"headers": {"Content-Type": kind, "Content-Length": str(len(body.encode()))} | head, "body": body})


def in_time(story: Awaitable[None]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await story

    asyncio.run(run())


def around(clock: Callable[[], pendulum.DateTime] = now) -> Surroundings:
    return Surroundings(clock, lambda value: ENVIRONMENT.get(value.removeprefix("env:"), value), None)


@asynccontextmanager
async def provider(port: int, clock: Callable[[], pendulum.DateTime] = now, **config: Any) -> AsyncIterator[FreeSwitch]:
    made = FreeSwitch(TRUNK, TrunkConfig.parse(trunk(port)["config"] | config), around(clock))
    try:
        yield made
    finally:
        await made.close()


class Inbox:
    """What a listener hands over, and how it says its connection is."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.links: list[str | None] = []

    async def take(self, events: Sequence[CallEvent]) -> None:
        self.events += events

    async def linked(self, reason: str | None) -> None:
        self.links.append(reason)


@asynccontextmanager
async def hearing(*switches: FreeSwitch) -> AsyncIterator[list[Inbox]]:
    inboxes = [Inbox() for _ in switches]
    tasks = [asyncio.create_task(one.listen(box.take, box.linked)) for one, box in zip(switches, inboxes, strict=True)]
    await wait_until(lambda: all(box.links for box in inboxes))
    try:
        yield inboxes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Scripted:
    """A server that lets everybody in and answers each command with what `answer` returns for it; None: with nothing.

    An answer that is empty ends the connection. `commands`: those that came after the greeting.
    """

    def __init__(self, answer: Callable[[str], bytes | None]) -> None:
        self._answer = answer
        self.commands: list[str] = []
        self.connections = 0

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(frame("auth/request"))
        try:
            while command := (await reader.readuntil(b"\n\n")).decode().strip():
                if command.startswith("auth "):
                    writer.write(frame("command/reply", **{"Reply-Text": "+OK accepted"}))
                    continue
                self.commands.append(command)
                if (answer := self._reply(command)) is not None:
                    writer.write(answer)
                if answer == b"":
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    def _reply(self, command: str) -> bytes | None:
        said = self._answer(command)
        is_subscription = command.startswith("event ")
        ok = frame("command/reply", **{"Reply-Text": "+OK event listener enabled plain"})
        return ok + (said or b"") if is_subscription else said


@asynccontextmanager
async def scripted(answer: Callable[[str], bytes | None]) -> AsyncIterator[tuple[Scripted, int]]:
    script = Scripted(answer)
    server = await asyncio.start_server(script.welcome, "127.0.0.1", 0)
    async with server:
        yield script, server.sockets[0].getsockname()[1]


def taken(command: str) -> bytes:
    job = command.rpartition("Job-UUID: ")[2]
    return frame("command/reply", **{"Reply-Text": f"+OK Job-UUID: {job}", "Job-UUID": job})


def with_agent(request: CallRequest, **more: Any) -> CallRequest:
    return replace(request, connection=CONNECTION, **more)


# Recorded conversations


@pytest.mark.parametrize("scenario", RECORDED)
@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
def test_a_recorded_conversation_is_read_whole_in_pieces_of_any_size(scenario: str, piece: int) -> None:
    sent = b"".join(wire(message) for message in recorded(scenario) if message["kind"] == "received")
    frames, reports, found = Frames(), Reports(TRUNK, None), list[CallEvent]()
    for start in range(0, len(sent), piece):
        for one in frames.feed(sent[start : start + piece]):
            if one.kind == "text/event-plain":
                found += reports.read(read_event(one.body))
    assert said(found) == RECORDED[scenario]
    uuid = attempt_of(scenario)
    assert {one.provider_call_id for one in found} <= {uuid}
    assert [one.key for one in found] == [f"{uuid}:{kind}" for kind, _, _ in RECORDED[scenario]]
    assert [one.at for one in found] == sorted(one.at for one in found)


@pytest.mark.parametrize(("scenario", "talked"), [("loopback-answer", 1.78), ("sofia-ok", 2.52), ("sofia-busy", 0.0)])
def test_the_talk_is_as_long_as_was_measured(scenario: str, talked: float) -> None:
    events = [read_event(one["body"]) for one in recorded(scenario) if "Event-Name" in one.get("body", "")]
    reports = Reports(TRUNK, None)
    last = [one for event in events for one in reports.read(event)][-1]
    assert last.talk_seconds == pytest.approx(talked, abs=0.001)


@pytest.mark.parametrize("scenario", RECORDED)
def test_a_recorded_answer_to_an_originate_is_understood(scenario: str, call_request: CallRequests) -> None:
    sent = [wire(one) for one in recorded(scenario) if one["kind"] == "received"]
    attempt_id = AttemptId(UUID(attempt_of(scenario)))

    def answer(command: str) -> bytes | None:
        return b"".join(sent) if command.startswith("bgapi originate") else None

    async def story() -> None:
        async with scripted(answer) as (script, port), provider(port) as switch:
            placed = await switch.place(with_agent(call_request(now(), attempt_id=attempt_id)))
            if scenario == "unknown-gateway":
                assert placed == Refused("invalid_gateway", CauseClass.INFRASTRUCTURE)
            else:
                assert placed == Placed(str(attempt_id))
            assert sum(command.startswith("bgapi") for command in script.commands) == 1

    in_time(story())


def test_the_command_is_that_of_the_recordings(call_request: CallRequests) -> None:
    asked = with_agent(call_request(now(), ring_timeout_seconds=3))
    config = TrunkConfig.parse(trunk(8021, "loopback/answer-{e164}/peer")["config"])
    command = originate(asked, config, TRUNK, now())
    assert isinstance(command, str)
    uuid = asked.attempt_id
    assert command == (
        f"bgapi originate {{origination_uuid={uuid},origination_caller_id_number=+49301000,originate_timeout=3,"
        f"ignore_early_media=true,dialer_attempt_id={uuid},dialer_trunk_id={TRUNK}}}"
        f"loopback/answer-{asked.to_number[1:]}/peer &park()\nJob-UUID: {uuid}"
    )


# What is told, and what is not


def test_who_comes_in_the_middle_of_a_call_is_told_what_went_before() -> None:
    events = [read_event(one["body"]) for one in recorded("sofia-ok") if "Event-Name" in one.get("body", "")]
    whole = Reports(TRUNK, None)
    all_told = [one for event in events for one in whole.read(event)]
    last = [event for event in events if event.name == "CHANNEL_HANGUP_COMPLETE"][-1:]
    assert [one for event in last for one in Reports(TRUNK, None).read(event)] == all_told


def test_a_call_of_another_trunk_is_not_told() -> None:
    for message in recorded("sofia-ok"):
        if "Event-Name: CHANNEL" in message.get("body", ""):
            event = read_event(message["body"])
            theirs = Event(event.name, {**event.fields, "variable_dialer_trunk_id": "another"})
            assert Reports(TRUNK, None).read(theirs) == []


def failed_job(uuid: str, cause: str, trunk_id: object = TRUNK) -> Event:
    asked = f"{{dialer_attempt_id={uuid},dialer_trunk_id={trunk_id}}}sofia/gateway/lab/123 &park()"
    fields = {"Event-Date-Timestamp": "1795437505146820", "Job-UUID": uuid, "Job-Command": "originate"}
    return Event("BACKGROUND_JOB", fields | {"Job-Command-Arg": asked}, f"-ERR {cause}\n")


def test_the_failed_job_of_a_call_whose_channel_was_missed_tells_its_end() -> None:
    uuid = attempt_of("sofia-busy")
    assert said(Reports(TRUNK, None).read(failed_job(uuid, "USER_BUSY"))) == [("ended", "busy", "user_busy")]
    assert Reports(TRUNK, None).read(failed_job(uuid, "USER_BUSY", "another")) == []


@pytest.mark.parametrize("cause", ["INVALID_GATEWAY", "GATEWAY_DOWN", "UNALLOCATED_NUMBER"])
def test_a_job_that_failed_before_there_was_a_call_is_not_told_as_the_end_of_one(cause: str) -> None:
    assert Reports(TRUNK, None).read(failed_job(attempt_of("sofia-busy"), cause)) == []


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("CHANNEL_ANSWER", {"variable_dialer_attempt_id": "no uuid", "Unique-ID": "no uuid"}),
        ("CHANNEL_ANSWER", {"variable_dialer_attempt_id": str(TRUNK)}),
        ("CHANNEL_PROGRESS", {"variable_dialer_attempt_id": str(TRUNK), "Unique-ID": str(TRUNK)}),
        ("CHANNEL_HANGUP_COMPLETE", {"variable_dialer_attempt_id": str(TRUNK), "Unique-ID": str(TRUNK)}),
        ("CHANNEL_ANSWER", {"Caller-Channel-Answered-Time": "soon"}),
        ("CHANNEL_ANSWER", {"Caller-Channel-Answered-Time": "9" * 30}),
        ("BACKGROUND_JOB", {}),
        ("", {}),
    ],
)
def test_an_event_that_cannot_be_read_says_nothing_and_harms_nobody(name: str, fields: dict[str, str]) -> None:
    ours = {"variable_dialer_attempt_id": str(TRUNK), "Unique-ID": str(TRUNK), "Event-Date-Timestamp": "1"}
    given = ours | fields if "Caller-Channel-Answered-Time" in fields else fields
    assert Reports(TRUNK, None).read(Event(name, given)) == []


@pytest.mark.parametrize(
    ("cause", "fields", "outcome"),
    [
        ("USER_BUSY", {}, Outcome.BUSY),
        ("NO_USER_RESPONSE", {"variable_sip_term_status": "480"}, Outcome.NO_ANSWER),
        ("ALLOTTED_TIMEOUT", {}, Outcome.NO_ANSWER),
        ("CALL_REJECTED", {"variable_sip_invite_failure_status": "603"}, Outcome.REJECTED),
        ("CALL_REJECTED", {"variable_sip_invite_failure_status": "403"}, Outcome.FAILED),
        ("CALL_REJECTED", {"variable_sip_term_status": "407"}, Outcome.FAILED),
        ("INVALID_NUMBER_FORMAT", {}, Outcome.INVALID_NUMBER),
        ("NUMBER_CHANGED", {}, Outcome.INVALID_NUMBER),
        ("NO_ROUTE_DESTINATION", {}, Outcome.FAILED),
        ("NO_ROUTE_DESTINATION", {"variable_sip_invite_failure_status": "604"}, Outcome.INVALID_NUMBER),
        ("PROGRESS_TIMEOUT", {}, Outcome.CANCELLED),
        ("NORMAL_CLEARING", {"variable_sip_hangup_disposition": "send_cancel"}, Outcome.CANCELLED),
        ("ORIGINATOR_CANCEL", {"variable_sip_hangup_disposition": "recv_refuse"}, Outcome.NO_ANSWER),
        ("RECOVERY_ON_TIMER_EXPIRE", {}, Outcome.FAILED),
        ("SOMETHING_NEW", {}, Outcome.FAILED),
    ],
)
def test_a_cause_and_the_sip_status_beside_it_make_the_outcome(
    cause: str, fields: dict[str, str], outcome: Outcome
) -> None:
    assert causes.outcome(cause, fields) is outcome


# Never twice


def test_a_uuid_that_is_taken_makes_a_second_call_of_which_nothing_is_told(call_request: CallRequests) -> None:
    """This is what FreeSWITCH does: never twice is ours alone."""

    async def story() -> None:
        async with serve(0, QUICK) as mock, AsyncExitStack() as stack:
            one, other = [await stack.enter_async_context(provider(mock.port)) for _ in range(2)]
            async with hearing(one) as (inbox,):
                request = with_agent(call_request(now()))
                assert isinstance(await one.place(request), Placed)
                assert isinstance(await other.place(request), Unclear)
                assert len(mock.channels) == 2
                await wait_until(lambda: len(inbox.events) == 3)
                later = with_agent(call_request(now()))
                await one.place(later)
                await wait_until(lambda: len(inbox.events) == 6)
                assert Counter(event.attempt_id for event in inbox.events) == {
                    request.attempt_id: 3,
                    later.attempt_id: 3,
                }

    in_time(story())


@pytest.mark.parametrize(
    "answer",
    [b"", b"Content-Type: command/reply\nReply-Te", b"\xff\x00\n\n", b"Content-Type: x\nContent-Length: -1\n\n"],
)
def test_a_socket_that_breaks_after_the_command_leaves_it_unclear_and_nothing_is_sent_again(
    call_request: CallRequests, answer: bytes
) -> None:
    def cut(command: str) -> bytes | None:
        return answer if command.startswith("bgapi") else None

    async def story() -> None:
        async with scripted(cut) as (script, port), provider(port, timeout_seconds=0.3) as switch:
            assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
            assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
            sent = [command for command in script.commands if command.startswith("bgapi")]
            assert len(sent) == len(set(sent)) == 2

    in_time(story())


def test_whatever_the_network_does_each_attempt_is_sent_once_and_the_answer_is_true(call_request: CallRequests) -> None:
    faults = {"timeout_before": 0.1, "timeout_after": 0.1, "refused": 0.2, "server_error": 0.1}

    async def story() -> None:
        async with serve(0, {**QUICK, "faults": faults}) as mock, provider(mock.port, timeout_seconds=1.0) as switch:
            requests = [with_agent(call_request(now())) for _ in range(200)]
            answers = await asyncio.gather(*(switch.place(request) for request in requests))
            assert len(mock.originates) == len(set(mock.originates)) == 200
            existed = Counter(call.attempt_id for call in mock.switch.network.log)
            assert max(existed.values()) == 1
            for request, answer in zip(requests, answers, strict=True):
                if not isinstance(answer, Unclear):
                    assert isinstance(answer, Placed) == (request.attempt_id in existed)
            assert {type(answer) for answer in answers} == {Placed, Refused, Unclear}

    in_time(story())


def test_calls_share_one_connection_until_an_answer_on_it_is_overdue(call_request: CallRequests) -> None:
    silent: list[str] = []

    def answer(command: str) -> bytes | None:
        if not command.startswith("bgapi") or not silent:
            silent.append(command)
            return None
        uuid = command.rpartition("Job-UUID: ")[2]
        return taken(command) + frame("text/event-plain", f"Event-Name: CHANNEL_CREATE\nUnique-ID: {uuid}\n\n")

    async def story() -> None:
        async with scripted(answer) as (script, port), provider(port, timeout_seconds=0.3) as switch:
            silent.clear()
            requests = [with_agent(call_request(now())) for _ in range(30)]
            answers = await asyncio.gather(*(switch.place(request) for request in requests))
            assert [type(one) for one in answers] == [Placed] * 30
            assert script.connections == 1
            silent.clear()
            assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
            assert isinstance(await switch.place(with_agent(call_request(now()))), Placed)
            assert script.connections == 2

    in_time(story())


def test_a_switch_that_hangs_does_not_find_the_command_when_it_goes_on(call_request: CallRequests) -> None:
    """The contact may have been given back by then."""

    async def story() -> None:
        goes_on, found = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(frame("auth/request"))
            for _ in range(2):
                await reader.readuntil(b"\n\n")
                writer.write(frame("command/reply", **{"Reply-Text": "+OK"}))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await goes_on.wait()
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            try:
                found.set_result(await reader.read())
            except ConnectionError:
                found.set_result(b"")
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server, provider(server.sockets[0].getsockname()[1], timeout_seconds=0.3) as switch:
            assert isinstance(await switch.place(with_agent(call_request(now()))), Unclear)
            goes_on.set()
            assert await found == b""

    in_time(story())


# What placing may answer


def replied(text: str) -> Callable[[str], bytes]:
    return lambda _: frame("command/reply", **{"Reply-Text": text})


def ended(result: str) -> Callable[[str], bytes]:
    """Take the command, and tell how its job has ended."""

    def answer(asked: str) -> bytes:
        uuid = asked.rpartition("Job-UUID: ")[2]
        return taken(asked) + frame("text/event-plain", f"Event-Name: BACKGROUND_JOB\nJob-UUID: {uuid}\n\n{result}")

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
        (taken, Unclear),
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
def test_only_what_is_surely_known_is_said_of_a_placement(
    call_request: CallRequests, answer: Callable[[str], bytes], expected: Any
) -> None:
    async def story() -> None:
        script = scripted(lambda command: answer(command) if command.startswith("bgapi") else None)
        async with script as (_, port), provider(port, timeout_seconds=0.3) as switch:
            placed = await switch.place(with_agent(call_request(now())))
            assert placed == expected if isinstance(expected, Refused) else isinstance(placed, expected)

    in_time(story())


def test_nothing_leaves_once_the_time_to_place_is_over(call_request: CallRequests) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock, provider(mock.port, clock=lambda: now().add(hours=1)) as switch:
            late = Refused("too_late", CauseClass.INFRASTRUCTURE)
            assert await switch.place(with_agent(call_request(now()))) == late
            over = with_agent(call_request(now(), place_by=now().add(hours=2), ring_by=now()))
            assert await switch.place(over) == late
            assert not mock.originates

    in_time(story())


def variables_of(request: CallRequest) -> dict[str, str]:
    command = originate(request, TrunkConfig.parse(trunk(8021)["config"]), TRUNK, now())
    assert isinstance(command, str)
    return read_originate(command.removeprefix("bgapi originate "))[0]


def test_a_window_that_ends_soon_is_told_as_the_time_within_which_it_must_ring(call_request: CallRequests) -> None:
    soon = variables_of(with_agent(call_request(now(), ring_timeout_seconds=45, ring_by=now().add(seconds=20.5))))
    assert (soon["originate_timeout"], soon["progress_timeout"]) == ("45", "19")
    far = variables_of(with_agent(call_request(now(), ring_timeout_seconds=45, ring_by=now().add(hours=1))))
    assert (far["originate_timeout"], far.get("progress_timeout")) == ("45", None)


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
def test_a_number_that_is_more_than_a_number_is_not_called(call_request: CallRequests, number: str) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock, provider(mock.port) as switch:
            asked = with_agent(call_request(now()))
            to = await switch.place(replace(asked, to_number=number))
            assert to == Refused("invalid_number_format", CauseClass.CONTACT)
            by = await switch.place(replace(asked, from_number=number))
            assert by == Refused("invalid_caller_id", CauseClass.INFRASTRUCTURE)
            assert not mock.originates

    in_time(story())


@pytest.mark.parametrize(
    "connection",
    [
        {},
        {"application": "park()\n\napi fsctl shutdown"},
        {"application": "park", "data": "x\n\napi fsctl shutdown"},
        {"application": "park", "data": "x) &system(reboot"},
        {"application": "park", "data": "x' {a=b}"},
        {"application": "park", "data": "x\\"},
        {"application": "park", "data": 5},
        {"application": ["park"]},
    ],
)
def test_an_agent_whose_application_cannot_be_written_gets_no_call(call_request: CallRequests, connection: Any) -> None:
    config = TrunkConfig.parse(trunk(8021)["config"])
    refused = originate(replace(call_request(now()), connection=connection), config, TRUNK, now())
    assert refused == Refused("invalid_agent_connection", CauseClass.INFRASTRUCTURE)


def test_data_with_blanks_is_one_argument(call_request: CallRequests) -> None:
    asked = replace(call_request(now()), connection={"application": "playback", "data": "/srv/good morning.wav"})
    command = originate(asked, TrunkConfig.parse(trunk(8021)["config"]), TRUNK, now())
    assert isinstance(command, str)
    assert command.split("\n")[0].endswith(f"{asked.to_number} '&playback(/srv/good morning.wav)'")


def test_nothing_that_a_contact_is_called_can_say_anything_else(call_request: CallRequests) -> None:
    evil = "x,origination_uuid=y}sofia/evil/1 &system(reboot)\n\napi fsctl shutdown\n\n'\"\\${api(x)}[{^^:\u00fc"
    contact = ContactCard(name=evil, external_id=evil, variables={evil: evil, "n": 5})

    async def story() -> None:
        async with serve(0, QUICK) as mock, provider(mock.port) as switch:
            asked = with_agent(call_request(now()), contact=contact)
            assert isinstance(await switch.place(asked), Placed)
            (command,) = mock.originates
            variables, destination = read_originate(command.split("\n")[0].removeprefix("bgapi originate "))
            assert destination == f"sofia/gateway/lab/{asked.to_number}"
            assert variables["origination_uuid"] == str(asked.attempt_id)
            told = json.loads(unquote(variables["dialer_contact"]))
            assert told == {"name": evil, "external_id": evil, "variables": {evil: evil, "n": 5}}
            assert all(one.startswith(("event ", "bgapi originate ")) for one in mock.received)

    in_time(story())


def test_a_contact_too_long_for_a_channel_is_called_without_its_variables(call_request: CallRequests) -> None:
    long = ContactCard(name="Ada", variables={"story": "x" * 10_000})
    assert "dialer_contact" not in variables_of(with_agent(call_request(now()), contact=long))


# Looking up and hanging up


def dumped(dump: str, exists: str = "true") -> Callable[[str], bytes | None]:
    return lambda asked: frame("api/response", exists if "uuid_exists" in asked else dump)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (dumped("", "false"), Gone),
        (dumped("-ERR No such channel!\n"), Gone),
        (dumped("", "-ERR permission denied"), NoWord),
        (dumped("", ""), NoWord),
        (dumped("?"), NoWord),
        (dumped("Unique-ID: another\n"), NoWord),
        (lambda _: None, NoWord),
        (lambda _: b"", NoWord),
    ],
)
def test_only_a_plain_no_means_that_a_call_is_gone(
    call_request: CallRequests, answer: Callable[[str], bytes | None], expected: type
) -> None:
    async def story() -> None:
        async with scripted(answer) as (_, port), provider(port, timeout_seconds=0.3) as switch:
            assert isinstance(await switch.look_up(handle(call_request(now()))), expected)

    in_time(story())


def test_a_channel_whose_times_make_no_sense_is_no_word(call_request: CallRequests) -> None:
    async def story() -> None:
        asked = call_request(now())
        dump = f"Unique-ID: {asked.attempt_id}\nCaller-Channel-Answered-Time: soon\n"
        async with scripted(dumped(dump)) as (_, port), provider(port) as switch:
            assert isinstance(await switch.look_up(handle(asked)), NoWord)

    in_time(story())


@pytest.mark.parametrize(
    "answer", [frame("api/response", "-ERR permission denied"), frame("api/response", ""), b"", None]
)
def test_a_call_that_was_not_surely_hung_up_is_an_error(call_request: CallRequests, answer: bytes | None) -> None:
    async def story() -> None:
        async with scripted(lambda _: answer) as (_, port), provider(port, timeout_seconds=0.3) as switch:
            with pytest.raises(Unavailable):
                await switch.hang_up(handle(call_request(now())))

    in_time(story())


def test_hanging_up_a_call_that_rings_cancels_it(call_request: CallRequests) -> None:
    rings = {"setup_seconds": {"mean": 1, "min": 1, "max": 1}, "ring_seconds": {"mean": 9000, "min": 9000, "max": 9000}}

    async def story() -> None:
        profile = {**QUICK, **rings}
        async with serve(0, profile) as mock, provider(mock.port) as switch, hearing(switch) as (inbox,):
            asked = with_agent(call_request(now(), ring_timeout_seconds=9500))
            await switch.place(asked)
            await wait_until(lambda: len(inbox.events) == 1)
            await switch.hang_up(handle(asked))
            await wait_until(lambda: len(inbox.events) == 2)
            assert said(inbox.events) == [RINGING, ("ended", "cancelled", "normal_clearing")]

    in_time(story())


# Who is there


async def reasons(port: int, request: CallRequest, **config: Any) -> tuple[str, str]:
    """Ask for the health, place, look up and listen; return the reason of the first and the cause of the second."""
    async with provider(port, timeout_seconds=0.3, **config) as switch, hearing(switch) as (inbox,):
        health, placed = await switch.health(), await switch.place(with_agent(request))
        assert isinstance(placed, Refused)
        assert placed.cause_class is CauseClass.INFRASTRUCTURE
        assert isinstance(await switch.look_up(handle(request)), NoWord)
        with pytest.raises(Unavailable):
            await switch.hang_up(handle(request))
        assert health
        assert inbox.links[0]
        assert PASSWORD not in f"{health} {placed} {inbox.links}"
        return health, placed.cause


def test_a_wrong_password_is_said_so(call_request: CallRequests) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock:
            health, cause = await reasons(mock.port, call_request(now()), password="env:TRUNK_WRONG")
            assert "refuses the password" in health
            assert cause == "wrong_password"

    in_time(story())


def test_an_address_that_is_not_let_in_is_said_so(call_request: CallRequests) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock:
            mock.lets_in = False
            health, cause = await reasons(mock.port, call_request(now()))
            assert "apply-inbound-acl" in health
            assert cause == "access_denied"

    in_time(story())


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
def test_something_else_that_listens_there_is_said_so(
    call_request: CallRequests, greeting: bytes | None, is_said: str
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting is not None:
            writer.write(greeting)
        if greeting != b"":
            await reader.read()
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            health, cause = await reasons(server.sockets[0].getsockname()[1], call_request(now()))
            assert is_said in health
            assert cause == "network_unreachable"

    in_time(story())


def test_nothing_that_listens_there_and_no_such_host_are_said_so(call_request: CallRequests) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock:
            port = mock.port
        health, cause = await reasons(port, call_request(now()))
        assert f"Nothing listens at 127.0.0.1:{port}" in health
        assert cause == "network_unreachable"
        async with provider(port, host="no-such-host.invalid") as switch:
            assert "cannot be found" in (await switch.health() or "")

    in_time(story())


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
def test_the_gateway_must_be_up(dial_string: str, status: str, is_said: str | None) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock, provider(mock.port, dial_string=dial_string) as switch:
            mock.gateway_status = status
            health = await switch.health()
            assert health is None if is_said is None else is_said in (health or "")

    in_time(story())


@pytest.mark.parametrize("answer", [frame("api/response", "-ERR status Command not found!\n"), b"", None])
def test_a_freeswitch_that_is_not_ready_is_said_so(answer: bytes | None) -> None:
    async def story() -> None:
        async with scripted(lambda _: answer) as (_, port), provider(port, timeout_seconds=0.3) as switch:
            assert f"FreeSWITCH at 127.0.0.1:{port}" in (await switch.health() or "")

    in_time(story())


# Listening


def test_two_listeners_tell_each_fact_by_one_key(call_request: CallRequests) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock, AsyncExitStack() as stack:
            one, other = [await stack.enter_async_context(provider(mock.port)) for _ in range(2)]
            async with hearing(one, other) as (first, second):
                requests = [with_agent(call_request(now())) for _ in range(20)]
                await asyncio.gather(*(one.place(request) for request in requests))
                await wait_until(lambda: len(first.events) == len(second.events) == 60)
                assert set(first.events) == set(second.events)
                assert len({event.key for event in first.events + second.events}) == 60

    in_time(story())


def test_a_listener_finds_a_restarted_switch_again(call_request: CallRequests) -> None:
    async def story() -> None:
        async with serve(0, QUICK) as mock, provider(mock.port) as switch, hearing(switch) as (inbox,):
            port = mock.port
            await mock.stop()
            await wait_until(lambda: len(inbox.links) > 1)
            async with serve(port, QUICK):
                await wait_until(lambda: inbox.links[-1] is None)
                assert isinstance(await switch.place(with_agent(call_request(now()))), Placed)
                await wait_until(lambda: len(inbox.events) == 3)
            assert inbox.links[0] is None
            assert all(inbox.links[1:-1])

    in_time(story())


def tell(scenario: str) -> bytes:
    return b"".join(wire(one) for one in recorded(scenario) if "Event-Name" in one.get("body", ""))


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
def test_what_came_before_garbage_is_handed_over_and_the_listener_goes_on(garbage: bytes) -> None:
    """The first connection tells of one call and then talks nonsense; the second tells of another."""
    turns = iter([tell("sofia-busy") + garbage, tell("sofia-ok")])

    def answer(command: str) -> bytes | None:
        return next(turns, b"") if command.startswith("event") else None

    async def story() -> None:
        async with scripted(answer) as (_, port), provider(port) as switch, hearing(switch) as (inbox,):
            if garbage.startswith(b"Content-Type: text/disconnect"):
                await wait_until(lambda: len(inbox.events) == 2)
                return
            await wait_until(lambda: len(inbox.events) == 5)
            assert said(inbox.events) == RECORDED["sofia-busy"] + RECORDED["sofia-ok"]
            assert inbox.links[0] is None
            assert any(word in (inbox.links[1] or "") for word in ("longer than", "not a number", "Content-Type"))
            assert inbox.links[2] is None

    in_time(story())


def test_an_event_that_cannot_be_read_is_passed_over() -> None:
    broken = frame(
        "text/event-plain", f"Event-Name: CHANNEL_ANSWER\nUnique-ID: {TRUNK}\nvariable_dialer_attempt_id: {TRUNK}\n\n"
    )
    stray = frame("log/data", "2026 [INFO] hello") + frame("text/event-plain", "\x00\ufffd")

    async def story() -> None:
        script = scripted(lambda command: broken + stray + tell("sofia-ok") if command.startswith("event") else None)
        async with script as (_, port), provider(port) as switch, hearing(switch) as (inbox,):
            await wait_until(lambda: len(inbox.events) == 3)
            assert said(inbox.events) == RECORDED["sofia-ok"]
            assert inbox.links == [None]

    in_time(story())


@asynccontextmanager
async def listening_often(switch: FreeSwitch, inbox: Inbox) -> AsyncIterator[None]:
    task = asyncio.create_task(
        listening.listen(switch._open_listening, lambda: Reports(TRUNK, None), 0.3, inbox.take, inbox.linked, 0.05)
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_connection_is_said_to_be_up_again_and_again_once_what_came_before_is_handed_over() -> None:
    inbox, up_with = Inbox(), list[int]()

    async def linked(reason: str | None) -> None:
        assert reason is None
        up_with.append(len(inbox.events))

    inbox.linked = linked  # type: ignore[method-assign]

    def answer(command: str) -> bytes | None:
        return tell("sofia-ok") + frame("api/response", "UP") if command == "api status" else None

    async def story() -> None:
        async with scripted(answer) as (_, port), provider(port) as switch, listening_often(switch, inbox):
            await wait_until(lambda: len(up_with) == 4)
            assert up_with == [0, 3, 6, 9]

    in_time(story())


def test_a_connection_that_does_not_answer_any_more_is_said_to_be_down() -> None:
    inbox = Inbox()

    async def story() -> None:
        async with scripted(lambda _: None) as (_, port), provider(port) as switch, listening_often(switch, inbox):
            await wait_until(lambda: len(inbox.links) >= 3)
            assert inbox.links[:3] == [None, "FreeSWITCH does not answer any more", None]

    in_time(story())


def test_reports_that_could_not_be_stored_end_the_listening(call_request: CallRequests) -> None:
    async def fail(_: Sequence[CallEvent]) -> None:
        raise Unavailable("The database does not answer.")

    async def story() -> None:
        script = scripted(lambda command: tell("sofia-ok") if command.startswith("event") else None)
        async with script as (_, port), provider(port) as switch:
            with pytest.raises(Unavailable, match="database"):
                await switch.listen(fail, no_matter)

    in_time(story())


def test_a_flood_of_events_is_handed_over_whole(call_request: CallRequests) -> None:
    async def story() -> None:
        script = scripted(lambda command: tell("sofia-ok") * 1000 if command.startswith("event") else None)
        async with script as (_, port), provider(port) as switch, hearing(switch) as (inbox,):
            # Only the first is the first to be heard of the call; all of them are told.
            await wait_until(lambda: len(inbox.events) == 3000)

    in_time(story())


# Configuration


GOOD = trunk(8021)["config"]


def test_a_good_config_is_taken() -> None:
    config = TrunkConfig.parse({"host": "::1", "password": "env:TRUNK_X", "dial_string": "sofia/gateway/a::b/{e164}"})
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
        KIND.check({**GOOD, field: value})
    assert [error.field for error in refused.value.errors] == [field]


def test_a_password_of_more_than_one_line_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Unavailable, match="one line") as refused:
        FreeSwitch(TRUNK, TrunkConfig.parse(GOOD), replace(around(), secret=lambda _: "a\n\napi fsctl shutdown"))
    assert "shutdown" not in str(refused.value)


def test_connecting_touches_no_network() -> None:
    made = KIND.connect(TRUNK, GOOD, around())
    assert PASSWORD not in repr(made)
    asyncio.run(made.close())
