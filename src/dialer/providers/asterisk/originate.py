"""What Asterisk is asked when a call is placed.

In: a request and the trunk's config. Out: the JSON of `POST /channels`. Nothing of it goes into the URL, which servers
and proxies log. What comes from the contact is bounded, and cannot be read as dialplan or shell.
"""

import re
from collections.abc import Iterator
from typing import Any

from pendulum import DateTime

from dialer.providers.asterisk.config import LONGEST_NUMBER, AsteriskConfig
from dialer.providers.base import CallRequest

MOST_VARIABLES = 30
LONGEST_VALUE = 200
LONGEST_NAME = 40

_NUMBER = re.compile(rf"\+[0-9]{{2,{LONGEST_NUMBER - 1}}}")
# Dialplans paste values into applications, expressions and at times a shell: what has a meaning there is left out.
_MEANINGFUL = re.compile(r"""[${}\[\]()`\\"'|;&<>,^~*?#!]""")


def is_number(text: str) -> bool:
    """Say whether this can be dialled as it is: E.164 with its plus, and nothing else in it."""
    return _NUMBER.fullmatch(text) is not None


def leads_somewhere(connection: Any) -> bool:
    """Say whether an answered call has somewhere to go: an extension, or a Stasis application."""
    return bool(connection.get("app") or (connection.get("context") and connection.get("exten")))


def originate(request: CallRequest, config: AsteriskConfig, now: DateTime) -> dict[str, Any]:
    """Return the body; Asterisk reads query parameters from it too, beside `variables`."""
    return {
        "endpoint": config.dialled(request.to_number),
        "channelId": str(request.attempt_id),
        "callerId": request.from_number,
        "timeout": request.ring_seconds(now),
        **_destination(request),
        "variables": dict(_variables(request)),
    }


def _destination(request: CallRequest) -> dict[str, Any]:
    to = request.connection
    if to.get("app"):
        return {"app": to["app"], "appArgs": str(request.attempt_id)}
    return {"context": to["context"], "extension": to["exten"], "priority": to.get("priority", 1)}


def _variables(request: CallRequest) -> Iterator[tuple[str, str]]:
    contact = request.contact
    yield "DIALER_ATTEMPT_ID", str(request.attempt_id)
    yield "DIALER_DETECT_MACHINE", "1" if request.detect_machine else "0"
    for name, value in (("NAME", contact.name), ("EXTERNAL_ID", contact.external_id)):
        if value is not None:
            yield f"DIALER_CONTACT_{name}", _safe(value)
    for name, value in list(contact.variables.items())[:MOST_VARIABLES]:
        word = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:LONGEST_NAME]
        if word and isinstance(value, str | int | float):
            yield f"DIALER_VAR_{word}", _safe(value)


def _safe(value: str | float) -> str:
    plain = _MEANINGFUL.sub("", str(value)[: 2 * LONGEST_VALUE])
    return "".join(character for character in plain if character.isprintable())[:LONGEST_VALUE]
