"""A request for a call, and what a platform's answer to it says.

In: the contract's request; an HTTP status and a body. Out: JSON; a placement. A call that may exist is Unclear: a
refusal must be surely one.
"""

import json
from collections.abc import Mapping
from typing import Any

from pendulum import DateTime
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass
from dialer.providers.base import CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.http.events import Text
from dialer.providers.http.exchange import Answer
from dialer.providers.http_client import retry_after

TOO_MANY_REQUESTS = 429
# What statuses mean by themselves; the body may say more. They blame the trunk, which is then left alone for a while:
# whoever refuses a number and not us says so.
CAUSES: Mapping[int, str] = {
    400: "bad_request",
    401: "wrong_credentials",
    402: "payment_required",
    403: "forbidden",
    404: "wrong_url",
    405: "wrong_url",
    410: "wrong_url",
    413: "request_too_large",
    415: "bad_request",
    422: "bad_request",
    425: "too_early",
    TOO_MANY_REQUESTS: "rate_limited",
}
UNAVAILABLE_FOR_LEGAL_REASONS = 451
# 303: the request was handled, and the outcome is elsewhere. 408: a gateway may say it of a platform that is still at
# work. 409: the platform knows this idempotency key, though nothing is ever sent twice. In each case it may ring.
UNCLEAR = frozenset({303, 408, 409})


class _Accepted(BaseModel):
    model_config = ConfigDict(strict=True)

    call_id: Text | None = None


class _Refusal(BaseModel):
    model_config = ConfigDict(strict=True)

    cause: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    cause_class: CauseClass = CauseClass.INFRASTRUCTURE


def encode_request(request: CallRequest, now: DateTime, report_url: str) -> bytes:
    found: dict[str, Any] = {
        "attempt_id": str(request.attempt_id),
        "to_number": request.to_number,
        "from_number": request.from_number,
        # Cut off at `ring_by` too, for platforms that do not read it.
        "ring_timeout_seconds": request.ring_seconds(now),
        "place_by": request.place_by.isoformat(),
        "ring_by": None if request.ring_by is None else request.ring_by.isoformat(),
        "detect_machine": request.detect_machine,
        "connection": dict(request.connection),
        "contact": {
            "name": request.contact.name,
            "external_id": request.contact.external_id,
            "variables": dict(request.contact.variables),
        },
        "report_url": report_url,
    }
    return json.dumps(found, separators=(",", ":")).encode()


def placement(answer: Answer, attempt_id: AttemptId, now: DateTime) -> Placement:
    status = answer.status
    if 200 <= status < 300:
        return _accepted(answer, attempt_id)
    if status in UNCLEAR or not 300 <= status < 500:
        return Unclear(f"the platform answered {status}")
    if status < 400:
        return Refused("redirects_are_not_followed", CauseClass.INFRASTRUCTURE)
    cause, cause_class = _refused(answer)
    if status == TOO_MANY_REQUESTS and cause_class is CauseClass.INFRASTRUCTURE:
        cause_class = CauseClass.RATE
    wait = retry_after(answer.retry_after, now) if cause_class is CauseClass.RATE else None
    return Refused(cause, cause_class, wait)


def _accepted(answer: Answer, attempt_id: AttemptId) -> Placement:
    if answer.body is None:
        return Unclear(f"the platform's answer, {answer.status}, broke off or is too long")
    try:
        said = _Accepted.model_validate_json(answer.body or b"{}")
    except ValidationError:
        return Unclear(f"the platform's answer, {answer.status}, cannot be read")
    return Placed(said.call_id or str(attempt_id))


def _refused(answer: Answer) -> tuple[str, CauseClass]:
    """The status is a refusal by itself, so a body that cannot be read takes nothing from it."""
    try:
        said = _Refusal.model_validate_json(answer.body or b"")
    except ValidationError:
        legal = answer.status == UNAVAILABLE_FOR_LEGAL_REASONS
        cause = "legal_reasons" if legal else CAUSES.get(answer.status, f"http_{answer.status}")
        return cause, CauseClass.POLICY if legal else CauseClass.INFRASTRUCTURE
    return said.cause, said.cause_class
