"""What the SIP code or Q.850 cause of an unanswered call means: one table for all networks.

In: the final response to our INVITE (RFC 3261 section 21, and the RFCs named below), or, where no SIP code is known,
the cause of ITU-T Q.850. Out: the outcome, and what it is due to. docs/outcomes.md shows the table; a test compares
the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dialer.domain.call import CallFacts, HungUpBy
from dialer.domain.outcomes import CauseClass, Outcome


@dataclass(frozen=True, slots=True)
class CallEnd:
    """`cause_class`: `contact` where the person or the number is the reason, `infrastructure` where the network is."""

    outcome: Outcome
    cause_class: CauseClass = CauseClass.CONTACT

    @property
    def far_end(self) -> HungUpBy:
        """Who ended the call: the network where it did not reach the person's side, otherwise the callee."""
        is_network = self.cause_class is CauseClass.INFRASTRUCTURE or self.outcome is Outcome.INVALID_NUMBER
        return HungUpBy.NETWORK if is_network else HungUpBy.CALLEE


NETWORK_FAILURE = CallEnd(Outcome.FAILED, CauseClass.INFRASTRUCTURE)

SIP: Mapping[int, CallEnd] = {
    # Redirects are not followed: they lead to numbers that are in no batch. The person has forwarded the phone.
    300: CallEnd(Outcome.FAILED),
    400: NETWORK_FAILURE,
    404: CallEnd(Outcome.INVALID_NUMBER),
    410: CallEnd(Outcome.INVALID_NUMBER),
    # RFC 5079: the callee does not accept anonymous calls.
    433: CallEnd(Outcome.FAILED),
    # "The callee's end system was contacted successfully but the callee is currently unavailable."
    480: CallEnd(Outcome.NO_ANSWER),
    484: CallEnd(Outcome.INVALID_NUMBER),
    485: CallEnd(Outcome.INVALID_NUMBER),
    486: CallEnd(Outcome.BUSY),
    500: NETWORK_FAILURE,
    600: CallEnd(Outcome.BUSY),
    603: CallEnd(Outcome.REJECTED),
    604: CallEnd(Outcome.INVALID_NUMBER),
    606: NETWORK_FAILURE,
    # RFC 8197 (unwanted) and RFC 8688 (rejected by an analytics service on the callee's behalf).
    607: CallEnd(Outcome.REJECTED),
    608: CallEnd(Outcome.REJECTED),
}
AFTER_RINGING: Mapping[int, CallEnd] = {
    # The network stopped the ringing. Without ringing these codes mean that the callee was never reached.
    408: CallEnd(Outcome.NO_ANSWER),
    487: CallEnd(Outcome.NO_ANSWER),
}
FIRST_FINAL, LAST_FINAL = 300, 699

Q850: Mapping[int, CallEnd] = {
    1: CallEnd(Outcome.INVALID_NUMBER),
    2: NETWORK_FAILURE,
    3: NETWORK_FAILURE,
    17: CallEnd(Outcome.BUSY),
    18: CallEnd(Outcome.NO_ANSWER),
    19: CallEnd(Outcome.NO_ANSWER),
    20: CallEnd(Outcome.NO_ANSWER),
    21: CallEnd(Outcome.REJECTED),
    22: CallEnd(Outcome.INVALID_NUMBER),
    25: NETWORK_FAILURE,
    27: NETWORK_FAILURE,
    28: CallEnd(Outcome.INVALID_NUMBER),
    29: NETWORK_FAILURE,
    54: CallEnd(Outcome.REJECTED),
    55: CallEnd(Outcome.REJECTED),
}
# As Asterisk and FreeSWITCH both write them.
Q850_NAMES: Mapping[int, str] = {
    0: "unspecified",
    1: "unallocated_number",
    2: "no_route_transit_net",
    3: "no_route_destination",
    16: "normal_clearing",
    17: "user_busy",
    18: "no_user_response",
    19: "no_answer",
    20: "subscriber_absent",
    21: "call_rejected",
    22: "number_changed",
    23: "redirection_to_new_destination",
    25: "exchange_routing_error",
    26: "non_selected_user_clearing",
    27: "destination_out_of_order",
    28: "invalid_number_format",
    29: "facility_rejected",
    31: "normal_unspecified",
    34: "normal_circuit_congestion",
    38: "network_out_of_order",
    41: "normal_temporary_failure",
    42: "switch_congestion",
    44: "requested_chan_unavail",
    50: "facility_not_subscribed",
    52: "outgoing_call_barred",
    54: "incoming_call_barred",
    57: "bearercapability_notauth",
    58: "bearercapability_notavail",
    63: "service_unavailable",
    65: "bearercapability_notimpl",
    66: "chan_not_implemented",
    69: "facility_not_implemented",
    79: "service_not_implemented",
    88: "incompatible_destination",
    96: "mandatory_ie_missing",
    102: "recovery_on_timer_expire",
    111: "protocol_error",
    127: "interworking",
}
# Classes 2 to 7 of Q.850: no resource, no service, not implemented, invalid message, protocol error, interworking.
FIRST_OF_NETWORK, LAST_CAUSE = 32, 127


def of_sip(code: int, *, has_rung: bool) -> CallEnd:
    """Say what a final response from 300 to 699 means. One that is not listed is read as the x00 of its class.

    RFC 3261 section 8.1.3.2 asks for that. `has_rung`: the network had reported ringing or early media.
    """
    if has_rung and code in AFTER_RINGING:
        return AFTER_RINGING[code]
    return SIP.get(code) or SIP[code // 100 * 100]


def of_q850(cause: int) -> CallEnd:
    """Say what a cause of Q.850 means. Used only where no SIP code is known."""
    if cause in Q850:
        return Q850[cause]
    is_network = FIRST_OF_NETWORK <= cause <= LAST_CAUSE
    return NETWORK_FAILURE if is_network else CallEnd(Outcome.FAILED)


def final_code(code: int | None) -> int | None:
    """Return the code if it is that of a final response that ends a call."""
    return code if code is not None and FIRST_FINAL <= code <= LAST_FINAL else None


def cause_class(facts: CallFacts, *, has_rung: bool) -> CauseClass:
    """Say what a call that failed is due to; `contact` where the network's code is not known."""
    if facts.sip_code is not None:
        return of_sip(facts.sip_code, has_rung=has_rung).cause_class
    return of_q850(facts.q850_cause).cause_class if facts.q850_cause is not None else CauseClass.CONTACT
