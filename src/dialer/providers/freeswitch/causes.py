"""FreeSWITCH's hang-up causes, in our words.

In: the name of a cause, and what else an event says of an end. Out: the outcome of a call, or whose fault it is that
there is none. The names are those of Q.850 and FreeSWITCH's own (`CAUSE_CHART` in its switch_channel.c); what SIP
statuses become of which cause is in `sofia_glue_sip_cause_to_freeswitch`.
"""

from collections.abc import Mapping

from dialer.domain.outcomes import CauseClass, Outcome
from dialer.providers.base import Refused

_OUTCOMES = {
    "USER_BUSY": Outcome.BUSY,
    "BUSY_EVERYWHERE": Outcome.BUSY,
    "NO_ANSWER": Outcome.NO_ANSWER,
    "NO_USER_RESPONSE": Outcome.NO_ANSWER,
    "NO_PICKUP": Outcome.NO_ANSWER,
    "ALLOTTED_TIMEOUT": Outcome.NO_ANSWER,
    "SUBSCRIBER_ABSENT": Outcome.NO_ANSWER,
    "CALL_REJECTED": Outcome.REJECTED,
    "DECLINE": Outcome.REJECTED,
    "INCOMING_CALL_BARRED": Outcome.REJECTED,
    "UNWANTED": Outcome.REJECTED,
    "REJECT_ALL": Outcome.REJECTED,
    "UNALLOCATED_NUMBER": Outcome.INVALID_NUMBER,
    "INVALID_NUMBER_FORMAT": Outcome.INVALID_NUMBER,
    "NUMBER_CHANGED": Outcome.INVALID_NUMBER,
    "DOES_NOT_EXIST_ANYWHERE": Outcome.INVALID_NUMBER,
    # It did not ring before `ring_by`, as we had asked.
    "PROGRESS_TIMEOUT": Outcome.CANCELLED,
}
# Somebody has hung up before there was an answer: this side, or the other one.
_HUNG_UP = frozenset({"NORMAL_CLEARING", "ORIGINATOR_CANCEL", "MANAGER_REQUEST"})
# With these the trunk's own provider refuses the trunk, not the callee the call, though both are CALL_REJECTED.
_TRUNK_REFUSED = frozenset({"401", "402", "403", "407"})
_EXISTS_NOWHERE = "604"

# Why an originate can fail without having made a channel: nothing has left FreeSWITCH then.
_REFUSALS = {
    "UNALLOCATED_NUMBER": CauseClass.CONTACT,
    "INVALID_NUMBER_FORMAT": CauseClass.CONTACT,
    "OUTGOING_CALL_BARRED": CauseClass.POLICY,
} | dict.fromkeys(
    (
        "INVALID_GATEWAY",
        "GATEWAY_DOWN",
        "INVALID_PROFILE",
        "INVALID_URL",
        "CHAN_NOT_IMPLEMENTED",
        "CHANNEL_UNACCEPTABLE",
        "DESTINATION_OUT_OF_ORDER",
        "FACILITY_NOT_SUBSCRIBED",
        "MANDATORY_IE_MISSING",
        "NETWORK_OUT_OF_ORDER",
        "NO_ROUTE_DESTINATION",
        "NORMAL_CIRCUIT_CONGESTION",
        "NORMAL_TEMPORARY_FAILURE",
        "PROTOCOL_ERROR",
        "REQUESTED_CHAN_UNAVAIL",
        "SERVICE_NOT_IMPLEMENTED",
        "SERVICE_UNAVAILABLE",
        "SWITCH_CONGESTION",
        "SYSTEM_SHUTDOWN",
        "USER_NOT_REGISTERED",
    ),
    CauseClass.INFRASTRUCTURE,
)


def outcome(cause: str, fields: Mapping[str, str]) -> Outcome:
    """Say what an unanswered call came to."""
    status = fields.get("variable_sip_invite_failure_status") or fields.get("variable_sip_term_status")
    if cause in _HUNG_UP:
        by_far_end = fields.get("variable_sip_hangup_disposition", "").startswith("recv_")
        return Outcome.NO_ANSWER if by_far_end else Outcome.CANCELLED
    if cause == "CALL_REJECTED" and status in _TRUNK_REFUSED:
        return Outcome.FAILED
    if cause == "NO_ROUTE_DESTINATION" and status == _EXISTS_NOWHERE:
        return Outcome.INVALID_NUMBER
    return _OUTCOMES.get(cause, Outcome.FAILED)


def refusal(cause: str) -> Refused | None:
    """Say why there is no call, when its job has failed and no channel was seen. None: there was one all the same."""
    found = _REFUSALS.get(cause)
    return Refused(cause.lower(), found) if found else None
