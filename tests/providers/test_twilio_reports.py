"""Twilio's status callbacks: who may post them, and what they say."""

from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID

import pendulum
import pytest

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import Outcome
from dialer.errors import InvalidInput, NotSigned
from dialer.providers.base import ProviderEnvironment, ReportsByWebhook, WebhookRequest
from dialer.providers.twilio import Twilio
from dialer.providers.twilio.config import TwilioConfig
from support.networks.twilio import ACCOUNT_SID, AUTH_TOKEN
from support.networks.twilio_calls import signature

ATTEMPT = AttemptId(UUID("018f0000-0000-7000-8000-000000000001"))
TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000022"))
SID = "CA" + "a" * 32
URL = f"https://dialer.example/v1/providers/twilio/{TRUNK}/events/{ATTEMPT}"
NOW = pendulum.datetime(2026, 3, 2, 9, 0, 30)
CONFIG = TwilioConfig.parse({"account_sid": ACCOUNT_SID, "auth_token": "env:TRUNK_TWILIO_AUTH_TOKEN"})
TWILIO = Twilio(TRUNK, CONFIG, ProviderEnvironment(lambda: NOW, lambda _: AUTH_TOKEN, "https://dialer.example"))

# As Twilio posts it when a call is over, empty fields included; what differs between statuses is set by the tests.
RECORDED = {
    "Called": "+4930123456",
    "ToState": "Berlin",
    "CallerCountry": "DE",
    "Direction": "outbound-api",
    "Timestamp": "Mon, 02 Mar 2026 09:00:19 +0000",
    "CallbackSource": "call-progress-events",
    "CallerState": "",
    "ToZip": "",
    "SequenceNumber": "3",
    "CallSid": SID,
    "To": "+4930123456",
    "CallerZip": "",
    "ToCountry": "DE",
    "ApiVersion": "2010-04-01",
    "CalledZip": "",
    "CallStatus": "completed",
    "CalledCity": "Köln & Umgebung",
    "Duration": "1",
    "From": "+4930999",
    "CallDuration": "49",
    "AccountSid": ACCOUNT_SID,
    "CalledCountry": "DE",
    "Caller": "+4930999",
    "FromCountry": "DE",
}


def posted(
    fields: Mapping[str, str], url: str = URL, signed_for: str | None = None, attempt_id: AttemptId | None = ATTEMPT
) -> WebhookRequest:
    headers = {"x-twilio-signature": signature(signed_for or url, fields, AUTH_TOKEN)}
    return WebhookRequest(url, headers, urlencode(fields).encode(), attempt_id, NOW)


def read(url: str = URL, **changes: str) -> list[CallEvent]:
    return list(TWILIO.read_reports(posted(RECORDED | changes, url)))


def test_it_reports_by_webhook() -> None:
    assert isinstance(TWILIO, ReportsByWebhook)


def test_an_ended_call_is_told_with_its_time_and_duration() -> None:
    assert read() == [
        CallEvent(
            key=f"{ATTEMPT}:ended",
            attempt_id=ATTEMPT,
            kind=EventKind.ENDED,
            at=pendulum.datetime(2026, 3, 2, 9, 0, 19, 3),
            outcome=Outcome.ANSWERED,
            cause="completed",
            talk_seconds=49.0,
            provider_call_id=SID,
        )
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [("ringing", EventKind.RINGING), ("in-progress", EventKind.ANSWERED), ("answered", EventKind.ANSWERED)],
)
def test_the_steps_of_a_call_are_told(status: str, kind: EventKind) -> None:
    (event,) = read(CallStatus=status)
    assert (event.key, event.kind, event.outcome, event.provider_call_id) == (f"{ATTEMPT}:{kind}", kind, None, SID)


@pytest.mark.parametrize("status", ["queued", "initiated"])
def test_that_a_call_is_on_its_way_is_of_no_interest(status: str) -> None:
    assert read(CallStatus=status) == []


@pytest.mark.parametrize(
    ("fields", "outcome", "cause"),
    [
        ({"CallStatus": "completed", "AnsweredBy": "human"}, Outcome.ANSWERED, "human"),
        ({"CallStatus": "completed", "AnsweredBy": "unknown"}, Outcome.ANSWERED, "unknown"),
        ({"CallStatus": "completed", "AnsweredBy": "machine_start"}, Outcome.MACHINE, "machine_start"),
        ({"CallStatus": "completed", "AnsweredBy": "machine_end_silence"}, Outcome.MACHINE, "machine_end_silence"),
        ({"CallStatus": "completed", "AnsweredBy": "fax"}, Outcome.MACHINE, "fax"),
        ({"CallStatus": "busy", "SipResponseCode": "486"}, Outcome.BUSY, "sip_486"),
        ({"CallStatus": "busy"}, Outcome.BUSY, "busy"),
        ({"CallStatus": "busy", "SipResponseCode": "603"}, Outcome.REJECTED, "sip_603"),
        ({"CallStatus": "no-answer", "SipResponseCode": "487"}, Outcome.NO_ANSWER, "no_answer"),
        ({"CallStatus": "no-answer", "SipResponseCode": "604"}, Outcome.INVALID_NUMBER, "sip_604"),
        ({"CallStatus": "canceled", "SipResponseCode": "487"}, Outcome.CANCELLED, "canceled"),
        ({"CallStatus": "failed", "SipResponseCode": "404"}, Outcome.INVALID_NUMBER, "sip_404"),
        ({"CallStatus": "failed", "SipResponseCode": "484"}, Outcome.INVALID_NUMBER, "sip_484"),
        ({"CallStatus": "failed", "SipResponseCode": "503"}, Outcome.FAILED, "sip_503"),
        ({"CallStatus": "failed", "SipResponseCode": "?"}, Outcome.FAILED, "failed"),
        ({"CallStatus": "failed", "ErrorCode": "21217"}, Outcome.INVALID_NUMBER, "twilio_21217"),
        ({"CallStatus": "failed", "ErrorCode": "32009"}, Outcome.FAILED, "twilio_32009"),
    ],
)
def test_every_way_in_which_a_call_ends_has_its_outcome(fields: dict[str, str], outcome: Outcome, cause: str) -> None:
    (event,) = read(**fields)
    assert (event.outcome, event.cause) == (outcome, cause)
    assert (event.talk_seconds == 49) == (outcome in (Outcome.ANSWERED, Outcome.MACHINE))


def test_a_ring_that_was_cut_by_the_end_of_the_window_may_be_called_again() -> None:
    (event,) = read(f"{URL}?ring=until_window_ends", CallStatus="no-answer")
    assert (event.outcome, event.cause) == (Outcome.NO_ANSWER, "calling_window_ended")
    assert read(f"{URL}?ring=until_window_ends", CallStatus="busy")[0].outcome is Outcome.BUSY


def test_reports_of_the_same_second_keep_their_order() -> None:
    events = read(CallStatus="completed") + read(CallStatus="in-progress", SequenceNumber="2")
    assert [event.kind for event in sorted(events, key=lambda event: event.at)] == [EventKind.ANSWERED, EventKind.ENDED]


@pytest.mark.parametrize("timestamp", ["", "soon", "Mon, 99 Mar 2026 09:00:19 +0000", "x" * 5000])
def test_a_time_that_makes_no_sense_is_now(timestamp: str) -> None:
    assert read(Timestamp=timestamp)[0].at == NOW


@pytest.mark.parametrize("duration", ["", "-1", "4.5", "9" * 30, "٣"])
def test_a_duration_that_makes_no_sense_is_not_known(duration: str) -> None:
    assert read(CallDuration=duration)[0].talk_seconds is None


def test_a_report_that_is_replayed_is_the_same_report() -> None:
    first = posted(RECORDED)
    later = WebhookRequest(first.url, first.headers, first.body, first.attempt_id, NOW.add(hours=1))
    assert TWILIO.read_reports(later) == TWILIO.read_reports(first)


def test_behind_a_proxy_the_public_url_is_what_is_signed() -> None:
    assert TWILIO.read_reports(posted(RECORDED))
    with pytest.raises(NotSigned):
        TWILIO.read_reports(
            posted(RECORDED, url=URL.replace("https://dialer.example", "http://10.0.0.5:8000"), signed_for=URL)
        )


@pytest.mark.parametrize(
    ("url", "signed_for"),
    [
        (URL, URL.replace("example/", "example:443/")),
        (URL.replace("example/", "example:443/"), URL),
        (URL.replace("example/", "example:8443/"), URL.replace("example/", "example:8443/")),
    ],
)
def test_a_port_may_be_signed_or_not(url: str, signed_for: str) -> None:
    assert TWILIO.read_reports(posted(RECORDED, url=url, signed_for=signed_for))


@pytest.mark.parametrize(
    "changes",
    [{"CallStatus": "busy"}, {"Extra": "1"}, {"CallDuration": "50"}],
)
def test_a_form_that_was_tampered_with_is_not_signed(changes: dict[str, str]) -> None:
    honest = posted(RECORDED)
    with pytest.raises(NotSigned):
        TWILIO.read_reports(
            WebhookRequest(honest.url, honest.headers, urlencode(RECORDED | changes).encode(), ATTEMPT, NOW)
        )


def test_a_report_on_another_attempt_is_not_signed() -> None:
    other = AttemptId(UUID("018f0000-0000-7000-8000-00000000000f"))
    with pytest.raises(NotSigned):
        TWILIO.read_reports(
            posted(RECORDED, url=URL.replace(str(ATTEMPT), str(other)), signed_for=URL, attempt_id=other)
        )


def test_a_window_cannot_be_claimed_to_have_ended() -> None:
    with pytest.raises(NotSigned):
        TWILIO.read_reports(posted(RECORDED, url=f"{URL}?ring=until_window_ends", signed_for=URL))


@pytest.mark.parametrize("claimed", [None, "", "AAAA", "é" * 28])
@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"&".join([b"a=1"] * 1000), urlencode(RECORDED).encode()])
def test_what_is_not_signed_is_refused_whatever_it_is(claimed: str | None, body: bytes) -> None:
    headers = {} if claimed is None else {"x-twilio-signature": claimed}
    with pytest.raises(NotSigned) as refused:
        TWILIO.read_reports(WebhookRequest(URL, headers, body, ATTEMPT, NOW))
    assert AUTH_TOKEN not in str(refused.value)


def test_a_signature_with_another_token_is_refused() -> None:
    headers = {"x-twilio-signature": signature(URL, RECORDED, "another")}
    with pytest.raises(NotSigned):
        TWILIO.read_reports(WebhookRequest(URL, headers, urlencode(RECORDED).encode(), ATTEMPT, NOW))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"CallStatus": "floating"}, "CallStatus"),
        ({"CallStatus": ""}, "CallStatus"),
        ({"CallSid": "CA1"}, "CallSid"),
        ({"CallSid": f"{SID}0"}, "CallSid"),
    ],
)
def test_a_signed_report_that_makes_no_sense_is_refused(changes: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        read(**changes)
    assert [error.field for error in wrong.value.errors] == [field]


def test_a_report_without_an_attempt_is_refused() -> None:
    with pytest.raises(InvalidInput, match="attempt"):
        TWILIO.read_reports(posted(RECORDED, attempt_id=None))
