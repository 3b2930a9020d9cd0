"""How a call ended, decided from all messages about it: no single message says it.

In: the history of one call's channel, and the causes of its end. Out: the call's outcome, the name of its cause (ITU-T
Q.850), and the facts that the network itself reported.
"""

from dataclasses import dataclass, field

from pendulum import DateTime

from dialer.domain import sip
from dialer.domain.call import CallEvent, CallFacts, HungUpBy
from dialer.domain.outcomes import Outcome

NO_ANSWER = 19
# These causes do not say why there was no answer; the last dial status does.
UNSPECIFIED, NORMAL_CLEARING = 0, 16
CAUSE_OF_DIAL_STATUS = {"BUSY": 17, "NOANSWER": NO_ANSWER, "CONGESTION": 34, "CHANUNAVAIL": 27}
CANCEL = "CANCEL"


@dataclass(slots=True)
class ChannelHistory:
    """What was received about one call's channel so far; the first messages may be missing.

    `dial_status`: of the last Dial event; None: there was none. `is_cancelled`: someone has asked Asterisk to hang up.
    `was_hung_up`: the far end has, by a BYE or a final response. `leg_code`: the SIP code of the channel behind a Local
    channel. `reported`: for each step of the call, the message that reported it, and the event.
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
    reported: dict[str, tuple[object, CallEvent]] = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        """Say whether the far end has ended a call that was not answered.

        After the ring timeout, Asterisk closes the channel without such a message, with a code of its own (480).
        """
        has_closed = self.dial_status in CAUSE_OF_DIAL_STATUS or self.dial_status == CANCEL
        return self.was_hung_up or (has_closed and not self.is_cancelled)


def ended(history: ChannelHistory, cause: int, tech_cause: int | None) -> tuple[Outcome, str, CallFacts]:
    """Return the outcome, cause and facts of a call that has ended.

    `tech_cause`: the SIP code: the network's, or Asterisk's own after our ring timeout.
    """
    if history.is_up:
        by = HungUpBy.CALLEE if history.was_hung_up else HungUpBy.CALLER if history.dial_status else None
        outcome = Outcome.MACHINE if history.is_machine else Outcome.ANSWERED
        return outcome, _name(cause), _facts(history, cause, None, by)
    if history.is_cancelled and not history.was_hung_up:
        return Outcome.CANCELLED, "originator_cancel", _facts(history, cause, None, HungUpBy.CALLER)
    if cause in (UNSPECIFIED, NORMAL_CLEARING):
        if history.dial_status == CANCEL:
            return Outcome.CANCELLED, "originator_cancel", _facts(history, cause, None, None)
        cause = CAUSE_OF_DIAL_STATUS.get(history.dial_status or "", cause)
    code = sip.final_code(history.leg_code or tech_cause) if history.is_refused or cause != NO_ANSWER else None
    end = sip.of_q850(cause) if code is None else sip.of_sip(code, has_rung=history.has_rung)
    we_gave_up = HungUpBy.CALLER if cause == NO_ANSWER else None
    by = end.far_end if history.is_refused else we_gave_up
    return end.outcome, _name(cause), _facts(history, cause, code, by)


def _name(cause: int) -> str:
    return sip.Q850_NAMES.get(cause, f"cause_{cause}")


def _facts(history: ChannelHistory, cause: int, code: int | None, by: HungUpBy | None) -> CallFacts:
    return CallFacts(code, cause if 0 < cause <= sip.LAST_CAUSE else None, history.sip_call_id, by)
