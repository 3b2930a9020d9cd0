"""Why a platform refused a call: its HTTP status, and what its body says of it."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dialer.domain.outcomes import CauseClass, RefusalCause

TOO_MANY_REQUESTS = 429
UNAVAILABLE_FOR_LEGAL_REASONS = 451
# What statuses mean by themselves; the body may say more. They blame the trunk, which is then left alone for a while:
# a platform that refuses the number, and not us, says so.
CAUSES: Mapping[int, RefusalCause] = {
    400: RefusalCause.BAD_REQUEST,
    401: RefusalCause.WRONG_CREDENTIALS,
    402: RefusalCause.PAYMENT_REQUIRED,
    403: RefusalCause.PERMISSION_DENIED,
    404: RefusalCause.WRONG_URL,
    405: RefusalCause.WRONG_URL,
    410: RefusalCause.WRONG_URL,
    413: RefusalCause.REQUEST_TOO_LARGE,
    415: RefusalCause.BAD_REQUEST,
    422: RefusalCause.BAD_REQUEST,
    425: RefusalCause.TOO_EARLY,
    TOO_MANY_REQUESTS: RefusalCause.RATE_LIMITED,
    UNAVAILABLE_FOR_LEGAL_REASONS: RefusalCause.LEGAL_REASONS,
}


class _Refusal(BaseModel):
    """The platform's own words: `cause` is free text of its choice."""

    model_config = ConfigDict(strict=True)

    cause: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE


def refusal_cause(status: int, body: bytes | None) -> tuple[str, CauseClass]:
    """Say why, and who is to blame. The status is a refusal by itself, also where the body cannot be read."""
    try:
        refusal = _Refusal.model_validate_json(body or b"")
        cause, cause_class = refusal.cause, refusal.cause_class
    except ValidationError:
        cause = CAUSES.get(status, f"http_{status}")
        legal = status == UNAVAILABLE_FOR_LEGAL_REASONS
        cause_class = CauseClass.POLICY if legal else CauseClass.INFRASTRUCTURE
    if status == TOO_MANY_REQUESTS and cause_class is CauseClass.INFRASTRUCTURE:
        cause_class = CauseClass.RATE
    return cause, cause_class
