"""Translates FreeSWITCH's hang-up causes.

In: the name of a cause, and the other fields of an event. Out: the outcome of a call and the facts that the network
reported, or the refusal of a call that was never made. The names are those of Q.850 and FreeSWITCH's own (`CAUSE_CHART`
in its switch_channel.c). If the SIP code is known, it alone decides (dialer.domain.sip).
"""

from collections.abc import Mapping

from dialer.domain import sip
from dialer.domain.call import CallFacts, HungUpBy
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.providers.base import Refused

# FreeSWITCH's own causes, which are not in Q.850.
_OUTCOMES = {
    "BUSY_EVERYWHERE": Outcome.BUSY,
    "NO_PICKUP": Outcome.NO_ANSWER,
    "ALLOTTED_TIMEOUT": Outcome.NO_ANSWER,
    "DECLINE": Outcome.REJECTED,
    "UNWANTED": Outcome.REJECTED,
    "REJECT_ALL": Outcome.REJECTED,
    "DOES_NOT_EXIST_ANYWHERE": Outcome.INVALID_NUMBER,
    # It did not ring before the end of the calling window: our own timeout.
    "PROGRESS_TIMEOUT": Outcome.NO_ANSWER,
}
# Someone hung up before the answer: our side or the far end.
_HUNG_UP = frozenset({"NORMAL_CLEARING", "ORIGINATOR_CANCEL", "MANAGER_REQUEST"})
_Q850 = {name.upper(): cause for cause, name in sip.Q850_NAMES.items()}

# Causes with which an originate fails before a channel is made: nothing has left FreeSWITCH then.
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


def outcome(cause: str, fields: Mapping[str, str], *, has_rung: bool) -> Outcome:
    """Return the outcome of a call that was not answered."""
    known = facts(cause, fields, has_rung=has_rung)
    if known.sip_code is not None:
        return sip.of_sip(known.sip_code, has_rung=has_rung).outcome
    if cause in _HUNG_UP:
        return Outcome.NO_ANSWER if known.hung_up_by is HungUpBy.CALLEE else Outcome.CANCELLED
    if cause in _Q850:
        return sip.of_q850(_Q850[cause]).outcome
    return _OUTCOMES.get(cause, Outcome.FAILED)


def facts(cause: str, fields: Mapping[str, str], *, has_rung: bool, was_answered: bool = False) -> CallFacts:
    """Return the facts that the network reported in the event of an end."""
    disposition = fields.get("variable_sip_hangup_disposition", "")
    # After our own CANCEL, sofia itself sets the code 487.
    is_ours = disposition.startswith("send_")
    code = None if is_ours or was_answered else sip.final_code(_code(fields))
    by = HungUpBy.CALLER if is_ours else _far_end(code, has_rung) if code or disposition else None
    q850 = fields.get("variable_hangup_cause_q850", "")
    number = int(q850) if q850.isascii() and q850.isdecimal() and len(q850) < 4 else _Q850.get(cause)
    return CallFacts(code, number, fields.get("variable_sip_call_id") or None, by)


def _code(fields: Mapping[str, str]) -> int | None:
    text = fields.get("variable_sip_invite_failure_status") or fields.get("variable_sip_term_status") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else None


def _far_end(code: int | None, has_rung: bool) -> HungUpBy:
    return HungUpBy.CALLEE if code is None else sip.of_sip(code, has_rung=has_rung).far_end


def refusal(cause: str) -> Refused | None:
    """Return the refusal of an originate that failed without a channel. None: there was a call all the same."""
    cause_class = _REFUSALS.get(cause)
    return Refused(cause.lower(), cause_class) if cause_class else None
