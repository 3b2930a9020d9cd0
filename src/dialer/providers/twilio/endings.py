"""How a call ended, in our words. In: what Twilio says in status callbacks and of the call itself. Decides nothing."""

from dataclasses import dataclass

from dialer.domain.outcomes import Outcome
from dialer.providers.twilio.refusals import NO_SUCH_NUMBER

ENDED = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})
WINDOW_ENDED = "calling_window_ended"

# RFC 3261 section 21; 607 and 608: RFC 8197 and 8688.
_OF_SIP = {
    **dict.fromkeys((404, 410, 484, 604), Outcome.INVALID_NUMBER),
    **dict.fromkeys((603, 607, 608), Outcome.REJECTED),
    **dict.fromkeys((486, 600), Outcome.BUSY),
}
_OF_STATUS = {"busy": Outcome.BUSY, "no-answer": Outcome.NO_ANSWER, "canceled": Outcome.CANCELLED}


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of the end of a call. `ring_was_cut`: it rang only until the end of the calling window."""

    status: str
    answered_by: str | None = None
    sip_code: int | None = None
    error_code: int | None = None
    ring_was_cut: bool = False

    def told(self) -> tuple[Outcome, str]:
        """Return the outcome and its cause."""
        if self.status == "completed":
            return _answered(self.answered_by)
        if self.status != "canceled" and self.sip_code in _OF_SIP:
            return _OF_SIP[self.sip_code], f"sip_{self.sip_code}"
        if self.status == "no-answer" and self.ring_was_cut:
            return Outcome.CANCELLED, WINDOW_ENDED
        if self.status in _OF_STATUS:
            return _OF_STATUS[self.status], self.status.replace("-", "_")
        if self.error_code is not None:
            is_number = self.error_code in NO_SUCH_NUMBER
            return Outcome.INVALID_NUMBER if is_number else Outcome.FAILED, f"twilio_{self.error_code}"
        return Outcome.FAILED, f"sip_{self.sip_code}" if self.sip_code else "failed"


def _answered(answered_by: str | None) -> tuple[Outcome, str]:
    """`machine_start`, `machine_end_beep` and the like, or `fax`: nobody was there. `unknown` may be somebody."""
    is_machine = answered_by is not None and (answered_by.startswith("machine") or answered_by == "fax")
    return (Outcome.MACHINE if is_machine else Outcome.ANSWERED), answered_by or "completed"
