"""How a call ended, from all that was heard of it: no single message tells.

In: what was heard of one call, and the causes of its end. Out: its outcome, the name of its cause (ITU-T Q.850), and
what the network itself has said.
"""

from dataclasses import dataclass, field

from pendulum import DateTime

from dialer.domain import sip
from dialer.domain.call import CallEvent, CallFacts, EventKind, HungUpBy
from dialer.domain.outcomes import Outcome

NO_ANSWER = 19
# Causes that do not say why there was no answer: then the closing dial status does.
UNSPECIFIED, NORMAL_CLEARING = 0, 16
CAUSE_OF_DIAL_STATUS = {"BUSY": 17, "NOANSWER": NO_ANSWER, "CONGESTION": 34, "CHANUNAVAIL": 27}
CANCEL = "CANCEL"


@dataclass(slots=True)
class Heard:
    """What was heard of one call so far, maybe from its middle on.

    `dial_status`: of the last Dial event; None: there was none. `is_cancelled`: someone has asked Asterisk to hang up.
    `was_hung_up`: the far end has, by a BYE or a final response. `leg_code`: the SIP code of the channel behind a Local
    one. `told`: for each kind of event, the message that told it, and the event.
    """

    dial_status: str | None = None
    has_rung: bool = False
    is_up: bool = False
    answered_at: DateTime | None = None
    is_machine: bool = False
    is_cancelled: bool = False
    was_hung_up: bool = False
    leg_code: int | None = None
    sip_call_id: str | None = None
    told: dict[EventKind, tuple[object, CallEvent]] = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        """Say whether the far end has ended a call that was not answered.

        When the ring time is over, Asterisk closes the channel without such a message, with a code of its own (480).
        """
        has_closed = self.dial_status in CAUSE_OF_DIAL_STATUS or self.dial_status == CANCEL
        return self.was_hung_up or (has_closed and not self.is_cancelled)


def ended(heard: Heard, cause: int, tech_cause: int | None) -> tuple[Outcome, str, CallFacts]:
    """Decide how a call ended. `tech_cause`: the SIP code, from the network or, for our own timeout, Asterisk's own."""
    if heard.is_up:
        by = HungUpBy.CALLEE if heard.was_hung_up else HungUpBy.CALLER if heard.dial_status else None
        return (Outcome.MACHINE if heard.is_machine else Outcome.ANSWERED), _name(cause), _facts(heard, cause, None, by)
    if heard.is_cancelled and not heard.was_hung_up:
        return Outcome.CANCELLED, "originator_cancel", _facts(heard, cause, None, HungUpBy.CALLER)
    if cause in (UNSPECIFIED, NORMAL_CLEARING):
        if heard.dial_status == CANCEL:
            return Outcome.CANCELLED, "originator_cancel", _facts(heard, cause, None, None)
        cause = CAUSE_OF_DIAL_STATUS.get(heard.dial_status or "", cause)
    code = sip.final_code(heard.leg_code or tech_cause) if heard.is_refused or cause != NO_ANSWER else None
    end = sip.of_q850(cause) if code is None else sip.of_sip(code, has_rung=heard.has_rung)
    we_gave_up = HungUpBy.CALLER if cause == NO_ANSWER else None
    by = end.far_end if heard.is_refused else we_gave_up
    return end.outcome, _name(cause), _facts(heard, cause, code, by)


def _name(cause: int) -> str:
    return sip.Q850_NAMES.get(cause, f"cause_{cause}")


def _facts(heard: Heard, cause: int, code: int | None, by: HungUpBy | None) -> CallFacts:
    return CallFacts(code, cause if 0 < cause <= sip.LAST_CAUSE else None, heard.sip_call_id, by)
