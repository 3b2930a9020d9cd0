"""What Asterisk and FreeSWITCH share: a dialplan that evaluates what it is given, and no records of ended calls.

In: what an agent and a contact list may choose. Out: text that no dialplan, expression or shell evaluates. Characters
are allowed one by one; whatever is not known to be harmless is left out or escaped.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pendulum import DateTime
from pydantic import BaseModel, ConfigDict, Field

from dialer.domain import phone
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import FieldError
from dialer.providers.base import CallHandle, ContactCard, Refused
from dialer.providers.trunk_config import AgentConnection

MAX_VARIABLES = 30
MAX_VALUE = 200
MAX_NAME = 40
MAX_DESTINATIONS = 100
# Switches give whole seconds, and an attempt is created shortly before its request leaves.
ROUNDING_SECONDS = 2.0

NOT_PERMITTED = Refused(RefusalCause.AGENT_NOT_PERMITTED, CauseClass.AGENT)
"""The trunk does not let answered calls go where this agent's connection says."""


def agent_refusal(connection: Mapping[str, Any], context: str | None) -> FieldError:
    """Say why a trunk with this context does not let answered calls go where this connection says."""
    if "extension" in connection and context is None:
        return FieldError("extension", "the trunk has no context")
    return FieldError("", "it is none of the trunk's destinations")


Context = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,79}$")]
Place = Field(min_length=1, max_length=255)
CallerIdFormat = Literal["e164", "digits", "national"]

_E164 = re.compile(r"\+[0-9]{2,15}")
_EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,78}")
_HARMLESS_SIGNS = frozenset(" ._+@/:-")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNUSUAL = re.compile(r"[^A-Za-z0-9 ._+-]")


class Destination(BaseModel):
    """Where an answered call may go, as the trunk's admin has written it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def is_named_by(self, connection: Mapping[str, Any]) -> bool:
        """Say whether an agent's connection names exactly this."""
        fields = type(self).model_fields.items()
        defaults = {name: field.default for name, field in fields if not field.is_required()}
        return defaults | dict(connection) == self.model_dump()


class Plain(AgentConnection):
    """An extension in the context that the trunk names."""

    extension: str = Field(min_length=1, max_length=79, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")


def has_restarted(up_seconds: float | None, call: CallHandle, now: DateTime) -> bool:
    """Say whether a switch was surely started after this attempt was created: then its channel is over."""
    return up_seconds is not None and up_seconds + ROUNDING_SECONDS < (now - call.created_at).total_seconds()


def caller_id(number: str, written: CallerIdFormat) -> str | None:
    """Write an outbound number in the format of the trunk's network; None: it is not in E.164."""
    if not _E164.fullmatch(number):
        return None
    if written == "national":
        return phone.national(number)
    return number if written == "e164" else number.removeprefix("+")


def extension_of(connection: Mapping[str, Any]) -> str | None:
    """Return the extension of an agent's connection that names one and nothing else."""
    extension = connection.get("extension")
    is_plain = isinstance(extension, str) and _EXTENSION.fullmatch(extension) is not None
    return extension if is_plain and len(connection) == 1 else None


def plain_fields(contact: ContactCard) -> Iterator[tuple[str, str]]:
    """Yield the fields of a contact that are texts or numbers, for channel variables: names and harmless values."""
    for name, value in (("contact_name", contact.name), ("contact_external_id", contact.external_id)):
        if value is not None:
            yield name, plain(value)
    for name, value in list(contact.variables.items())[:MAX_VARIABLES]:
        word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:MAX_NAME]
        if word and isinstance(value, str | int | float):
            yield f"var_{word}", plain(value)


def plain(value: str | float) -> str:
    """Keep letters, marks and digits of any script, and a few signs."""
    text = str(value)[: 2 * MAX_VALUE]
    return "".join(filter(_is_harmless, text))[:MAX_VALUE]


def _is_harmless(character: str) -> bool:
    return character in _HARMLESS_SIGNS or unicodedata.category(character)[0] in "LMN"


def plain_json(value: Any) -> str:
    r"""Write JSON in whose strings every character but letters, digits and a few signs of ASCII is \uXXXX.

    So a dialplan that expands it a second time evaluates nothing in it and leaves it whole.
    """
    return _JSON_STRING.sub(lambda match: f'"{_escaped(json.loads(match[0]))}"', json.dumps(value, default=str))


def _escaped(text: str) -> str:
    return _UNUSUAL.sub(lambda match: "".join(f"\\u{unit:04x}" for unit in _utf16(match[0])), text)


def _utf16(character: str) -> Iterator[int]:
    encoded = character.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(encoded[at : at + 2], "big") for at in range(0, len(encoded), 2))
