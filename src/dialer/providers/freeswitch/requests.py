"""The command that asks for one call.

In: a request and the trunk's config. Out: one line for FreeSWITCH, or the refusal of what must not be put into one.
FreeSWITCH splits that line at blanks, commas, braces and quotes, several times over, and knows no way of writing them
that holds through all of it. So what people and lists can choose is of few plain characters, or percent-encoded.
"""

import re
from urllib.parse import quote

import structlog
from pendulum import DateTime

from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.providers.base import CallRequest, ContactCard, Refused
from dialer.providers.freeswitch.config import FreeSwitchConfig
from dialer.providers.switches import NOT_PERMITTED, caller_id, plain_fields, plain_json

# Every event of the call bears its variables.
LONGEST_CONTACT = 8000
LONGEST_FIELDS = 4000

_NUMBER = re.compile(r"\+?[0-9]{1,20}")
# What splits the variables, or with underscores the destinations, of an originate.
_IN_A_VARIABLE = str.maketrans(" :", "__")

log = structlog.get_logger()


def originate(request: CallRequest, config: FreeSwitchConfig, trunk_id: TrunkId, now: DateTime) -> str | Refused:
    """Write the command, or say what is wrong with the request."""
    if not _NUMBER.fullmatch(request.to_number):
        return Refused(RefusalCause.INVALID_NUMBER, CauseClass.CONTACT)
    from_number = caller_id(request.from_number, config.caller_id)
    if from_number is None:
        return Refused(RefusalCause.INVALID_CALLER_ID, CauseClass.INFRASTRUCTURE)
    answered = config.destination(request.connection)
    if answered is None:
        return NOT_PERMITTED
    variables = ",".join(f"{name}={value}" for name, value in _variables(request, from_number, trunk_id).items())
    destination = config.dial_string.replace("{number}", request.to_number)
    destination = destination.replace("{e164}", request.to_number.removeprefix("+"))
    destination = _ringing_by(request, now, destination)
    return f"bgapi originate {{{variables}}}{destination} {answered}\nJob-UUID: {request.attempt_id}"


def _ringing_by(request: CallRequest, now: DateTime, destination: str) -> str:
    """Have a leg given up that does not ring before the window ends. `progress_timeout` would cut ringing ones too."""
    left = None if request.ring_by is None else (request.ring_by - now).total_seconds()
    if left is None or left >= request.ring_timeout_seconds:
        return destination
    # FreeSWITCH looks once a second whether more than so many have passed.
    timeout = f"leg_progress_timeout={max(1, int(left) - 1)}"
    return f"[{timeout},{destination[1:]}" if destination.startswith("[") else f"[{timeout}]{destination}"


def _variables(request: CallRequest, from_number: str, trunk_id: TrunkId) -> dict[str, str]:
    attempt_id = str(request.attempt_id)
    found = {
        "origination_uuid": attempt_id,
        "origination_caller_id_number": from_number,
        "originate_timeout": str(max(1, int(request.ring_timeout_seconds))),
        "ignore_early_media": "true",
        # A 302 would ring a number that is on no list, and may be suppressed.
        "outbound_redirect_fatal": "true",
        "dialer_attempt_id": attempt_id,
        "dialer_trunk_id": str(trunk_id),
    }
    if request.detect_machine:
        found["dialer_detect_machine"] = "true"
    return found | _contact(request.contact)


def _contact(contact: ContactCard) -> dict[str, str]:
    """Write who is called, for whoever talks to them: harmless variables, and all of it as JSON for `url_decode`."""
    known = {"name": contact.name, "external_id": contact.external_id, "variables": dict(contact.variables)}
    text = quote(plain_json({name: value for name, value in known.items() if value}), safe="")
    found = {f"dialer_{name}": value.translate(_IN_A_VARIABLE) for name, value in plain_fields(contact)}
    if any(known.values()):
        found["dialer_contact"] = text
    if len(text) > LONGEST_CONTACT or sum(map(len, found.values())) - len(text) > LONGEST_FIELDS:
        log.warning("contact is too long for the variables of a channel", longest=LONGEST_CONTACT)
        return {}
    return found
