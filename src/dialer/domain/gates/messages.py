"""One sentence for a gate that does not pass, and the line that sums up a batch. Times are local, with their zone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pendulum import DateTime

from dialer.domain.gates.codes import KINDS, Blocked, GateCode
from dialer.domain.window import LAST_YEAR

HOURS = {GateCode.EXCLUDED_DATE, GateCode.OUTSIDE_BATCH_HOURS, GateCode.OUTSIDE_CONTACT_HOURS}
# What is said of so many contacts.
PHRASES: Mapping[GateCode, str] = {
    GateCode.ATTEMPT_UNRESOLVED: "with a call of which it is not known whether it was placed",
    GateCode.IN_CALL: "in a call",
    GateCode.CONTACT_DONE: "done",
    GateCode.BATCH_OVER: "not called because the batch is over",
    GateCode.NUMBER_INVALID: "with a number that does not exist",
    GateCode.NUMBER_FORBIDDEN: "with a number that may not be called",
    GateCode.SUPPRESSED: "suppressed",
    GateCode.EXPIRED: "expired",
    GateCode.ATTEMPTS_USED: "without an attempt left",
    GateCode.NO_NUMBER: "without an outbound number",
    GateCode.WINDOW_NEVER_OPENS: "with a window that never opens",
    GateCode.BATCH_DRAFT: "wait for the batch to be scheduled",
    GateCode.BATCH_SCHEDULED: "wait for the start of the batch",
    GateCode.BATCH_PAUSED: "wait for the batch to be resumed",
    GateCode.NOT_BEFORE: "wait for a time of their own",
    GateCode.CALLBACK_AT: "wait for a callback",
    GateCode.RETRY_NOT_DUE: "wait for a retry",
    GateCode.PERSON_LIMIT: "wait for a limit per person",
    GateCode.EXCLUDED_DATE: "wait for the end of an excluded date",
    GateCode.OUTSIDE_BATCH_HOURS: "outside the hours of the batch",
    GateCode.OUTSIDE_CONTACT_HOURS: "outside their hours",
    GateCode.NO_ACTIVE_NUMBER: "wait for an active outbound number",
    GateCode.AGENT_NOT_PERMITTED: "wait for a trunk that permits the agent",
    GateCode.AGENT_FAILING: "wait for an agent that is failing",
    GateCode.TRUNK_UNHEARD: "wait for a listener",
    GateCode.BREAKER_OPEN: "wait for a trunk that is failing",
    GateCode.AGENT_INACTIVE: "wait for an agent that is inactive",
    GateCode.WINDOW_UNREADABLE: "with a window that this system cannot read",
    GateCode.DAILY_CAP: "wait for the daily cap",
    GateCode.BATCH_SLOTS_FULL: "wait for a slot of the batch",
    GateCode.PERSON_IN_CALL: "wait for a call of another batch to the same person",
    GateCode.REDIS_AWAY: "wait for Redis",
    GateCode.REDIS_REBUILDING: "wait for Redis to be rebuilt",
    GateCode.NUMBER_ROOM: "wait for an outbound number",
    GateCode.NUMBER_DAY: "wait for the daily cap of the outbound numbers",
    GateCode.TRUNK_SLOTS_FULL: "wait for a slot of a trunk",
    GateCode.TRUNK_RATE: "wait for the rate of a trunk",
    GateCode.DISPATCH_FAILING: "wait because the batch could not be dispatched",
    GateCode.DISPATCHER_LATE: "wait for a worker",
    GateCode.NO_WORKER: "wait for a worker",
    GateCode.IMPORT_RUNNING: "wait for an import",
}


def message_of(blocked: Blocked, timezone: str, now: DateTime) -> str:
    """Say in one sentence what does not pass, and what is known of it. `timezone`: of the batch."""
    details = "; ".join(_details(blocked, timezone, now))
    meaning = KINDS[blocked.code].meaning.removesuffix(".")
    return f"{meaning}: {details}" if details else meaning


_TEXTS = {
    "by": "changed by {}",
    "reason": "{}",
    "status_reason": "{}",
    "outcome": "outcome {}",
    "used": "{:,} used",
    "attempts": "{:,} attempts made",
    "limit": "limit {:,}",
    "ahead": "{:,} contacts are called before",
}
_TIMES = {
    "since": "since {}",
    "looked_up_at": "last looked up at {}",
    "network_is_asked_at": "the network is asked again at {}",
    "expires_at": "at {}",
}


def _details(blocked: Blocked, timezone: str, now: DateTime) -> Iterator[str]:
    facts = blocked.facts
    for name, text in _TIMES.items():
        if at := facts.get(name):
            yield text.format(clock(at, timezone, now))
    for name, text in _TEXTS.items():
        if facts.get(name):
            yield text.format(facts[name])
    if trunks := facts.get("trunks"):
        yield f"trunk {', '.join(trunks)}"
    if blocked.not_before:
        word = "opens" if blocked.code in HOURS else "not before"
        yield f"{word} {clock(blocked.not_before, zone_of(facts, timezone), now)}"


def phrase(code: GateCode, count: int, next_at: DateTime | None, timezone: str, now: DateTime) -> str:
    """Say of so many contacts why they are not called, and when the first will be."""
    first = "first opens" if code in HOURS else "first"
    when = f" ({first} {clock(next_at, timezone, now)})" if next_at else ""
    return f"{count:,} {PHRASES[code]}{when}"


def summary(callable_: int, total: int, phrases: Sequence[str]) -> str:
    """Sum up a batch in one line: how many of its contacts can be called now, and why the others are not."""
    if not total:
        return "The batch has no contacts"
    line = f"{callable_:,} of {total:,} contacts can be called now"
    return f"{line}: {', '.join(phrases)}" if phrases else line


def zone_of(facts: Mapping[str, Any], timezone: str) -> str:
    """Return the zone in which a time of a gate is shown: the contact's own if it has one, else the batch's."""
    zones = facts.get("timezones", [])
    return str(zones[0]) if len(zones) == 1 else timezone


def clock(at: DateTime, timezone: str, now: DateTime) -> str:
    """Write a time as 14:00 Europe/Paris, with the date unless it is today there."""
    if at.year > LAST_YEAR:
        timezone = "UTC"
    local = at.in_timezone(timezone)
    is_today = local.date() == now.in_timezone(timezone).date()
    return f"{local:%H:%M}{_seconds(local)} {timezone}" if is_today else f"{local:%Y-%m-%d %H:%M} {timezone}"


def _seconds(local: DateTime) -> str:
    return f":{local.second:02}" if local.second else ""
