"""Why no calls can be placed on a trunk, in one sentence for its operator. In: what was asked and came back."""

from typing import Any

from dialer.providers.twilio.config import Config
from dialer.providers.twilio.refusals import WRONG_CREDENTIALS, ApiError, code_of, status_of, told
from dialer.providers.twilio.sdk_http import NoAnswer, NotSent

BAD_REQUEST = 400
UNAUTHORIZED = 401
NOT_FOUND = 404


def told_of_account(account: Any) -> str | None:
    """Return None for an account that may call."""
    if account.status == "active":
        return None
    known = account.status if account.status in ("suspended", "closed") else "of a status that is not known"
    return f"The Twilio account is {known}."


def told_of_failure(error: NotSent | NoAnswer | ApiError, config: Config) -> str:
    """Tell apart: not there, no TLS with it, not Twilio, wrong credentials, wrong URL."""
    where = config.api_base_url or "https://api.twilio.com"
    match error:
        case NotSent(cause="tls_failed"):
            return f"No secure connection to Twilio's API at {where}: {error}."
        case NotSent():
            return f"Twilio's API at {where} cannot be reached: {error}."
        case NoAnswer():
            return f"Twilio's API at {where} did not answer: {error}."
    status = status_of(error)
    if status == UNAUTHORIZED or code_of(error) == WRONG_CREDENTIALS:
        return f"Twilio refuses the auth token of account {config.account_sid}."
    if status == NOT_FOUND or status < BAD_REQUEST:
        return f"There is no account {config.account_sid} at {where}: is api_base_url right?"
    return f"Twilio's API at {where} answered {told(error)}."
