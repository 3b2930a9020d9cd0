"""How a call ended, from all that was heard of it: no single message tells.

In: what was heard of one call, and the cause of its end. Out: its outcome and the name of its cause (ITU-T Q.850).
"""

from dataclasses import dataclass, field

from pendulum import DateTime

from dialer.domain.events import CallEvent, EventKind
from dialer.domain.outcomes import Outcome
from dialer.domain.patience import RING_SECONDS

CAUSES = {
    0: "unspecified",
    1: "unallocated_number",
    3: "no_route_destination",
    16: "normal_clearing",
    17: "user_busy",
    18: "no_user_response",
    19: "no_answer",
    20: "subscriber_absent",
    21: "call_rejected",
    22: "number_changed",
    26: "non_selected_user_clearing",
    27: "destination_out_of_order",
    28: "invalid_number_format",
    29: "facility_rejected",
    31: "normal_unspecified",
    34: "normal_circuit_congestion",
    38: "network_out_of_order",
    41: "normal_temporary_failure",
    42: "switch_congestion",
    58: "bearercapability_notavail",
    102: "recovery_on_timer_expire",
    127: "interworking",
}
NO_ANSWER = 19
REJECTED = 21
BY_CAUSE = {
    1: Outcome.INVALID_NUMBER,
    17: Outcome.BUSY,
    18: Outcome.NO_ANSWER,
    NO_ANSWER: Outcome.NO_ANSWER,
    20: Outcome.NO_ANSWER,
    REJECTED: Outcome.REJECTED,
    22: Outcome.INVALID_NUMBER,
    28: Outcome.INVALID_NUMBER,
}
# Asterisk's cause is 21 for these too, though it is the trunk that the provider does not accept, and not the call.
TRUNK_REFUSED = frozenset({401, 403, 407})
BY_DIAL_STATUS = {
    "BUSY": (Outcome.BUSY, "user_busy"),
    "NOANSWER": (Outcome.NO_ANSWER, "no_answer"),
    "CANCEL": (Outcome.CANCELLED, "originator_cancel"),
    "CONGESTION": (Outcome.FAILED, "normal_circuit_congestion"),
    "CHANUNAVAIL": (Outcome.FAILED, "destination_out_of_order"),
}
DIALLED = ""


@dataclass(slots=True)
class Heard:
    """What was heard of one call so far, maybe from its middle on.

    `begun_at`: when it was first heard of. `dial_status`: of the last Dial event; empty: only its beginning was heard;
    None: not even that. `is_cancelled`: someone has asked Asterisk to hang up. `told`: for each kind of event, the
    message that told it, and the event.
    """

    begun_at: DateTime | None = None
    dial_status: str | None = None
    has_rung: bool = False
    is_up: bool = False
    answered_at: DateTime | None = None
    is_machine: bool = False
    is_cancelled: bool = False
    told: dict[EventKind, tuple[object, CallEvent]] = field(default_factory=dict)


def outcome(heard: Heard, cause: int, sip_status: int | None, at: DateTime) -> tuple[Outcome, str]:
    """Decide how a call ended at this moment.

    The cause counts before the dial status, which is NOANSWER for many a refusal.
    """
    name = CAUSES.get(cause, f"cause_{cause}")
    if heard.is_up:
        return (Outcome.MACHINE if heard.is_machine else Outcome.ANSWERED), name
    is_silent = sip_status is None and not heard.has_rung and heard.dial_status == DIALLED
    if cause == NO_ANSWER and is_silent and _seconds(heard, at) < RING_SECONDS - 1:
        # Our own time was up, sooner than a call may ring, and nothing had come from the network: the window closed.
        return Outcome.CANCELLED, CAUSES[102]
    if cause == REJECTED and sip_status in TRUNK_REFUSED:
        return Outcome.FAILED, name
    if cause in BY_CAUSE:
        return BY_CAUSE[cause], name
    if heard.is_cancelled:
        return Outcome.CANCELLED, "originator_cancel"
    found, named = BY_DIAL_STATUS.get(heard.dial_status or "", (Outcome.FAILED, name))
    return found, named if cause in (0, 16) else name


def _seconds(heard: Heard, at: DateTime) -> float:
    """How long a call has lasted, as far as it was heard."""
    return float((at - heard.begun_at).total_seconds()) if heard.begun_at else 0.0
