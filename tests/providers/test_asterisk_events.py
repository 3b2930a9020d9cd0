"""Call events from ARI messages recorded from Asterisk 22.10.1, in any order and from any point of a call."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pendulum
import pytest

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.call_progress import CallProgress, Verdict, follow
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.providers.asterisk.events import AriEventReader, Unreadable

RECORDED = Path(__file__).parent.parent / "traces" / "asterisk-ari.jsonl"
NOW = pendulum.datetime(2026, 3, 2, 9)
RANG, ANSWERED, ENDED = EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED
CALL = "018f0000-0000-7000-8000-000000000001"

# Scenario -> the events before the end, its outcome and cause, and the talk time.
TOLD: dict[str, tuple[list[EventKind], Outcome, str, float | None]] = {
    "local-answer": ([ANSWERED], Outcome.ANSWERED, "normal_clearing", 3.505),
    "local-ringanswer": ([RANG, ANSWERED], Outcome.ANSWERED, "normal_clearing", 3.502),
    "local-busy": ([], Outcome.BUSY, "user_busy", None),
    "local-congestion": ([], Outcome.FAILED, "normal_circuit_congestion", None),
    "local-reject": ([], Outcome.REJECTED, "call_rejected", None),
    "local-unalloc": ([], Outcome.INVALID_NUMBER, "unallocated_number", None),
    "local-noanswer": ([RANG], Outcome.NO_ANSWER, "no_answer", None),
    "local-human": ([ANSWERED], Outcome.ANSWERED, "unspecified", 5.503),
    "pjsip-ok": ([RANG, ANSWERED], Outcome.ANSWERED, "unspecified", 2.505),
    "pjsip-busy": ([RANG], Outcome.BUSY, "user_busy", None),
    "pjsip-decline": ([RANG], Outcome.REJECTED, "call_rejected", None),
    "pjsip-404": ([RANG], Outcome.INVALID_NUMBER, "unallocated_number", None),
    "pjsip-503": ([RANG], Outcome.FAILED, "normal_circuit_congestion", None),
    "hang-up-while-ringing": ([RANG], Outcome.CANCELLED, "originator_cancel", None),
    "hang-up-while-talking": ([ANSWERED], Outcome.ANSWERED, "normal_clearing", 0.703),
    "same-channel-id-twice": ([RANG, ANSWERED], Outcome.ANSWERED, "normal_clearing", 1.004),
}


@cache
def recorded() -> dict[str, list[dict[str, Any]]]:
    traces: dict[str, list[dict[str, Any]]] = {}
    for line in RECORDED.read_text().splitlines():
        message = json.loads(line)
        if message["kind"] == "event":
            traces.setdefault(message["scenario"], []).append(message["event"])
    return traces


def calls() -> AriEventReader:
    return AriEventReader("AMDSTATUS", lambda: NOW)


def read(reader: AriEventReader, messages: Sequence[dict[str, Any]]) -> list[CallEvent]:
    return [event for message in messages for event in reader.read(json.dumps(message))]


def channel(state: str, call: str = CALL) -> dict[str, Any]:
    return {"id": call, "name": "PJSIP/provider-00000001", "state": state}


def ari_message(kind: str, state: str, second: float = 0, call: str = CALL, **fields: Any) -> dict[str, Any]:
    at = f"2026-11-23T12:35:{second:06.3f}+0000"
    key = "peer" if kind == "Dial" else "channel"
    return {"type": kind, "timestamp": at, key: channel(state, call), "application": "dialer", **fields}


def the_end(events: Sequence[CallEvent]) -> CallEvent:
    (end,) = [event for event in events if event.kind is ENDED]
    return end


def test_every_recorded_call_is_known_here() -> None:
    assert set(recorded()) == set(TOLD)


@pytest.mark.parametrize("scenario", TOLD)
def test_a_recorded_call_tells_its_course_and_its_end(scenario: str) -> None:
    steps, outcome, cause, talked = TOLD[scenario]
    events = read(calls(), recorded()[scenario])
    assert [event.kind for event in events] == [*steps, ENDED]
    end = events[-1]
    assert (end.outcome, end.cause) == (outcome, cause)
    assert end.talk_seconds == (None if talked is None else pytest.approx(talked, abs=0.002))
    ids = {event.provider_call_id for event in events}
    assert len(ids) == 1
    assert {str(event.attempt_id) for event in events} == ids
    assert [event.key for event in events] == [f"{end.attempt_id}:{event.kind}" for event in events]
    assert sorted(event.at for event in events) == [event.at for event in events]


@pytest.mark.parametrize("scenario", TOLD)
def test_two_listeners_tell_the_same_with_the_same_keys(scenario: str) -> None:
    assert read(calls(), recorded()[scenario]) == read(calls(), recorded()[scenario])


@pytest.mark.parametrize("scenario", TOLD)
def test_a_message_that_comes_twice_tells_the_same_twice(scenario: str) -> None:
    once = read(calls(), recorded()[scenario])
    twice = read(calls(), [message for message in recorded()[scenario] for _ in range(2)])
    assert twice == [event for event in once for _ in range(2)]


@pytest.mark.parametrize("scenario", TOLD)
def test_a_listener_that_hears_the_end_alone_tells_what_is_known_of_it(scenario: str) -> None:
    """The end is reported once, from any point of the call on, and an answered call is known to be answered."""
    messages = recorded()[scenario]
    for heard_from in range(len(messages)):
        rest = messages[heard_from:]
        if not any(message["type"] == "ChannelDestroyed" and ";2" not in message["channel"]["id"] for message in rest):
            continue
        end = the_end(read(calls(), rest))
        was_answered = TOLD[scenario][1] is Outcome.ANSWERED
        assert (end.outcome is Outcome.ANSWERED) == was_answered
        assert end.cause


def test_the_moment_of_an_event_is_asterisks() -> None:
    (event,) = calls().read(json.dumps(ari_message("ChannelStateChange", "Ringing", 57.306)))
    assert event.at == pendulum.datetime(2026, 11, 23, 12, 35, 57, 306000)


@pytest.mark.parametrize("timestamp", [None, 7, "yesterday", "2026-11-23T12:35:57", "9999-12-31T23:59:59-2300"])
def test_an_event_without_a_moment_that_can_be_read_happens_now(timestamp: Any) -> None:
    (event,) = calls().read(json.dumps({**ari_message("ChannelStateChange", "Up"), "timestamp": timestamp}))
    assert event.at == NOW


@pytest.mark.parametrize(
    "other", [f"{CALL};2", f"{CALL};1", "1700000000.42", "x" * 36, CALL.upper(), f"{{{CALL[:34]}}}"]
)
def test_the_second_leg_and_the_channels_of_others_are_passed_over(other: str) -> None:
    assert read(calls(), [ari_message("ChannelDestroyed", "Up", call=other, cause=16)]) == []


def test_a_message_to_another_application_tells_the_same_of_our_channel() -> None:
    message = {**ari_message("ChannelStateChange", "Up"), "application": "another"}
    assert [event.kind for event in read(calls(), [message])] == [ANSWERED]


def test_the_channel_that_ours_dials_after_the_answer_is_not_ours() -> None:
    agent = {**ari_message("Dial", "Ringing", call="1700000000.43", dialstatus="RINGING"), "caller": channel("Up")}
    assert read(calls(), [agent]) == []


@pytest.mark.parametrize(
    ("value", "outcome"), [("MACHINE", Outcome.MACHINE), ("HUMAN", Outcome.ANSWERED), ("NOTSURE", Outcome.ANSWERED)]
)
def test_a_machine_is_known_by_its_variable(value: str, outcome: Outcome) -> None:
    messages = [
        ari_message("ChannelStateChange", "Up", 1),
        ari_message("ChannelVarset", "Up", 2, variable="AMDSTATUS", value=value),
        ari_message("ChannelVarset", "Up", 2, variable="OTHER", value="MACHINE"),
        ari_message("ChannelDestroyed", "Up", 4, cause=16),
    ]
    end = the_end(read(calls(), messages))
    assert (end.outcome, end.talk_seconds) == (outcome, 3)


def test_a_machine_is_known_where_another_listener_saw_it_and_this_one_was_started_later() -> None:
    during = [
        ari_message("ChannelStateChange", "Up", 1),
        ari_message("ChannelVarset", "Up", 2, variable="AMDSTATUS", value="MACHINE"),
    ]
    reported = read(calls(), during) + read(calls(), [ari_message("ChannelDestroyed", "Up", 4, cause=16)])
    progress, verdicts = follow(CallProgress(AttemptState.PLACED), reported)
    assert (progress.outcome, progress.answered_at) == (Outcome.MACHINE, reported[0].at)
    assert set(verdicts) == {Verdict.APPLIED}
    assert len({event.key for event in reported}) == 3


def test_a_listener_that_was_started_later_knows_a_machine_by_the_variables_of_the_channel() -> None:
    end = ari_message("ChannelDestroyed", "Up", 4, cause=16)
    end["channel"]["channelvars"] = {"AMDSTATUS": "MACHINE"}
    assert the_end(read(calls(), [end])).outcome is Outcome.MACHINE


@pytest.mark.parametrize(
    ("before", "cause", "sip", "outcome"),
    [
        # The SIP provider rejects the trunk: this is not a refusal by the callee.
        ([("Ringing", "RINGING"), ("Ringing", "NOANSWER")], 21, 403, Outcome.FAILED),
        ([("Ringing", "RINGING"), ("Ringing", "NOANSWER")], 21, 603, Outcome.REJECTED),
        # Our ring timeout, without and with an earlier response; 480 is Asterisk's own code for it.
        ([("Down", "")], 19, None, Outcome.NO_ANSWER),
        ([("Down", "")], 19, 480, Outcome.NO_ANSWER),
        ([("Down", ""), ("Down", "PROGRESS")], 19, None, Outcome.NO_ANSWER),
        ([("Down", ""), ("Down", "NOANSWER")], 19, 480, Outcome.NO_ANSWER),
        ([], 19, None, Outcome.NO_ANSWER),
        ([("Down", ""), ("Down", "CHANUNAVAIL")], 0, None, Outcome.FAILED),
        ([("Ringing", "RINGING"), ("Ringing", "NOANSWER")], 16, None, Outcome.NO_ANSWER),
        ([("Down", ""), ("Down", "NOANSWER")], 22, 410, Outcome.INVALID_NUMBER),
        ([], 999, None, Outcome.FAILED),
    ],
)
def test_the_end_of_a_call_needs_all_that_was_heard(
    before: list[tuple[str, str]], cause: int, sip: int | None, outcome: Outcome
) -> None:
    messages = [ari_message("Dial", state, dialstatus=status) for state, status in before]
    state = before[-1][0] if before else "Down"
    end = ari_message("ChannelDestroyed", state, cause=cause) | ({} if sip is None else {"tech_cause": sip})
    assert the_end(read(calls(), [*messages, end])).outcome is outcome


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\xff\xfe", b"{", b"[]", b"7", b"null", b'"text"', b"{}", b'{"type": 7}', b"[" * 100_000,
        b'{"type": "ChannelDestroyed", "channel": 7}',
        b'{"type": "ChannelDestroyed", "channel": {"id": 7}}',
        b'{"type": "Dial", "peer": []}',
    ],
)  # fmt: skip
def test_what_is_not_an_event_is_unreadable(frame: bytes) -> None:
    with pytest.raises(Unreadable):
        calls().read(frame)


@pytest.mark.parametrize("nonsense", [None, [], {}, 7, True, "x", "\0", 10**30])
def test_fields_of_the_wrong_kind_do_no_harm(nonsense: Any) -> None:
    messages = [
        ari_message("Dial", nonsense, dialstatus=nonsense),
        ari_message("ChannelStateChange", nonsense),
        ari_message("ChannelVarset", nonsense, variable=nonsense, value=nonsense),
        ari_message("ChannelHangupRequest", nonsense, soft=nonsense, cause=nonsense),
        {**ari_message("ChannelVarset", "Up"), "channel": {**channel("Down"), "channelvars": nonsense}},
        {**ari_message("ChannelDestroyed", nonsense, cause=nonsense, tech_cause=nonsense), "timestamp": nonsense},
    ]
    end = the_end(read(calls(), messages))
    assert end.outcome in (Outcome.FAILED, Outcome.CANCELLED)


def test_the_memory_is_bounded_and_forgets_the_least_lately_heard_of() -> None:
    reader = AriEventReader("AMDSTATUS", lambda: NOW, most_live=3, most_ended=1)
    ids = [str(UUID(int=number)) for number in range(5)]
    for call in [ids[0], ids[1], ids[2], ids[0], ids[3]]:
        read(reader, [ari_message("Dial", "Down", call=call, dialstatus="BUSY")])
    ends = read(reader, [ari_message("ChannelDestroyed", "Down", call=call, cause=0) for call in ids[:4]])
    assert [end.outcome for end in ends] == [Outcome.BUSY, Outcome.FAILED, Outcome.BUSY, Outcome.BUSY]
    # Of the ended calls, only the last one is kept.
    again = read(reader, [ari_message("ChannelDestroyed", "Down", call=call, cause=0) for call in (ids[3], ids[0])])
    assert [end.outcome for end in again] == [Outcome.BUSY, Outcome.FAILED]
