"""How a call ended, in our words. In: what Twilio says in status callbacks and of the call itself. Decides nothing."""

from dataclasses import dataclass

from dialer.domain import sip
from dialer.domain.call import CallFacts, HungUpBy
from dialer.domain.outcomes import Outcome
from dialer.providers.twilio.refusals import NO_SUCH_NUMBER

ENDED = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})
WINDOW_ENDED = "calling_window_ended"

NO_ANSWER = "no-answer"
# Twilio's own end of the ringing.
TIMED_OUT = 487


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of the end of a call. `ring_was_cut`: it rang only until the end of the calling window."""

    status: str
    answered_by: str | None = None
    sip_code: int | None = None
    error_code: int | None = None
    ring_was_cut: bool = False

    def told(self) -> tuple[Outcome, str, CallFacts]:
        """Return the outcome, its cause, and what the telephone network has said."""
        if self.status == "completed":
            return *_answered(self.answered_by), CallFacts()
        if self.status == "canceled":
            return Outcome.CANCELLED, "canceled", CallFacts(hung_up_by=HungUpBy.CALLER)
        outcome, cause = self._unanswered()
        return outcome, cause, CallFacts(self.code, hung_up_by=self._end.far_end if self._end else None)

    @property
    def code(self) -> int | None:
        return sip.final_code(self.sip_code)

    @property
    def _end(self) -> sip.CallEnd | None:
        """Twilio says `no-answer` of what has rung, and `failed` of what has not."""
        return None if self.code is None else sip.of_sip(self.code, has_rung=self.status == NO_ANSWER)

    def _unanswered(self) -> tuple[Outcome, str]:
        if self.status == NO_ANSWER and self.code in (None, TIMED_OUT):
            return Outcome.NO_ANSWER, WINDOW_ENDED if self.ring_was_cut else "no_answer"
        if self._end is not None:
            return self._end.outcome, f"sip_{self.code}"
        if self.status == "busy":
            return Outcome.BUSY, "busy"
        if self.error_code is not None:
            is_number = self.error_code in NO_SUCH_NUMBER
            return Outcome.INVALID_NUMBER if is_number else Outcome.FAILED, f"twilio_{self.error_code}"
        return Outcome.FAILED, "failed"


def _answered(answered_by: str | None) -> tuple[Outcome, str]:
    """`machine_start`, `machine_end_beep` and the like, or `fax`: nobody was there. `unknown` may be somebody."""
    is_machine = answered_by is not None and (answered_by.startswith("machine") or answered_by == "fax")
    return (Outcome.MACHINE if is_machine else Outcome.ANSWERED), answered_by or "completed"
