"""Recordings of Asterisk 22.10.1 and FreeSWITCH 1.10.12 with far ends of their own: one code, one meaning.

Forty-one SIP codes each, early media, silence, a redirect, both ways of hanging up, and Local channels.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pendulum
import pytest

from dialer.domain import sip
from dialer.domain.call import CallEvent, EventKind, HungUpBy
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.providers.asterisk.events import AriEventReader
from dialer.providers.freeswitch.esl import SwitchEvent
from dialer.providers.freeswitch.events import ChannelEventReader
from dialer.providers.twilio.causes import FinalStatus
from support.freeswitch_recordings import TRUNK

ROOT = Path(__file__).parent.parent
PAGE = ROOT.parent / "docs" / "outcomes.md"
NOW = pendulum.datetime(2026, 11, 26, 23)
RANG, ANSWERED, ENDED = EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED
CALLER, CALLEE, NETWORK = HungUpBy.CALLER, HungUpBy.CALLEE, HungUpBy.NETWORK

# What a call comes to that has not rung. All others have failed, and the network is to blame.
PEOPLE = {
    404: Outcome.INVALID_NUMBER,
    410: Outcome.INVALID_NUMBER,
    433: Outcome.FAILED,
    480: Outcome.NO_ANSWER,
    484: Outcome.INVALID_NUMBER,
    485: Outcome.INVALID_NUMBER,
    486: Outcome.BUSY,
    600: Outcome.BUSY,
    603: Outcome.REJECTED,
    604: Outcome.INVALID_NUMBER,
    607: Outcome.REJECTED,
    608: Outcome.REJECTED,
}
CODES = (
    400, 401, 402, 403, 404, 405, 406, 408, 410, 413, 414, 415, 416, 420, 421, 423, 433, 480, 481, 482, 483, 484, 485,
    486, 487, 488, 491, 493, 500, 501, 502, 503, 504, 505, 513, 600, 603, 604, 606, 607, 608,
)  # fmt: skip
# Scenario -> the steps before the end, the outcome, the SIP code and who has hung up.
COURSES: dict[str, tuple[list[EventKind], Outcome, int | None, HungUpBy | None]] = {
    "answer-far-end-hangs-up": ([RANG, ANSWERED], Outcome.ANSWERED, None, CALLEE),
    "answer-we-hang-up": ([RANG, ANSWERED], Outcome.ANSWERED, None, CALLER),
    "early-media-then-busy": ([RANG], Outcome.BUSY, 486, CALLEE),
    "early-media-then-answer": ([RANG, ANSWERED], Outcome.ANSWERED, None, CALLEE),
    "rings-until-timeout": ([RANG], Outcome.NO_ANSWER, None, CALLER),
    "only-100-until-timeout": ([], Outcome.NO_ANSWER, None, CALLER),
    "silent-until-timeout": ([], Outcome.NO_ANSWER, None, CALLER),
    "answer-without-ringing": ([ANSWERED], Outcome.ANSWERED, None, CALLEE),
}
# Asterisk reports a redirect; FreeSWITCH follows it, here to a number that is silent until the recorder hangs up.
REDIRECTS: dict[str, tuple[list[EventKind], Outcome, int | None, HungUpBy]] = {
    "pjsip-302-moved": ([], Outcome.FAILED, 302, CALLEE),
    "302-moved": ([], Outcome.CANCELLED, None, CALLER),
}
# Over a Local channel there is no SIP code, only Q.850: what 401, 403 and 603 have in common is 21.
LOCAL = {
    401: (21, Outcome.REJECTED),
    403: (21, Outcome.REJECTED),
    404: (1, Outcome.INVALID_NUMBER),
    480: (19, Outcome.NO_ANSWER),
    486: (17, Outcome.BUSY),
    487: (127, Outcome.FAILED),
    488: (58, Outcome.FAILED),
    500: (38, Outcome.FAILED),
    503: (34, Outcome.FAILED),
    504: (102, Outcome.FAILED),
    603: (21, Outcome.REJECTED),
    607: (127, Outcome.FAILED),
}


@cache
def recorded(switch: str) -> dict[str, list[dict[str, Any]]]:
    by_scenario: dict[str, list[dict[str, Any]]] = {}
    for line in (ROOT / "traces" / f"{switch}-sip.jsonl").read_text().splitlines():
        message = json.loads(line)
        by_scenario.setdefault(message["scenario"], []).append(message)
    return by_scenario


def over_asterisk(scenario: str) -> list[CallEvent]:
    return heard([message["event"] for message in recorded("asterisk-ari")[scenario]])


def heard(messages: Sequence[dict[str, Any]]) -> list[CallEvent]:
    calls = AriEventReader("AMDSTATUS", lambda: NOW)
    return [event for message in messages for event in calls.read(json.dumps(message))]


def over_freeswitch(scenario: str) -> list[CallEvent]:
    """The recorder's own originate did not have the variables of ours."""
    reports, events = ChannelEventReader(TRUNK, None), list[CallEvent]()
    for message in recorded("freeswitch-esl")[scenario]:
        fields = dict(message["event"])
        fields |= {"variable_dialer_attempt_id": fields["Unique-ID"]} if "Unique-ID" in fields else {}
        events += reports.read(SwitchEvent(fields["Event-Name"], fields, message["body"]))
    return events


def course(events: Sequence[CallEvent]) -> tuple[list[EventKind], Outcome | None, int | None, HungUpBy | None]:
    *steps, end = events
    assert end.kind is ENDED
    return [step.kind for step in steps], end.outcome, end.facts.sip_code, end.facts.hung_up_by


def test_every_recorded_call_is_replayed_here() -> None:
    refused = {f"pjsip-{code}" for code in CODES} | {f"local-{code}" for code in LOCAL}
    assert set(recorded("asterisk-ari")) == refused | {f"pjsip-{name}" for name in COURSES} | {"pjsip-302-moved"}
    assert set(recorded("freeswitch-esl")) == {f"sofia-{code}" for code in CODES} | set(COURSES) | {"302-moved"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("over", [over_asterisk, over_freeswitch])
def test_a_code_means_the_same_over_every_network(over: Any, code: int) -> None:
    (end,) = over(f"{'pjsip' if over is over_asterisk else 'sofia'}-{code}")
    assert (end.outcome, end.facts.sip_code) == (PEOPLE.get(code, Outcome.FAILED), code)
    blamed = CauseClass.CONTACT if code in PEOPLE else CauseClass.INFRASTRUCTURE
    assert sip.cause_class(end.facts, has_rung=False) is blamed
    is_callees = code in PEOPLE and end.outcome is not Outcome.INVALID_NUMBER
    assert end.facts.hung_up_by is (CALLEE if is_callees else NETWORK)
    assert end.facts.sip_call_id


@pytest.mark.parametrize("code", CODES)
def test_twilio_reads_a_code_from_the_same_table(code: int) -> None:
    outcome, cause, facts = FinalStatus("failed", sip_code=code).result()
    assert (outcome, cause, facts.sip_code) == (PEOPLE.get(code, Outcome.FAILED), f"sip_{code}", code)


@pytest.mark.parametrize("scenario", COURSES)
@pytest.mark.parametrize("over", [over_asterisk, over_freeswitch])
def test_a_course_is_told_the_same_by_both_switches(over: Any, scenario: str) -> None:
    assert course(over(f"pjsip-{scenario}" if over is over_asterisk else scenario)) == COURSES[scenario]


def test_a_redirect_is_not_followed_to_a_number_of_no_list() -> None:
    assert course(over_asterisk("pjsip-302-moved")) == REDIRECTS["pjsip-302-moved"]
    assert course(over_freeswitch("302-moved")) == REDIRECTS["302-moved"]


@pytest.mark.parametrize("code", LOCAL)
def test_over_a_local_channel_the_cause_of_q850_counts(code: int) -> None:
    (end,) = over_asterisk(f"local-{code}")
    assert (end.facts.sip_code, end.facts.q850_cause, end.outcome) == (None, *LOCAL[code])
    assert end.facts.sip_call_id


@pytest.mark.parametrize("code", LOCAL)
def test_the_code_of_the_channel_behind_a_local_one_counts_before_that(code: int) -> None:
    """The recorder kept only the messages that name our channel; this one is as in the recording over PJSIP."""
    messages = [message["event"] for message in recorded("asterisk-ari")[f"local-{code}"]]
    closing = next(
        n
        for n, message in enumerate(messages)
        if message["type"] == "Dial" and message["dialstatus"] and "caller" in message
    )
    hang_up = {"type": "ChannelHangupRequest", "cause": LOCAL[code][0], "tech_cause": code}
    refusal = hang_up | {"channel": messages[closing]["peer"], "timestamp": messages[closing]["timestamp"]}
    (end,) = heard([*messages[:closing], refusal, *messages[closing:]])
    assert (end.facts.sip_code, end.outcome) == (code, PEOPLE.get(code, Outcome.FAILED))


@pytest.mark.parametrize(
    ("code", "outcome"), [(408, "no_answer"), (487, "no_answer"), (480, "no_answer"), (503, "failed")]
)
def test_a_call_that_rang_before_the_network_ended_it(code: int, outcome: str) -> None:
    """A phone that rang has not been answered; a fault of the network stays one, but costs the attempt."""
    messages = [message["event"] for message in recorded("asterisk-ari")[f"pjsip-{code}"]]
    ringing = {"type": "Dial", "dialstatus": "RINGING", "peer": {**messages[0]["channel"], "state": "Ringing"}}
    *_, end = heard([messages[0], ringing, *messages[1:]])
    assert end.outcome == outcome


@pytest.mark.parametrize(("code", "like"), [(302, 300), (499, 400), (599, 500), (699, 600)])
def test_a_code_that_nobody_knows_is_read_as_the_first_of_its_class(code: int, like: int) -> None:
    assert sip.of_sip(code, has_rung=False) == sip.SIP[like]


@pytest.mark.parametrize(
    ("cause", "status", "outcome"),
    [
        *((cause, "NOANSWER", "no_answer") for cause in (0, 16, 18, 19, 20)),
        *((cause, "NOANSWER", "failed") for cause in (29, 34, 38, 41, 58, 102, 127)),
        (0, "BUSY", "busy"),
        (0, "CONGESTION", "failed"),
        (31, "CANCEL", "failed"),
    ],
)
def test_the_dial_status_counts_only_where_the_cause_says_nothing(cause: int, status: str, outcome: str) -> None:
    channel = {"id": "018f0000-0000-7000-8000-000000000001", "name": "Local/1@out-1;1", "state": "Down"}
    dial = {"type": "Dial", "dialstatus": status, "peer": channel}
    (end,) = heard([dial, {"type": "ChannelDestroyed", "cause": cause, "channel": channel}])
    assert end.outcome == outcome


def test_the_page_shows_the_table_as_it_is() -> None:
    shown = dict[int, tuple[str, str]]()
    for codes, outcome, blame in re.findall(r"\n\| ([0-9, ]+) \|.*\| `(\w+)` \| (\w+) \|", PAGE.read_text()):
        shown |= {int(code): (outcome, blame) for code in re.findall(r"[3-6][0-9]{2}", codes)}
    words = {CauseClass.CONTACT: "contact", CauseClass.INFRASTRUCTURE: "network"}
    known = {code: (str(end.outcome), words[end.cause_class]) for code, end in sip.SIP.items()}
    assert known.items() <= shown.items()
    for code, (outcome, blame) in shown.items():
        end = sip.of_sip(code, has_rung=False)
        assert (outcome, blame) == (end.outcome, words[end.cause_class]), code
