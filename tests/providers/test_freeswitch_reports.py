"""Call events from FreeSWITCH: recorded conversations, and events that cannot be read."""

from uuid import UUID

import pytest

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.providers.base import Placed, Refused
from dialer.providers.freeswitch import FreeSwitchConfig, causes
from dialer.providers.freeswitch.esl import FrameReader, SwitchEvent, read_event
from dialer.providers.freeswitch.events import ChannelEventReader, Unreadable
from dialer.providers.freeswitch.requests import originate
from support.freeswitch_recordings import (
    RECORDED,
    TRUNK,
    CallRequests,
    attempt_of,
    encode_message,
    event_facts,
    provider,
    recorded_messages,
    scripted_server,
    with_agent,
)
from support.networks.freeswitch import trunk
from support.networks.switch import now


@pytest.mark.parametrize("scenario", RECORDED)
@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
def test_a_recorded_conversation_is_read_whole_in_pieces_of_any_size(scenario: str, piece: int) -> None:
    sent = b"".join(encode_message(message) for message in recorded_messages(scenario) if message["kind"] == "received")
    frames, reports, events = FrameReader(), ChannelEventReader(TRUNK, None), list[CallEvent]()
    for start in range(0, len(sent), piece):
        for event in frames.feed(sent[start : start + piece]):
            if event.kind == "text/event-plain":
                events += reports.read(read_event(event.body))
    assert event_facts(events) == RECORDED[scenario]
    uuid = attempt_of(scenario)
    assert {event.provider_call_id for event in events} <= {uuid}
    assert [event.key for event in events] == [f"{uuid}:{kind}" for kind, _, _ in RECORDED[scenario]]
    assert [event.at for event in events] == sorted(event.at for event in events)


@pytest.mark.parametrize(("scenario", "talked"), [("loopback-answer", 1.78), ("sofia-ok", 2.52), ("sofia-busy", 0.0)])
def test_the_talk_is_as_long_as_was_measured(scenario: str, talked: float) -> None:
    events = [
        read_event(message["body"])
        for message in recorded_messages(scenario)
        if "Event-Name" in message.get("body", "")
    ]
    reports = ChannelEventReader(TRUNK, None)
    last = [report for event in events for report in reports.read(event)][-1]
    assert last.talk_seconds == pytest.approx(talked, abs=0.001)


@pytest.mark.parametrize("scenario", RECORDED)
async def test_a_recorded_answer_to_an_originate_is_understood(scenario: str, call_request: CallRequests) -> None:
    sent = [encode_message(message) for message in recorded_messages(scenario) if message["kind"] == "received"]
    attempt_id = AttemptId(UUID(attempt_of(scenario)))

    def answer(command: str) -> bytes | None:
        return b"".join(sent) if command.startswith("bgapi originate") else None

    async with scripted_server(answer) as (script, port), provider(port) as switch:
        placed = await switch.place(with_agent(call_request(now(), attempt_id=attempt_id)))
        if scenario == "unknown-gateway":
            assert placed == Refused("invalid_gateway", CauseClass.INFRASTRUCTURE)
        else:
            assert placed == Placed(str(attempt_id))
        assert sum(command.startswith("bgapi") for command in script.commands) == 1


def test_the_command_is_that_of_the_recordings(call_request: CallRequests) -> None:
    request = with_agent(call_request(now(), ring_timeout_seconds=3))
    config = FreeSwitchConfig.parse(trunk(8021, "loopback/answer-{e164}/peer")["config"])
    command = originate(request, config, TRUNK, now())
    assert isinstance(command, str)
    uuid = request.attempt_id
    assert command == (
        f"bgapi originate {{origination_uuid={uuid},origination_caller_id_number=+49301000,originate_timeout=3,"
        f"ignore_early_media=true,outbound_redirect_fatal=true,dialer_attempt_id={uuid},dialer_trunk_id={TRUNK}}}"
        f"loopback/answer-{request.to_number[1:]}/peer 1000 XML agents\nJob-UUID: {uuid}"
    )


# What is reported, and what is not


def test_who_comes_in_the_middle_of_a_call_is_told_what_went_before() -> None:
    events = [
        read_event(message["body"])
        for message in recorded_messages("sofia-ok")
        if "Event-Name" in message.get("body", "")
    ]
    whole = ChannelEventReader(TRUNK, None)
    all_told = [report for event in events for report in whole.read(event)]
    last = [event for event in events if event.name == "CHANNEL_HANGUP_COMPLETE"][-1:]
    assert [report for event in last for report in ChannelEventReader(TRUNK, None).read(event)] == all_told


def test_a_call_of_another_trunk_is_not_told() -> None:
    for message in recorded_messages("sofia-ok"):
        if "Event-Name: CHANNEL" in message.get("body", ""):
            event = read_event(message["body"])
            theirs = SwitchEvent(event.name, {**event.fields, "variable_dialer_trunk_id": "another"})
            assert ChannelEventReader(TRUNK, None).read(theirs) == []


def failed_job(uuid: str, cause: str, trunk_id: object = TRUNK) -> SwitchEvent:
    arguments = f"{{dialer_attempt_id={uuid},dialer_trunk_id={trunk_id}}}sofia/gateway/lab/123 &park()"
    fields = {"Event-Date-Timestamp": "1795437505146820", "Job-UUID": uuid, "Job-Command": "originate"}
    return SwitchEvent("BACKGROUND_JOB", fields | {"Job-Command-Arg": arguments}, f"-ERR {cause}\n")


def test_the_failed_job_of_a_call_whose_channel_was_missed_tells_its_end() -> None:
    uuid = attempt_of("sofia-busy")
    assert event_facts(ChannelEventReader(TRUNK, None).read(failed_job(uuid, "USER_BUSY"))) == [
        ("ended", "busy", "user_busy")
    ]
    assert ChannelEventReader(TRUNK, None).read(failed_job(uuid, "USER_BUSY", "another")) == []


@pytest.mark.parametrize("cause", ["INVALID_GATEWAY", "GATEWAY_DOWN", "UNALLOCATED_NUMBER"])
def test_a_job_that_failed_before_there_was_a_call_is_not_told_as_the_end_of_one(cause: str) -> None:
    assert ChannelEventReader(TRUNK, None).read(failed_job(attempt_of("sofia-busy"), cause)) == []


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("CHANNEL_ANSWER", {"variable_dialer_attempt_id": "no uuid", "Unique-ID": "no uuid"}),
        ("CHANNEL_ANSWER", {"variable_dialer_attempt_id": str(TRUNK)}),
        ("CHANNEL_PROGRESS", {"variable_dialer_attempt_id": str(TRUNK), "Unique-ID": str(TRUNK)}),
        ("CHANNEL_HANGUP_COMPLETE", {"variable_dialer_attempt_id": str(TRUNK), "Unique-ID": str(TRUNK)}),
        ("CHANNEL_ANSWER", {"Caller-Channel-Answered-Time": "soon"}),
        ("CHANNEL_ANSWER", {"Caller-Channel-Answered-Time": "9" * 30}),
    ],
)
def test_an_event_of_our_call_that_cannot_be_read_is_not_passed_over_silently(
    name: str, fields: dict[str, str]
) -> None:
    ours = {"variable_dialer_attempt_id": str(TRUNK), "Unique-ID": str(TRUNK), "Event-Date-Timestamp": "1"}
    given = ours | fields if "Caller-Channel-Answered-Time" in fields else fields
    with pytest.raises(Unreadable, match=name):
        ChannelEventReader(TRUNK, None).read(SwitchEvent(name, given))


@pytest.mark.parametrize("name", ["BACKGROUND_JOB", ""])
def test_an_event_of_nothing_says_nothing(name: str) -> None:
    assert ChannelEventReader(TRUNK, None).read(SwitchEvent(name, {})) == []


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
        # The end of the calling window: not reached, and may be called again.
        ("PROGRESS_TIMEOUT", {}, Outcome.NO_ANSWER),
        ("NORMAL_CLEARING", {"variable_sip_hangup_disposition": "send_cancel"}, Outcome.CANCELLED),
        ("ORIGINATOR_CANCEL", {"variable_sip_hangup_disposition": "recv_refuse"}, Outcome.NO_ANSWER),
        ("RECOVERY_ON_TIMER_EXPIRE", {}, Outcome.FAILED),
        ("SOMETHING_NEW", {}, Outcome.FAILED),
    ],
)
def test_a_cause_and_the_sip_status_beside_it_make_the_outcome(
    cause: str, fields: dict[str, str], outcome: Outcome
) -> None:
    assert causes.outcome(cause, fields, has_rung=False) is outcome
