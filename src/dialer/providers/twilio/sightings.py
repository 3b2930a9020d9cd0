"""What Twilio's records say of a call, as our events; and which record is that of an attempt. Asks nobody."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.providers.base import Absent, CallHandle, Candidates, LookupFailed, LookupResult, Seen
from dialer.providers.twilio.causes import ENDED, Ending
from dialer.providers.twilio.events import SID, ended, event

PAGE = 50
# Twilio's clock and ours may differ, and its times are whole seconds.
EARLIEST = timedelta(seconds=-10)
LATEST = timedelta(minutes=2)

Record = Any
"""A `CallInstance` of Twilio's library, which brings no types; any field may be None or no time at all."""


def seen(call: CallHandle, record: Record) -> Seen | LookupFailed:
    """Tell all that the record says, up to its status."""
    sid, status = record.sid, record.status
    if not isinstance(sid, str) or not SID.fullmatch(sid):
        return LookupFailed("Twilio's record of the call has no SID")
    if status in ("queued", "initiated"):
        return Seen(sid, ())
    if status not in ("ringing", "in-progress", *ENDED):
        return LookupFailed("Twilio's record of the call has a status that is not known")
    return Seen(sid, _events(call, record))


def found(call: CallHandle, records: Iterable[Record], *, is_early: bool) -> LookupResult:
    """Find the calls that may be the attempt's in the newest page of those between its two numbers.

    Twilio's records bear no id of ours: it is one that was made when the attempt was. `is_early`: it may not be among
    the account's calls yet.
    """
    page = list(records)
    outbound = [one for one in page if one.direction == "outbound-api" and one.to == call.to_number]
    times = [(_moment(one.date_created), one) for one in outbound]
    if any(made is None for made, _ in times):
        return LookupFailed("Twilio's list of calls has one without its date")
    since, until = call.created_at + EARLIEST, call.created_at + LATEST
    matching = [one for made, one in times if made is not None and since <= made <= until]
    if len(page) >= PAGE and not any(made is not None and made < since for made, _ in times):
        return LookupFailed("there are more calls to this number than Twilio lists at once")
    otherwise = LookupFailed("too early: Twilio may not list the call yet") if is_early else Absent()
    calls: list[Seen] = []
    for record in matching:
        told = seen(call, record)
        if isinstance(told, LookupFailed):
            return told
        calls.append(told)
    return Candidates(tuple(calls), otherwise) if calls else otherwise


def is_over(sighting: Seen) -> bool:
    return any(one.kind is EventKind.ENDED for one in sighting.events)


def _events(call: CallHandle, record: Record) -> Sequence[CallEvent]:
    """A call that was answered has rung. Of one that was not, the record does not say whether it has."""
    begun = _moment(record.start_time) or _moment(record.date_created) or call.created_at
    over = _moment(record.end_time) or _moment(record.date_updated) or begun
    talk = _seconds(record.duration)
    answered = max(begun, over.subtract(seconds=talk or 0)) if record.status == "completed" else begun
    events = [event(call.attempt_id, EventKind.RINGING, begun, record.sid)]
    if record.status == "ringing":
        return events
    events.append(event(call.attempt_id, EventKind.ANSWERED, answered, record.sid))
    if record.status == "in-progress":
        return events
    answered_by = record.answered_by if isinstance(record.answered_by, str) else None
    end = ended(call.attempt_id, Ending(record.status, answered_by), over, record.sid, talk)
    return [*events, end] if record.status == "completed" else [end]


def _moment(value: object) -> DateTime | None:
    return pendulum.instance(value).in_timezone("UTC") if isinstance(value, datetime) else None


def _seconds(value: object) -> float | None:
    """Read the duration, a whole number as text."""
    return float(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 8 else None
