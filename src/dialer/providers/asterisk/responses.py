"""What ARI's answers mean: placements, sightings, and sentences for people.

In: replies. Out: what they surely say. A call is refused only where Asterisk has surely not made a channel.
"""

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.providers.asterisk.ari import AriResponse
from dialer.providers.asterisk.moments import moment
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
# Asterisk itself never says it: a proxy before it does, which limits how many requests it takes.
TOO_MANY_REQUESTS = 429
# What a proxy says that has waited for Asterisk: the request may have arrived.
WAITED_IN_VAIN = 408
# Asterisk's own words for: there is no channel, and there will be none. Those of a proxy say nothing of that kind.
NEVER_MADE = {
    (500, "Allocation failed"): RefusalCause.ALLOCATION_FAILED,
    (503, "Asterisk not booted"): RefusalCause.NOT_BOOTED,
}


def event_key(attempt_id: AttemptId, kind: EventKind) -> str:
    return f"{attempt_id}:{kind}"


def placement(reply: AriResponse | HttpFailure, attempt_id: AttemptId, now: DateTime) -> Placement | None:
    """Say what came of an originate. None: Asterisk must be asked what that conflict is."""
    match reply:
        case HttpFailure():
            return reply.placement()
        case AriResponse(200, {"id": str(found)}) if found == str(attempt_id):
            return Placed(found)
        case AriResponse(status) if status == CONFLICT:
            return None
        case AriResponse(status) if status == TOO_MANY_REQUESTS:
            return Refused(RefusalCause.RATE_LIMITED, CauseClass.RATE, retry_after(reply.retry_after, now))
        case AriResponse(status) if 300 <= status < 400:
            return Refused(RefusalCause.REDIRECTED, CauseClass.INFRASTRUCTURE)
        case AriResponse(status) if 400 <= status < 500 and status != WAITED_IN_VAIN:
            return Refused(CAUSES.get(status) or _word(reply.message, status), CauseClass.INFRASTRUCTURE)
        case AriResponse(status) if (status, reply.message) in NEVER_MADE:
            return Refused(NEVER_MADE[status, reply.message], CauseClass.INFRASTRUCTURE)
        case _:
            return Unclear(sentence(reply))


def placement_after_conflict(sighting: LookupResult) -> Placement:
    """Say what came of an originate that was answered with a conflict.

    Asterisk gives the same 409 for an id that is in use and for an endpoint that does not exist. Where it has the
    channel, it is the call that was asked for, since the id is ours alone. Where it has none, a call may have been over
    before it was looked for.
    """
    match sighting:
        case Seen(call_id):
            return Placed(call_id)
        case LookupFailed(reason):
            return Unclear(f"conflict, and {reason}")
        case _:
            return Unclear("conflict: the endpoint does not exist, or the call is over already")


def sighting(reply: AriResponse | HttpFailure, attempt_id: AttemptId, now: DateTime) -> LookupResult:
    """Say what Asterisk knows of the channel: as far as it has come, or that it has none. It keeps no record."""
    match reply:
        case AriResponse(200, {"id": str(found), "state": str(state)}) if found == str(attempt_id):
            return Seen(found, tuple(_events(attempt_id, state, moment(reply.body.get("creationtime")), now)))
        case AriResponse() if reply.is_no_channel:
            return NotFoundNow()
        case _:
            return LookupFailed(sentence(reply))


def uptime(reply: AriResponse | HttpFailure) -> float | None:
    """Return for how many seconds Asterisk has been up, by its own clock; None: it does not say so."""
    match reply:
        case AriResponse(200, {"status": {"startup_time": started}}, _, str(date)):
            since = moment(started)
            try:
                return None if since is None else (parsedate_to_datetime(date) - since).total_seconds()
            except (TypeError, ValueError, OverflowError):
                return None
        case _:
            return None


def sentence(reply: AriResponse | HttpFailure) -> str:
    """Say for people why this reply is not what was hoped for."""
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
    """Tell what a channel's state tells. It rings from about its creation; since when it is up, nobody says."""

    def event(kind: EventKind, at: DateTime) -> CallEvent:
        return CallEvent(event_key(attempt_id, kind), attempt_id, kind, at, provider_call_id=str(attempt_id))

    if state in RINGING or state == UP:
        yield event(EventKind.RINGING, created_at or now)
    if state == UP:
        yield event(EventKind.ANSWERED, now)


def _word(message: str, status: int) -> str:
    return re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")[:60] or f"http_{status}"
