"""What ARI's responses mean: placements, look-up results, and error texts for operators.

In: replies. Out: only what is certain. A call is `Refused` only where Asterisk surely has not made a channel.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.providers.asterisk.ari import AriResponse
from dialer.providers.base import (
    LookupFailed,
    LookupResult,
    NotFoundNow,
    Placed,
    Placement,
    Refused,
    Seen,
    Unclear,
)
from dialer.providers.http_client import HttpFailure, retry_after

RINGING = frozenset({"Ring", "Ringing"})
UP = "Up"

CAUSES = {401: RefusalCause.WRONG_CREDENTIALS, 403: RefusalCause.PERMISSION_DENIED, 404: RefusalCause.WRONG_URL}
CONFLICT = 409
# Never from Asterisk itself: from a proxy in front of it that limits requests.
TOO_MANY_REQUESTS = 429
# From a proxy that has waited for Asterisk: the request may have arrived.
PROXY_TIMEOUT = 408
# Asterisk's own messages for "there is no channel and there will be none". A proxy's 500 or 503 does not say that.
NEVER_MADE = {
    (500, "Allocation failed"): RefusalCause.ALLOCATION_FAILED,
    (503, "Asterisk not booted"): RefusalCause.NOT_BOOTED,
}


def placement(reply: AriResponse | HttpFailure, attempt_id: AttemptId, now: DateTime) -> Placement | None:
    """Read the reply to an originate. None: it is a conflict, and a look-up must say what it means."""
    match reply:
        case HttpFailure():
            return reply.placement()
        case AriResponse(200, {"id": str(channel_id)}) if channel_id == str(attempt_id):
            return Placed(channel_id)
        case AriResponse(status) if status == CONFLICT:
            return None
        case AriResponse(status) if status == TOO_MANY_REQUESTS:
            return Refused(RefusalCause.RATE_LIMITED, CauseClass.RATE, retry_after(reply.retry_after, now))
        case AriResponse(status) if 300 <= status < 400:
            return Refused(RefusalCause.REDIRECTED, CauseClass.INFRASTRUCTURE)
        case AriResponse(status) if 400 <= status < 500 and status != PROXY_TIMEOUT:
            return Refused(CAUSES.get(status) or _word(reply.message, status), CauseClass.INFRASTRUCTURE)
        case AriResponse(status) if (status, reply.message) in NEVER_MADE:
            return Refused(NEVER_MADE[status, reply.message], CauseClass.INFRASTRUCTURE)
        case _:
            return Unclear(error_text(reply))


def placement_after_conflict(lookup: LookupResult) -> Placement:
    """Decide what became of an originate that was answered with a conflict, from a look-up of its channel.

    Asterisk answers the same 409 for an id in use and for an endpoint that does not exist. If the channel exists, it is
    the requested call, because only we use this id. If not, the call may have ended before the look-up.
    """
    match lookup:
        case Seen(call_id):
            return Placed(call_id)
        case LookupFailed(reason):
            return Unclear(f"conflict, and {reason}")
        case _:
            return Unclear("conflict: the endpoint does not exist, or the call is over already")


def lookup_result(reply: AriResponse | HttpFailure, attempt_id: AttemptId, now: DateTime) -> LookupResult:
    """Read the reply to a look-up: the channel's progress, or that there is no channel. Asterisk keeps no records."""
    match reply:
        case AriResponse(200, {"id": str(channel_id), "state": str(state)}) if channel_id == str(attempt_id):
            created_at = parse_time(reply.body.get("creationtime"))
            return Seen(channel_id, tuple(_events(attempt_id, state, created_at, now)))
        case AriResponse() if reply.is_no_channel:
            return NotFoundNow()
        case _:
            return LookupFailed(error_text(reply))


def uptime(reply: AriResponse | HttpFailure) -> float | None:
    """Return for how many seconds Asterisk has been up, by its own clock; None: not known."""
    match reply:
        case AriResponse(200, {"status": {"startup_time": startup_time}}, _, str(date)):
            started_at = parse_time(startup_time)
            try:
                return None if started_at is None else (parsedate_to_datetime(date) - started_at).total_seconds()
            except (TypeError, ValueError, OverflowError):
                return None
        case _:
            return None


def error_text(reply: AriResponse | HttpFailure) -> str:
    """Describe for an operator what is wrong with a reply."""
    match reply:
        case HttpFailure(_, reason):
            return f"Asterisk does not answer: {reason}"
        case AriResponse(401):
            return "Asterisk refuses the username or the password (ari.conf)"
        case AriResponse(403):
            return "Asterisk does not let this user write (read_only in ari.conf)"
        case AriResponse(404) if not reply.is_no_channel:
            return "ARI is not there: the URL is wrong, or http.conf or ari.conf does not enable it"
        case AriResponse(status) if reply.message:
            return f"Asterisk answers {status}: {reply.message}"
        case AriResponse(status):
            return f"what answers does not speak ARI (status {status})"


def _events(attempt_id: AttemptId, state: str, created_at: DateTime | None, now: DateTime) -> Iterator[CallEvent]:
    """Return the events that a channel's state implies.

    It rings from about its creation; Asterisk does not say since when it is up.
    """

    def event(kind: EventKind, at: DateTime) -> CallEvent:
        return CallEvent.of(attempt_id, kind, at, provider_call_id=str(attempt_id))

    if state in RINGING or state == UP:
        yield event(EventKind.RINGING, created_at or now)
    if state == UP:
        yield event(EventKind.ANSWERED, now)


def _word(message: str, status: int) -> str:
    return re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")[:60] or f"http_{status}"


def parse_time(text: Any) -> DateTime | None:
    """Read a time as Asterisk writes it, as in 2026-11-23T12:35:57.306+0000; None: not a time with an offset."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else pendulum.instance(time).in_timezone("UTC")
    except (TypeError, ValueError, OverflowError):
        return None
