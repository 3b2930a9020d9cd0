"""The command that places a call.

In: a call request and the trunk's config. Out: one line for FreeSWITCH, or the refusal of values that must not be in
it. FreeSWITCH splits the line several times at blanks, commas, braces and quotes, and no escaping survives all of that.
So values that people or contact lists choose consist of a few harmless characters, or are percent-encoded.
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

# Every event of the call repeats its variables.
LONGEST_CONTACT = 8000
LONGEST_FIELDS = 4000

_NUMBER = re.compile(r"\+?[0-9]{1,20}")
# A blank splits the variables of an originate, and :_: its destinations.
_IN_A_VARIABLE = str.maketrans(" :", "__")

log = structlog.get_logger()


def originate(request: CallRequest, config: FreeSwitchConfig, trunk_id: TrunkId, now: DateTime) -> str | Refused:
    """Return the command, or the refusal of a request that cannot be placed."""
    if not _NUMBER.fullmatch(request.to_number):
        return Refused(RefusalCause.INVALID_NUMBER, CauseClass.CONTACT)
    from_number = caller_id(request.from_number, config.caller_id)
    if from_number is None:
        return Refused(RefusalCause.INVALID_CALLER_ID, CauseClass.INFRASTRUCTURE)
    application = config.destination(request.connection)
    if application is None:
        return NOT_PERMITTED
    variables = ",".join(f"{name}={value}" for name, value in _variables(request, from_number, trunk_id).items())
    destination = config.dial_string.replace("{number}", request.to_number)
    destination = destination.replace("{e164}", request.to_number.removeprefix("+"))
    destination = _limit_setup(request, now, destination)
    return f"bgapi originate {{{variables}}}{destination} {application}\nJob-UUID: {request.attempt_id}"


def _limit_setup(request: CallRequest, now: DateTime, destination: str) -> str:
    """End a call that does not ring before the window ends. `progress_timeout` would also end a call that rings."""
    left = None if request.ring_by is None else (request.ring_by - now).total_seconds()
    if left is None or left >= request.ring_timeout_seconds:
        return destination
    # FreeSWITCH checks this timeout once a second, and ends the call only when it is exceeded.
    timeout = f"leg_progress_timeout={max(1, int(left) - 1)}"
    return f"[{timeout},{destination[1:]}" if destination.startswith("[") else f"[{timeout}]{destination}"


def _variables(request: CallRequest, from_number: str, trunk_id: TrunkId) -> dict[str, str]:
    attempt_id = str(request.attempt_id)
    variables = {
        "origination_uuid": attempt_id,
        "origination_caller_id_number": from_number,
        "originate_timeout": str(max(1, int(request.ring_timeout_seconds))),
        "ignore_early_media": "true",
        # A redirect (302) would call a number that is on no contact list and may be suppressed.
        "outbound_redirect_fatal": "true",
        "dialer_attempt_id": attempt_id,
        "dialer_trunk_id": str(trunk_id),
    }
    if request.detect_machine:
        variables["dialer_detect_machine"] = "true"
    return variables | _contact(request.contact)


def _contact(contact: ContactCard) -> dict[str, str]:
    """Return the contact for the agent: harmless values as variables, and the whole as JSON for `url_decode`."""
    card = {"name": contact.name, "external_id": contact.external_id, "variables": dict(contact.variables)}
    text = quote(plain_json({name: value for name, value in card.items() if value}), safe="")
    variables = {f"dialer_{name}": value.translate(_IN_A_VARIABLE) for name, value in plain_fields(contact)}
    if any(card.values()):
        variables["dialer_contact"] = text
    if len(text) > LONGEST_CONTACT or sum(map(len, variables.values())) - len(text) > LONGEST_FIELDS:
        log.warning("contact is too long for the variables of a channel", longest=LONGEST_CONTACT)
        return {}
    return variables
