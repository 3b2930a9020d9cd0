"""The config of a trunk to a FreeSWITCH, and an agent's `connection` on it."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from dialer.domain.validation import wrong_field
from dialer.providers.switches import (
    MAX_DESTINATIONS,
    CallerIdFormat,
    Context,
    Destination,
    Plain,
    extension_of,
)
from dialer.providers.trunk_config import AgentConnection, TimeoutSeconds, TrunkConfig

# One attempt is one call: commas, bars and :_: would make FreeSWITCH ring several ends, or one after the other.
_DIAL_STRING = re.compile(r"[A-Za-z0-9/@.:;=&?+_~%#*\[\]-]+")
_GATEWAY = re.compile(r"sofia/gateway/([^/{}]+)/")
PLACEHOLDERS = ("{number}", "{e164}")


class Application(Destination):
    """An application of the dialplan and its data. A closing parenthesis in the data would end it, whatever comes after
    it; quotes and backslashes change where the command is split.
    """

    application: str = Field(pattern=r"^[A-Za-z0-9_]{1,100}$")
    data: str = Field(default="", pattern=r"^[^\x00-\x1f\x7f)'\\]{0,2000}$")


class FreeSwitchConfig(TrunkConfig):
    """`dial_string`: where calls go, with {number} (as +4930…) or {e164} (without the plus).

    `context`: in which the agents' extensions are looked for. `destinations`: what else agents may name, exactly so.
    `caller_id`: how the outbound number is written.
    `machine_variable`: NAME=VALUE, the channel variable and the value of it that says a machine has answered.
    `timeout_seconds`: for one answer.
    """

    host: str = Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.:_-]+$")
    port: int = Field(default=8021, ge=1, le=65535)
    password: str = Field(min_length=1, max_length=255, repr=False)
    dial_string: str = Field(max_length=500)
    context: Context | None = None
    destinations: tuple[Application, ...] = Field(default=(), max_length=MAX_DESTINATIONS, strict=False)
    caller_id: CallerIdFormat = "e164"
    machine_variable: str | None = Field(default=None, max_length=200, pattern=r"^[A-Za-z0-9_.-]+=[^\s=]+$")
    timeout_seconds: TimeoutSeconds = 5.0

    @field_validator("dial_string")
    @classmethod
    def _one_call(cls, value: str) -> str:
        bare = value
        for placeholder in PLACEHOLDERS:
            bare = bare.replace(placeholder, "0")
        if bare == value:
            raise wrong_field("must contain {number} or {e164}, as in sofia/gateway/provider/{number}")
        if not _DIAL_STRING.fullmatch(bare) or ":_:" in bare:
            raise wrong_field("must be one destination, without blanks, commas, bars, quotes and variables in braces")
        return value

    def destination(self, connection: Mapping[str, Any]) -> str | None:
        """Return where an answered call of this agent goes, for `originate`; None: the trunk forbids it."""
        if self.context and (extension := extension_of(connection)):
            return f"{extension} XML {self.context}"
        named = next((place for place in self.destinations if place.is_named_by(connection)), None)
        if named is None:
            return None
        return f"'&{named.application}({named.data})'" if " " in named.data else f"&{named.application}({named.data})"

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def gateway(self) -> str | None:
        """The Sofia gateway that calls go through, where the dial string names one."""
        match = _GATEWAY.match(self.dial_string)
        return match[1] if match else None

    @property
    def machine(self) -> tuple[str, str] | None:
        """The field of events, and its value, which say that a machine has answered."""
        if self.machine_variable is None:
            return None
        name, _, value = self.machine_variable.partition("=")
        return f"variable_{name}", value


class ConnectionForms:
    """The forms of an agent's `connection`. Their names are part of the API: of its schema and of its field errors."""

    class FreeSwitch(AgentConnection):
        application: str = Field(min_length=1, max_length=100, pattern="^[A-Za-z0-9_]+$")
        # What could not be written into an originate so that nothing else is read there.
        data: str = Field(default="", max_length=2000, pattern=r"^[^\x00-\x1f\x7f)'\\]*$")


FreeSwitchConnection = Plain | ConnectionForms.FreeSwitch
