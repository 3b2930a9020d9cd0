"""What states and holds are called on the pages. The codes are those of the API, and stand beside the words."""

from collections.abc import Mapping
from typing import Any

from dialer.domain.gates.codes import KINDS, Advice, GateCode
from dialer.domain.gates.messages import PHRASES
from dialer.domain.outcomes import Outcome
from dialer.domain.states import BatchStatus, ContactStatus
from dialer.service.explain import MOST_BY_REASON as MOST_BY_REASON
from dialer.service.explain import NO_REASON, NOT_OF_A_CONTACT

BATCH_STATUSES = list(BatchStatus)
CONTACT_STATUSES = list(ContactStatus)
OUTCOMES = list(Outcome)
# The counts of a batch that add up to its total, in the order in which a contact passes them.
COUNTS = ("pending", "waiting", "dialing", "completed", "failed", "skipped", "cancelled")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FINAL_COUNTS = ("completed", "failed", "skipped", "cancelled")

COUNT_MEANINGS = {
    "pending": "may be called now",
    "waiting": "wait for their retry",
    "dialing": "are being called",
    "completed": "were reached",
    "failed": "were not reached, and no attempt is left",
    "skipped": "are not called: suppressed, expired or never callable",
    "cancelled": "were not called before the batch ended",
}
# Why a batch is held (`held_by`), as a sentence.
_HOLDS = {
    "window": "It is outside the calling hours",
    "contact_timezone": "It is outside the calling hours of every contact that is left",
    "daily_cap": "The calls of today are used up (max_calls_per_day)",
    "slots": "All calls that it may have at once are in progress (max_concurrent_calls)",
    "retry": "Every contact that is left waits for its retry",
    "calls": "Every contact that is left is being called",
    "number": "No outbound number has a free call (max_concurrent_calls of the numbers)",
    "number_day": "Every outbound number has used up its calls of today (max_calls_per_day of the numbers)",
    "trunk": "The trunk has no free call (max_concurrent_calls of the trunk)",
    "rate": "The trunk takes no more calls per second (calls_per_second of the trunk)",
    "leases": "Redis is being rebuilt from the database; calls go on when that is done",
    "expired": "The batch has expired (expires_at)",
    "agent_inactive": "The agent is not active: activate it",
    "agent_failing": "Answered calls end at once, so the agent is held: check what answers its calls",
    "agent_not_permitted": "The trunk does not permit the agent's destination: change the agent or the trunk",
    "window_unreadable": "The time zone is not known to this system: change it, or update the tz data",
    "window_never_opens": "The calling hours never open",
    "no_outbound_number": "There is no outbound number",
    "no_active_number": "No outbound number is active: activate one",
    "trunk_failing": "The trunk fails: calls are tried now and then until one succeeds",
    "trunk_unheard": "No listener receives the trunk's call events: is a listener running?",
}
# Limits that delay calls, in a forecast.
BINDING = {
    "batch_slots_full": "Calls at once of the batch",
    "trunk_slots_full": "Calls at once of the trunk or the numbers",
    "trunk_rate": "Calls per second of the trunk",
    "daily_cap": "Calls per day of the batch",
    "number_day": "Calls per day of the numbers",
    "outside_batch_hours": "Calling hours",
    "outside_contact_hours": "Calling hours in the zones of the contacts",
    "retry_not_due": "Waiting for retries",
}
SOURCES = {"given": "given", "history": "from earlier calls", "prior": "no calls yet, so a general assumption"}
# What a batch needs before it can be started: the name of each, the code of the problem, and the page that helps.
READINESS = (
    ("Contacts", "batch_has_no_contacts", ""),
    ("Calling hours", "window_never_opens", ""),
    ("Outbound numbers", "no_outbound_number", "/console/system/numbers"),
    ("Agent", "agent_not_ready", "/console/system/agents"),
    ("Trunk", "provider_error", "/console/system"),
)
VERDICTS = {
    "callable": "It would be called now",
    "blocked": "It is not called yet",
    "never": "It is not called, unless somebody changes something",
    "in_call": "It is being called now",
    "unresolved": "It is not known whether its last call was placed, so it is not called again",
}
# Holds that pass within seconds while calls go on.
_BUSY = ("slots", "calls", "rate", "number", "trunk")
_ADVICE = {
    Advice.WAIT: "passes by itself",
    Advice.CHANGE: "somebody has to change something",
    Advice.ESCALATE: "somebody who runs this installation has to look",
}
# The reasons by which contacts can be listed, with their words.
REASONS = {NO_REASON: "nothing: they can be called"} | {
    code: PHRASES[code] for code in GateCode if code not in NOT_OF_A_CONTACT
}
_STATUSES = {
    "draft": "It is a draft: start it when its contacts are loaded",
    "scheduled": "It starts at its scheduled time",
    "paused": "It is paused: resume it to call on",
    "completed": "Every contact is final",
    "cancelled": "It was cancelled",
    "failed": "It failed",
    "deleted": "It was deleted",
}


def hold(batch: Mapping[str, Any]) -> str:
    """Say why a batch starts no calls now; empty: nothing holds it."""
    if batch["status"] != BatchStatus.ACTIVE:
        reason = batch["status_reason"]
        status = _STATUSES[batch["status"]]
        return f"{status.partition(':')[0]}: {label(reason)}" if reason else status
    held_by = batch["held_by"]
    return _HOLDS.get(held_by, label(held_by)) if held_by else ""


def waits(batch: Mapping[str, Any]) -> bool:
    """Return whether a batch that is neither over nor a draft starts no call now, or has none in progress."""
    if batch["status"] == BatchStatus.ACTIVE:
        return not batch["calls"]["in_progress"] or batch["held_by"] not in (None, *_BUSY)
    return batch["status"] in (BatchStatus.SCHEDULED, BatchStatus.PAUSED)


def reason(code: str) -> str:
    """Say why so many contacts are not called, after their number."""
    return PHRASES[GateCode(code)]


def advice(code: str) -> str:
    """Say what can be done about a reason; empty: there is nothing to do."""
    return "" if code == GateCode.CONTACT_DONE else _ADVICE[KINDS[GateCode(code)].advice]


def label(code: str) -> str:
    """Write a code of the API as words."""
    return code.replace("_", " ")
