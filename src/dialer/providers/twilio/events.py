"""Status callbacks: what Twilio posts about a call, proved by its signature, as our events.

In: a request as it was posted. Out: at most one event; NotSigned or InvalidInput. Twilio's signature bears no time: the
same request counts whenever it comes, and changes nothing the second time, because the key of its event is the same.
"""

import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

import pendulum
from pendulum import DateTime
from twilio.request_validator import RequestValidator

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.errors import InvalidInput, NotSigned
from dialer.providers.base import WebhookRequest
from dialer.providers.twilio.causes import ENDED, Ending

SIGNATURE = "x-twilio-signature"
RING_WAS_CUT = "ring=until_window_ends"
MOST_FIELDS = 200
LONGEST_CALL_SECONDS = 10_000_000
SID = re.compile("CA[0-9a-fA-F]{32}", re.ASCII)

_KINDS = {"ringing": EventKind.RINGING, "in-progress": EventKind.ANSWERED, "answered": EventKind.ANSWERED}
_OF_NO_INTEREST = frozenset({"queued", "initiated"})


class Form(dict[str, list[str]]):
    """The fields of a form, as Twilio's validator reads them."""

    @classmethod
    def of(cls, body: bytes) -> "Form":
        return cls(parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))

    def getlist(self, name: str) -> list[str]:
        return self[name]

    def text(self, name: str) -> str | None:
        """Return the value; None where there is none, or an empty one."""
        return self.get(name, [""])[0] or None

    def whole(self, name: str, most: int) -> int | None:
        """Return a whole number; None where there is none, or one that makes no sense."""
        value = self.text(name) or ""
        return int(value) if re.fullmatch("[0-9]{1,9}", value) and int(value) <= most else None


def read(posted: WebhookRequest, validator: RequestValidator) -> Sequence[CallEvent]:
    """Read a status callback; raises NotSigned, or InvalidInput."""
    form = _proved(posted, validator)
    if posted.attempt_id is None:
        raise InvalidInput.of("url", "names no attempt: it is not the StatusCallback of a call that was placed here")
    status = form.text("CallStatus")
    if status in _OF_NO_INTEREST:
        return ()
    sid = form.text("CallSid")
    if sid is None or not SID.fullmatch(sid):
        raise InvalidInput.of("CallSid", "must be the SID of a call")
    if status in ENDED:
        return (_ended(posted, posted.attempt_id, sid, Ending(
            status,
            form.text("AnsweredBy"),
            form.whole("SipResponseCode", 699),
            form.whole("ErrorCode", 999_999),
            RING_WAS_CUT in urlsplit(posted.url).query,
        ), form),)  # fmt: skip
    if status in _KINDS:
        return (event(posted.attempt_id, _KINDS[status], _at(form, posted.now), sid),)
    raise InvalidInput.of("CallStatus", "is not one that is known")


def event(attempt_id: AttemptId, kind: EventKind, at: DateTime, sid: str) -> CallEvent:
    """Make an event whose key is the same by whatever way it was heard."""
    return CallEvent(key=f"{attempt_id}:{kind}", attempt_id=attempt_id, kind=kind, at=at, provider_call_id=sid)


def ended(attempt_id: AttemptId, ending: Ending, at: DateTime, sid: str, talk_seconds: float | None) -> CallEvent:
    outcome, cause, facts = ending.told()
    if outcome not in (Outcome.ANSWERED, Outcome.MACHINE):
        talk_seconds = 0.0
    kind = EventKind.ENDED
    return CallEvent(f"{attempt_id}:{kind}", attempt_id, kind, at, outcome, cause, talk_seconds, sid, facts)


def _ended(posted: WebhookRequest, attempt_id: AttemptId, sid: str, ending: Ending, form: Form) -> CallEvent:
    seconds = form.whole("CallDuration", LONGEST_CALL_SECONDS)
    return ended(attempt_id, ending, _at(form, posted.now), sid, None if seconds is None else float(seconds))


def _proved(posted: WebhookRequest, validator: RequestValidator) -> Form:
    try:
        form = Form.of(posted.body)
        is_signed = validator.validate(posted.url, form, posted.headers.get(SIGNATURE, ""))
    except ValueError:
        is_signed = False
    if not is_signed:
        raise NotSigned("The signature is not that of this trunk's Twilio account, for this URL and these fields")
    return form


def _at(form: Form, now: DateTime) -> DateTime:
    """When it happened. Twilio's times are whole seconds: the number of the callback keeps those of one in order."""
    try:
        moment = pendulum.instance(parsedate_to_datetime(form.text("Timestamp") or ""), tz="UTC").in_timezone("UTC")
    except (ValueError, OverflowError):
        return now
    return moment.add(microseconds=form.whole("SequenceNumber", 999) or 0)
