"""The command that asks for one call.

In: a request and the trunk's config. Out: one line for FreeSWITCH, or the refusal of what must not be put into one.
FreeSWITCH splits that line at blanks, commas, braces and quotes, several times over, and knows no way of writing them
that holds through all of it. So what people and lists can choose is of few plain characters, or percent-encoded.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import structlog
from pendulum import DateTime

from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.providers.base import CallRequest, ContactCard, Refused
from dialer.providers.freeswitch.config import TrunkConfig

# Every event of the call bears its variables.
LONGEST_CONTACT = 4000

_NUMBER = re.compile(r"\+?[0-9]{1,20}")
_APPLICATION = re.compile(r"[A-Za-z0-9_]{1,100}")
# A closing parenthesis ends the data, whatever comes after it; quotes and backslashes change where the line is split.
_DATA = re.compile(r"[^\x00-\x1f\x7f)'\\]{0,2000}")

log = structlog.get_logger()


def originate(request: CallRequest, config: TrunkConfig, trunk_id: TrunkId, now: DateTime) -> str | Refused:
    """Write the command, or say what is wrong with the request."""
    if not _NUMBER.fullmatch(request.to_number):
        return Refused("invalid_number_format", CauseClass.CONTACT)
    if not _NUMBER.fullmatch(request.from_number):
        return Refused("invalid_caller_id", CauseClass.INFRASTRUCTURE)
    application = _application(request.connection)
    if application is None:
        return Refused("invalid_agent_connection", CauseClass.INFRASTRUCTURE)
    variables = ",".join(f"{name}={value}" for name, value in _variables(request, trunk_id).items())
    destination = config.dial_string.replace("{number}", request.to_number)
    destination = destination.replace("{e164}", request.to_number.removeprefix("+"))
    destination = _ringing_by(request, now, destination)
    return f"bgapi originate {{{variables}}}{destination} {application}\nJob-UUID: {request.attempt_id}"


def _ringing_by(request: CallRequest, now: DateTime, destination: str) -> str:
    """Have a leg given up that does not ring before the window ends. `progress_timeout` would cut ringing ones too."""
    left = None if request.ring_by is None else (request.ring_by - now).total_seconds()
    if left is None or left >= request.ring_timeout_seconds:
        return destination
    # FreeSWITCH looks once a second whether more than so many have passed.
    timeout = f"leg_progress_timeout={max(1, int(left) - 1)}"
    return f"[{timeout},{destination[1:]}" if destination.startswith("[") else f"[{timeout}]{destination}"


def _variables(request: CallRequest, trunk_id: TrunkId) -> dict[str, str]:
    attempt_id = str(request.attempt_id)
    found = {
        "origination_uuid": attempt_id,
        "origination_caller_id_number": request.from_number,
        "originate_timeout": str(max(1, int(request.ring_timeout_seconds))),
        "ignore_early_media": "true",
        "dialer_attempt_id": attempt_id,
        "dialer_trunk_id": str(trunk_id),
    }
    if request.detect_machine:
        found["dialer_detect_machine"] = "true"
    if contact := _contact(request.contact):
        found["dialer_contact"] = contact
    return found


def _contact(contact: ContactCard) -> str:
    """Write who is called, for whoever talks to them: percent-encoded JSON, for `url_decode`."""
    known = {"name": contact.name, "external_id": contact.external_id, "variables": dict(contact.variables)}
    text = quote(json.dumps({name: value for name, value in known.items() if value}, default=str), safe="")
    if not any(known.values()):
        return ""
    if len(text) > LONGEST_CONTACT:
        log.warning("contact is too long for the variables of a channel", longest=LONGEST_CONTACT)
        return ""
    return text


def _application(connection: Mapping[str, Any]) -> str | None:
    """Write where an answered call goes; None: the agent does not say it so that it can be written."""
    name, data = connection.get("application"), connection.get("data", "")
    if not (isinstance(name, str) and _APPLICATION.fullmatch(name)):
        return None
    if not (isinstance(data, str) and _DATA.fullmatch(data)):
        return None
    return f"'&{name}({data})'" if " " in data else f"&{name}({data})"
