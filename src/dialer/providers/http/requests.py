"""The requests to a platform, and what its responses to them say.

In: the contract's requests; HTTP responses. Out: JSON; placements, and sentences for operators. A call that may exist
is Unclear: a refusal must be surely one.
"""

import asyncio
import json
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pendulum import DateTime
from pydantic import BaseModel, ConfigDict, ValidationError

from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.domain.timezones import in_utc
from dialer.providers.base import CallHandle, CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.egress import Egress
from dialer.providers.http.causes import refusal_cause
from dialer.providers.http.events import Text
from dialer.providers.http_client import HttpFailure, HttpResponse, explain, retry_after, trust

# 303: the request was handled, and the outcome is elsewhere. 408: a gateway may say it of a platform that is still at
# work. 409: the platform knows this idempotency key, though nothing is ever sent twice. In each case it may ring.
UNCLEAR = frozenset({303, 408, 409})
# A call that never was, or that the platform no longer has, is over too.
NOT_THERE = frozenset({404, 410})


class _Accepted(BaseModel):
    model_config = ConfigDict(strict=True)

    call_id: Text | None = None


def encode_request(request: CallRequest, now: DateTime, report_url: str) -> bytes:
    fields: dict[str, Any] = {
        "attempt_id": str(request.attempt_id),
        "to_number": request.to_number,
        "from_number": request.from_number,
        # Cut off at `ring_by` too, for platforms that do not read it.
        "ring_timeout_seconds": request.ring_seconds(now),
        "place_by": in_utc(request.place_by),
        "ring_by": None if request.ring_by is None else in_utc(request.ring_by),
        "detect_machine": request.detect_machine,
        "connection": dict(request.connection),
        "contact": {
            "name": request.contact.name,
            "external_id": request.contact.external_id,
            "variables": dict(request.contact.variables),
        },
        "report_url": report_url,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def placement(response: HttpResponse, attempt_id: AttemptId, now: DateTime) -> Placement:
    status = response.status
    if 200 <= status < 300:
        return _accepted(response, attempt_id)
    if status in UNCLEAR or not 300 <= status < 500:
        return Unclear(f"the platform answered {status}")
    if status < 400:
        return Refused(RefusalCause.REDIRECTED, CauseClass.INFRASTRUCTURE)
    cause, cause_class = refusal_cause(status, response.body)
    wait = retry_after(response.headers.get("retry-after"), now) if cause_class is CauseClass.RATE else None
    return Refused(cause, cause_class, wait)


def _accepted(response: HttpResponse, attempt_id: AttemptId) -> Placement:
    if response.body is None:
        return Unclear(f"the platform's answer, {response.status}, broke off or is too long")
    try:
        accepted = _Accepted.model_validate_json(response.body or b"{}")
    except ValidationError:
        return Unclear(f"the platform's answer, {response.status}, cannot be read")
    return Placed(accepted.call_id or str(attempt_id))


def encode_hang_up(call: CallHandle) -> bytes:
    fields = {"attempt_id": str(call.attempt_id), "call_id": call.provider_call_id, "action": "hang_up"}
    return json.dumps(fields, separators=(",", ":")).encode()


def is_hung_up(status: int) -> bool:
    """Say whether this response to a hang-up says that the call is over."""
    return 200 <= status < 300 or status in NOT_THERE


def health(reply: HttpResponse | HttpFailure) -> str | None:
    """Read the response at `health_url`: None, or why no calls can be placed."""
    match reply:
        case HttpFailure():
            return f"The platform cannot be asked for its health: {reply.reason}"
        case HttpResponse(status) if 200 <= status < 300:
            return None
        case HttpResponse(401 | 403 as status):
            return f"The platform refuses our signature ({status}): is its secret that of the trunk?"
        case HttpResponse(404 | 405 | 410 as status):
            return f"The platform answers {status} at health_url: is the URL right?"
        case HttpResponse(status) if 300 <= status < 400:
            return f"The platform answers {status} at health_url, and redirects are not followed"
        case HttpResponse(status):
            return f"The platform says that it is not well: it answers {status} at health_url"


async def reach(url: str, seconds: float, egress: Egress) -> str | None:
    """Connect to the URL's host, with TLS where it has it, and send no request. None, or why it cannot be reached."""
    parts = urlsplit(url)
    secure: ssl.SSLContext | None = trust(url) if parts.scheme == "https" else None
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)

    async def open_at(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(address, port, ssl=secure, server_hostname=host if secure else None)

    try:
        async with asyncio.timeout(seconds):
            _, writer = await egress.connect(host, port, seconds, open_at)
    except OSError as error:
        _, reason = explain(error, seconds)
        return f"The platform at {host}:{port} cannot be reached: {reason}"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None
