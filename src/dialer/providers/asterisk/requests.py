"""The request that places a call.

In: a call request and the trunk's config. Out: the JSON body of `POST /channels`. Nothing goes into the URL, which
servers and proxies log. The contact's fields are bounded in size, and cannot be evaluated as dialplan or shell.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pendulum import DateTime

from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.providers.asterisk.config import LONGEST_NUMBER, AsteriskConfig, Extension, Stasis
from dialer.providers.base import CallRequest, Refused
from dialer.providers.switches import caller_id, plain_fields

_NUMBER = re.compile(rf"\+[0-9]{{2,{LONGEST_NUMBER - 1}}}")


def is_number(text: str) -> bool:
    """Say whether this is a number in E.164 with its plus and nothing else."""
    return _NUMBER.fullmatch(text) is not None


def originate(
    request: CallRequest, config: AsteriskConfig, destination: Extension | Stasis, now: DateTime
) -> dict[str, Any] | Refused:
    """Return the body, or the refusal of a request that cannot be placed.

    Asterisk also accepts its query parameters in the body, beside `variables`.
    """
    if not is_number(request.to_number):
        return Refused(RefusalCause.INVALID_NUMBER, CauseClass.CONTACT)
    from_number = caller_id(request.from_number, config.caller_id)
    if from_number is None:
        return Refused(RefusalCause.INVALID_CALLER_ID, CauseClass.INFRASTRUCTURE)
    return {
        "endpoint": config.dialled(request.to_number),
        "channelId": str(request.attempt_id),
        "callerId": from_number,
        "timeout": request.ring_seconds(now),
        **_answered(destination, request),
        "variables": dict(_variables(request)),
    }


def _answered(destination: Extension | Stasis, request: CallRequest) -> Mapping[str, Any]:
    if isinstance(destination, Stasis):
        return {"app": destination.app, "appArgs": str(request.attempt_id)}
    return {"context": destination.context, "extension": destination.exten, "priority": destination.priority}


def _variables(request: CallRequest) -> Iterator[tuple[str, str]]:
    yield "DIALER_ATTEMPT_ID", str(request.attempt_id)
    yield "DIALER_DETECT_MACHINE", "1" if request.detect_machine else "0"
    for name, value in plain_fields(request.contact):
        yield f"DIALER_{name.upper()}", value
