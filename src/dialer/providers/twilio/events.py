"""What Twilio reports of calls, in status callbacks and in its records, as our events.

In: a webhook request, or records of the API. Out: events; which records may be an attempt's. Raises NotSigned
or InvalidInput for webhook requests. Twilio's signature has no time: a repeated request is read again, and changes
nothing, because the key of its event is the same.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.errors import InvalidInput, NotSigned
from dialer.providers.base import Absent, CallHandle, Candidates, LookupFailed, LookupResult, Seen, WebhookRequest
from dialer.providers.twilio.api import PAGE, CallRecord
from dialer.providers.twilio.causes import COMPLETED, ENDED, IN_PROGRESS, FinalStatus
from dialer.providers.twilio.signing import is_signed

SIGNATURE = "x-twilio-signature"
RING_WAS_CUT = "ring=until_window_ends"
MAX_FIELDS = 200
MAX_CALL_SECONDS = 10_000_000
SID = re.compile("CA[0-9a-fA-F]{32}", re.ASCII)
# Twilio's clock and ours may differ, and its times are whole seconds.
EARLIEST = timedelta(seconds=-10)
LATEST = timedelta(minutes=2)


class Form(dict[str, list[str]]):
    """The fields of a form, with all their values."""

    @classmethod
    def of(cls, body: bytes) -> "Form":
        return cls(parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))

    def text(self, name: str) -> str | None:
        """Return the value; None where there is none, or an empty one."""
        return self.get(name, [""])[0] or None

    def whole(self, name: str, most: int) -> int | None:
        """Return a whole number; None where there is none, or one that makes no sense."""
        value = self.text(name) or ""
        return int(value) if re.fullmatch("[0-9]{1,9}", value) and int(value) <= most else None


def read_report(request: WebhookRequest, auth_token: str) -> Sequence[CallEvent]:
    """Read a status callback; raises NotSigned, or InvalidInput."""
    form = _proved(request, auth_token)
    if request.attempt_id is None:
        raise InvalidInput.of("url", "names no attempt: it is not the StatusCallback of a call that was placed here")
    status = form.text("CallStatus") or ""
    if status not in IN_PROGRESS and status not in ENDED:
        raise InvalidInput.of("CallStatus", "is not one that is known")
    kind = EventKind.ENDED if status in ENDED else IN_PROGRESS[status]
    if kind is None:
        return ()
    sid = form.text("CallSid")
    if sid is None or not SID.fullmatch(sid):
        raise InvalidInput.of("CallSid", "must be the SID of a call")
    at = _callback_time(form, request.now)
    if kind is not EventKind.ENDED:
        return (_event(request.attempt_id, kind, at, sid),)
    seconds = form.whole("CallDuration", MAX_CALL_SECONDS)
    end = _end(form, status, request.url)
    return (_ended(request.attempt_id, end, at, sid, None if seconds is None else float(seconds)),)


def seen(call: CallHandle, record: CallRecord) -> Seen | LookupFailed:
    """Return all that the record says, up to its status."""
    sid, status = record.sid, record.status
    if not (sid and SID.fullmatch(sid)):
        return LookupFailed("Twilio's record of the call has no SID")
    if status not in (*IN_PROGRESS, *ENDED):
        return LookupFailed("Twilio's record of the call has a status that is not known")
    is_new = status in IN_PROGRESS and IN_PROGRESS[status] is None
    return Seen(sid, () if is_new else _record_events(call, record, sid, status))


def candidates(call: CallHandle, records: Iterable[CallRecord], *, is_early: bool) -> LookupResult:
    """Find the calls that may be the attempt's in the newest page of those between its two numbers.

    Twilio's records have no id of ours: it is one that was made when the attempt was. `is_early`: it may not be among
    the account's calls yet.
    """
    page = list(records)
    outbound = [record for record in page if record.direction == "outbound-api" and record.to == call.to_number]
    dated = [(_moment(record.date_created), record) for record in outbound]
    if any(made is None for made, _ in dated):
        return LookupFailed("Twilio's list of calls has one without its date")
    since, until = call.created_at + EARLIEST, call.created_at + LATEST
    matching = [record for made, record in dated if made is not None and since <= made <= until]
    if len(page) >= PAGE and not any(made is not None and made < since for made, _ in dated):
        return LookupFailed("there are more calls to this number than Twilio lists at once")
    otherwise = LookupFailed("too early: Twilio may not list the call yet") if is_early else Absent()
    calls: list[Seen] = []
    for record in matching:
        sighting = seen(call, record)
        if isinstance(sighting, LookupFailed):
            return sighting
        calls.append(sighting)
    return Candidates(tuple(calls), otherwise) if calls else otherwise


def is_over(sighting: Seen) -> bool:
    return any(event.kind is EventKind.ENDED for event in sighting.events)


def _event(attempt_id: AttemptId, kind: EventKind, at: DateTime, sid: str) -> CallEvent:
    """Make an event whose key is the same from a callback and from a record."""
    return CallEvent.of(attempt_id, kind, at, provider_call_id=sid)


def _ended(attempt_id: AttemptId, end: FinalStatus, at: DateTime, sid: str, talk_seconds: float | None) -> CallEvent:
    outcome, cause, facts = end.result()
    if outcome not in (Outcome.ANSWERED, Outcome.MACHINE):
        talk_seconds = 0.0
    return CallEvent.of(
        attempt_id,
        EventKind.ENDED,
        at,
        outcome=outcome,
        cause=cause,
        talk_seconds=talk_seconds,
        provider_call_id=sid,
        facts=facts,
    )


def _end(form: Form, status: str, url: str) -> FinalStatus:
    return FinalStatus(
        status,
        answered_by=form.text("AnsweredBy"),
        sip_code=form.whole("SipResponseCode", 699),
        error_code=form.whole("ErrorCode", 999_999),
        ring_was_cut=RING_WAS_CUT in urlsplit(url).query,
    )


def _proved(request: WebhookRequest, auth_token: str) -> Form:
    try:
        form = Form.of(request.body)
        is_proved = is_signed(request.url, form, request.headers.get(SIGNATURE, ""), auth_token)
    except ValueError:
        is_proved = False
    if not is_proved:
        raise NotSigned("The signature is not that of this trunk's Twilio account, for this URL and these fields")
    return form


def _callback_time(form: Form, now: DateTime) -> DateTime:
    """Read when it happened. Twilio's times are whole seconds: the callback's number keeps those of one in order."""
    moment = _moment(form.text("Timestamp"))
    return now if moment is None else moment.add(microseconds=form.whole("SequenceNumber", 999) or 0)


def _record_events(call: CallHandle, record: CallRecord, sid: str, status: str) -> Sequence[CallEvent]:
    """A call that was answered has rung. Of one that was not, the record does not say whether it has."""
    begun = _moment(record.start_time) or _moment(record.date_created) or call.created_at
    over = _moment(record.end_time) or _moment(record.date_updated) or begun
    talk = _seconds(record.duration)
    answered = max(begun, over.subtract(seconds=talk or 0)) if status == COMPLETED else begun
    events = [_event(call.attempt_id, EventKind.RINGING, begun, sid)]
    if IN_PROGRESS.get(status) is EventKind.RINGING:
        return events
    events.append(_event(call.attempt_id, EventKind.ANSWERED, answered, sid))
    if status in IN_PROGRESS:
        return events
    end = _ended(call.attempt_id, FinalStatus(status, record.answered_by), over, sid, talk)
    return [*events, end] if status == COMPLETED else [end]


def _moment(text: str | None) -> DateTime | None:
    """Read a time as in RFC 2822; None where there is none, or none that makes sense."""
    try:
        return pendulum.instance(parsedate_to_datetime(text or ""), tz="UTC").in_timezone("UTC")
    except (ValueError, OverflowError):
        return None


def _seconds(text: str | None) -> float | None:
    """Read the duration, a whole number as text."""
    return float(text) if text and text.isascii() and text.isdecimal() and len(text) < 8 else None
