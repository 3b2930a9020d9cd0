"""Twilio's words in ours: call statuses, how a call ended, why one was refused, what is wrong with the account.

In: what its API and its status callbacks say. Out: outcomes, refusals, sentences for operators.
Error codes as in https://www.twilio.com/docs/api/errors.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dialer.domain import sip
from dialer.domain.call import CallFacts, EventKind, HungUpBy
from dialer.domain.outcomes import CauseClass, Outcome, RefusalCause
from dialer.providers.base import Refused, Unclear
from dialer.providers.http_client import HttpFailure
from dialer.providers.twilio.api import ApiError
from dialer.providers.twilio.config import TwilioConfig

# What a call of each status has come to; None: nothing to report yet.
IN_PROGRESS: Mapping[str, EventKind | None] = {
    "queued": None,
    "initiated": None,
    "ringing": EventKind.RINGING,
    "in-progress": EventKind.ANSWERED,
    "answered": EventKind.ANSWERED,
}
COMPLETED, NO_ANSWER, CANCELED, FAILED = "completed", "no-answer", "canceled", "failed"
# The outcome, where Twilio says no more than the status.
ENDED: Mapping[str, Outcome] = {
    COMPLETED: Outcome.ANSWERED,
    "busy": Outcome.BUSY,
    NO_ANSWER: Outcome.NO_ANSWER,
    FAILED: Outcome.FAILED,
    CANCELED: Outcome.CANCELLED,
}
WINDOW_ENDED = "calling_window_ended"
# The SIP code with which Twilio itself ends the ringing.
RING_TIMED_OUT = 487

NO_SUCH_NUMBER = frozenset({21211, 21214, 21217})
CALL_IS_OVER = 21220
WRONG_CREDENTIALS = 20003
_REFUSALS: Mapping[int, tuple[RefusalCause, CauseClass]] = {
    **dict.fromkeys(NO_SUCH_NUMBER, (RefusalCause.INVALID_NUMBER, CauseClass.CONTACT)),
    # They blame one caller ID, not the trunk: its other numbers may well call.
    **dict.fromkeys((21210, 21212, 21213, 21606), (RefusalCause.FROM_NUMBER_NOT_OWNED, CauseClass.POLICY)),
    # A trial account may call verified numbers alone.
    **dict.fromkeys((21219, 573005), (RefusalCause.TO_NUMBER_NOT_VERIFIED, CauseClass.POLICY)),
    **dict.fromkeys((21203, 21215, 13227), (RefusalCause.DESTINATION_NOT_PERMITTED, CauseClass.POLICY)),
    21202: (RefusalCause.PREMIUM_NUMBER, CauseClass.POLICY),
    21216: (RefusalCause.BLOCKED_BY_TWILIO, CauseClass.POLICY),
    **dict.fromkeys((10001, 20005), (RefusalCause.ACCOUNT_NOT_ACTIVE, CauseClass.INFRASTRUCTURE)),
    10004: (RefusalCause.CONCURRENCY_LIMIT, CauseClass.INFRASTRUCTURE),
    WRONG_CREDENTIALS: (RefusalCause.WRONG_CREDENTIALS, CauseClass.INFRASTRUCTURE),
    20429: (RefusalCause.RATE_LIMITED, CauseClass.RATE),
    22005: (RefusalCause.CALL_QUEUE_FULL, CauseClass.RATE),
    21205: (RefusalCause.AGENT_URL_INVALID, CauseClass.INFRASTRUCTURE),
}
BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 400, 401, 404, 408, 429
_CAUSES_OF_STATUS = {
    UNAUTHORIZED: RefusalCause.WRONG_CREDENTIALS,
    TOO_MANY_REQUESTS: RefusalCause.RATE_LIMITED,
    NOT_FOUND: RefusalCause.WRONG_URL,
}
_DIGITS = re.compile(r"\+?\d{7,}")
MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class FinalStatus:
    """What is known of the end of a call. `ring_was_cut`: it rang only until the end of the calling window."""

    status: str
    answered_by: str | None = None
    sip_code: int | None = None
    error_code: int | None = None
    ring_was_cut: bool = False

    def result(self) -> tuple[Outcome, str, CallFacts]:
        """Return the outcome, its cause, and what the telephone network said."""
        if self.status == COMPLETED:
            return *_answered(self.answered_by), CallFacts()
        if self.status == CANCELED:
            return Outcome.CANCELLED, CANCELED, CallFacts(hung_up_by=HungUpBy.CALLER)
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
        if self.status == NO_ANSWER and self.code in (None, RING_TIMED_OUT):
            return Outcome.NO_ANSWER, WINDOW_ENDED if self.ring_was_cut else "no_answer"
        if self._end is not None:
            return self._end.outcome, f"sip_{self.code}"
        if self.status == FAILED and self.error_code is not None:
            is_number = self.error_code in NO_SUCH_NUMBER
            return Outcome.INVALID_NUMBER if is_number else Outcome.FAILED, f"twilio_{self.error_code}"
        return ENDED[self.status], self.status


def _answered(answered_by: str | None) -> tuple[Outcome, str]:
    """`machine_start`, `machine_end_beep` and the like, or `fax`: no person answered. `unknown` may be a person."""
    is_machine = answered_by is not None and (answered_by.startswith("machine") or answered_by == "fax")
    return (Outcome.MACHINE if is_machine else Outcome.ANSWERED), answered_by or COMPLETED


def refusal(error: ApiError, retry_after_seconds: float | None) -> Refused | Unclear:
    """Say what an error answer to a placement means."""
    status = error.status
    if status >= 500 or status == REQUEST_TIMEOUT:
        # A gateway may have given up on what lies behind it, where the call is made.
        return Unclear(f"Twilio answered {describe(error)}")
    cause, cause_class = _REFUSALS.get(error.code or 0) or (_cause_of(error), CauseClass.INFRASTRUCTURE)
    if status == TOO_MANY_REQUESTS and cause_class is CauseClass.INFRASTRUCTURE:
        cause_class = CauseClass.RATE
    return Refused(cause, cause_class, retry_after_seconds if cause_class is CauseClass.RATE else None)


def _cause_of(error: ApiError) -> str:
    if error.status < BAD_REQUEST:
        return RefusalCause.REDIRECTED if error.status >= 300 else RefusalCause.WRONG_URL
    return _CAUSES_OF_STATUS.get(error.status) or describe(error)


def describe(error: ApiError) -> str:
    """Return what the answer says, without the numbers in it: they may be telephone numbers."""
    which = f"twilio_{error.code}" if error.code else f"http_{error.status}"
    return f"{which}: {_DIGITS.sub('…', error.text)}"[:MAX_REASON]


def account_health(status: Any) -> str | None:
    """Return None for an account that may call, else why it may not."""
    if status == "active":
        return None
    known = status if status in ("suspended", "closed") else "of a status that is not known"
    return f"The Twilio account is {known}"


def failure_health(failure: HttpFailure, config: TwilioConfig) -> str:
    """Say why Twilio did not answer: not there, no TLS with it, not Twilio."""
    where = config.api_url
    if failure.may_have_left:
        return f"Twilio's API at {where} did not answer: {failure.reason}"
    if failure.cause is RefusalCause.TLS_FAILED:
        return f"No secure connection to Twilio's API at {where}: {failure.reason}"
    return f"Twilio's API at {where} cannot be reached: {failure.reason}"


def error_health(error: ApiError, config: TwilioConfig) -> str:
    """Say what is wrong: the credentials, the URL, or what Twilio answers."""
    where = config.api_url
    if error.status == UNAUTHORIZED or error.code == WRONG_CREDENTIALS:
        return f"Twilio refuses the auth token of account {config.account_sid}"
    if error.status < BAD_REQUEST:
        return f"What answered {error.status} at {where} is not Twilio's API: is api_base_url right?"
    if error.status == NOT_FOUND:
        return f"There is no account {config.account_sid} at {where}: is api_base_url right?"
    return f"Twilio's API at {where} answered {describe(error)}"
