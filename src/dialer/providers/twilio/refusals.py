"""What Twilio's refusals mean: whose fault it is that there is no call.

In: an error of Twilio's library. Out: `Refused`, or `Unclear` where a call may exist all the same. Codes as in
https://www.twilio.com/docs/api/errors.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

from twilio.base.exceptions import TwilioRestException, TwilioServiceException

from dialer.domain.outcomes import CauseClass
from dialer.providers.base import Refused, Unclear

ApiError: TypeAlias = TwilioRestException | TwilioServiceException
API_ERRORS = (TwilioRestException, TwilioServiceException)

NO_SUCH_NUMBER = frozenset({21211, 21214, 21217})
CALL_IS_OVER = 21220
WRONG_CREDENTIALS = 20003
LONGEST_REASON = 200

_CAUSES: Mapping[int, tuple[str, CauseClass]] = {
    **dict.fromkeys(NO_SUCH_NUMBER, ("invalid_number", CauseClass.CONTACT)),
    # Of one caller ID, not of the trunk, whose other numbers may well call.
    **dict.fromkeys((21210, 21212, 21213, 21606), ("from_number_not_owned", CauseClass.POLICY)),
    # A trial account may call verified numbers alone.
    **dict.fromkeys((21219, 573005), ("to_number_not_verified", CauseClass.POLICY)),
    **dict.fromkeys((21203, 21215, 13227), ("destination_not_permitted", CauseClass.POLICY)),
    21202: ("premium_number", CauseClass.POLICY),
    21216: ("blocked_by_twilio", CauseClass.POLICY),
    **dict.fromkeys((10001, 20005), ("account_not_active", CauseClass.INFRASTRUCTURE)),
    10004: ("concurrency_limit", CauseClass.INFRASTRUCTURE),
    WRONG_CREDENTIALS: ("wrong_credentials", CauseClass.INFRASTRUCTURE),
    20429: ("rate_limited", CauseClass.RATE),
    22005: ("call_queue_full", CauseClass.RATE),
    21205: ("agent_url_invalid", CauseClass.INFRASTRUCTURE),
}
_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_CAUSES_OF_STATUS = {401: "wrong_credentials", _TOO_MANY_REQUESTS: "rate_limited", 404: "wrong_url"}
_DIGITS = re.compile(r"\+?\d{7,}")


def refusal(error: ApiError, retry_after_seconds: float | None) -> Refused | Unclear:
    """Say what an error answer to a placement means."""
    status, code = status_of(error), code_of(error)
    if status >= 500 or status == _REQUEST_TIMEOUT:
        # A gateway may have given up on what lies behind it, where the call is made.
        return Unclear(f"Twilio answered {told(error)}")
    cause, cause_class = _CAUSES.get(code or 0) or (_cause_of(status, error), CauseClass.INFRASTRUCTURE)
    if status == _TOO_MANY_REQUESTS and cause_class is CauseClass.INFRASTRUCTURE:
        cause_class = CauseClass.RATE
    return Refused(cause, cause_class, retry_after_seconds if cause_class is CauseClass.RATE else None)


def _cause_of(status: int, error: ApiError) -> str:
    return "wrong_url" if status < 400 else _CAUSES_OF_STATUS.get(status, told(error))


def status_of(error: ApiError) -> int:
    """Return the status. An answer may say it in its body; what it says is no number is the server's fault."""
    return error.status if isinstance(error.status, int) else 500


def code_of(error: ApiError) -> int | None:
    """Return Twilio's own code; None where the answer had none, and the library gives the status instead."""
    return error.code if isinstance(error.code, int) and error.code != error.status else None


def told(error: ApiError) -> str:
    """Tell what the answer says, without the numbers in it."""
    text = error.detail or error.title if isinstance(error, TwilioServiceException) else error.msg
    code = code_of(error)
    which = f"twilio_{code}" if code else f"http_{status_of(error)}"
    return f"{which}: {_DIGITS.sub('…', str(text))}"[:LONGEST_REASON]
