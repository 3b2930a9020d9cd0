"""How a trunk reaches its FreeSWITCH, read from the trunk's `config`.

In: a JSON object typed by people. Out: a frozen `TrunkConfig`, or InvalidInput with every wrong field at once. The
password is the name of where it is kept; it is not looked up here.
"""

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dialer.errors import FieldError, InvalidInput
from dialer.providers.switches import MOST_DESTINATIONS, CallerIdFormat, Context, Destination, extension_of

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


class TrunkConfig(BaseModel):
    """`dial_string`: where calls go, with {number} (as +4930…) or {e164} (without the plus).

    `context`: in which the agents' extensions are looked for. `destinations`: what else agents may name, exactly so.
    `caller_id`: how the outbound number is written.
    `machine_variable`: NAME=VALUE, the channel variable and the value of it that says a machine has answered.
    `timeout_seconds`: the patience for one answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: str = Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.:_-]+$")
    port: int = Field(default=8021, ge=1, le=65535)
    password: str = Field(min_length=1, max_length=255, repr=False)
    dial_string: str = Field(max_length=500)
    context: Context | None = None
    destinations: tuple[Application, ...] = Field(default=(), max_length=MOST_DESTINATIONS, strict=False)
    caller_id: CallerIdFormat = "e164"
    machine_variable: str | None = Field(default=None, max_length=200, pattern=r"^[A-Za-z0-9_.-]+=[^\s=]+$")
    timeout_seconds: float = Field(default=5.0, gt=0, le=15, allow_inf_nan=False)

    @field_validator("dial_string")
    @classmethod
    def _one_call(cls, value: str) -> str:
        bare = value
        for placeholder in PLACEHOLDERS:
            bare = bare.replace(placeholder, "0")
        if bare == value:
            raise ValueError("must contain {number} or {e164}, as in sofia/gateway/provider/{number}")
        if not _DIAL_STRING.fullmatch(bare) or ":_:" in bare:
            raise ValueError("must be one destination, without blanks, commas, bars, quotes and variables in braces")
        return value

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            # The messages, never the inputs: one of them is a password.
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidInput(
                [FieldError(".".join(map(str, one["loc"])), _reason(one["msg"])) for one in found]
            ) from None

    def destination(self, connection: Mapping[str, Any]) -> str | None:
        """Return where an answered call of this agent goes, for `originate`; None: the trunk forbids it."""
        if self.context and (extension := extension_of(connection)):
            return f"{extension} XML {self.context}"
        named = next((one for one in self.destinations if one.is_named_by(connection)), None)
        if named is None:
            return None
        return f"'&{named.application}({named.data})'" if " " in named.data else f"&{named.application}({named.data})"

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def gateway(self) -> str | None:
        """The Sofia gateway that calls go through, where the dial string names one."""
        found = _GATEWAY.match(self.dial_string)
        return found[1] if found else None

    @property
    def machine(self) -> tuple[str, str] | None:
        """The field of events, and its value, which say that a machine has answered."""
        if self.machine_variable is None:
            return None
        name, _, value = self.machine_variable.partition("=")
        return f"variable_{name}", value


def _reason(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
