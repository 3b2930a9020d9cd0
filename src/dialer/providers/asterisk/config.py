"""The config of a trunk to an Asterisk.

In: a JSON object typed by people. Out: a frozen `AsteriskConfig`, or `InvalidInput` that names every wrong field at
once. The password stays what it is in the config: a reference to the environment.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from dialer.errors import FieldError, InvalidInput
from dialer.providers.switches import MOST_DESTINATIONS, CallerIdFormat, Context, Destination, extension_of

LONGEST_NUMBER = 16
# Asterisk copies what follows the technology into a buffer of 80 bytes, and calls whatever is left of it.
LONGEST_DEVICE = 79

_PLACEHOLDER = re.compile(r"\{(number|e164)\}")


def _refusal(reason: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def _url(url: str) -> str:
    """Return where ARI is, with its `/ari` and no slash at the end."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url:
        raise _refusal("must look like http://127.0.0.1:8088 or https://pbx.example.com:8089/prefix")
    if parts.username is not None or parts.password is not None:
        raise _refusal("must not hold a username or password: they have fields of their own")
    if parts.query or parts.fragment:
        raise _refusal("must end with its path")
    return f"{url.rstrip('/').removesuffix('/ari')}/ari"


def _endpoint(template: str) -> str:
    technology, slash, device = template.partition("/")
    if not slash or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", technology) or not device:
        raise _refusal("must begin with a technology and a slash, as in PJSIP/{number}@provider")
    if len(_PLACEHOLDER.findall(device)) != 1 or re.search(r"[{}]", _PLACEHOLDER.sub("", device)):
        raise _refusal("must have {number} or {e164} once, and no other braces")
    if not device.isascii() or not device.isprintable() or re.search(r"[\s&]", device):
        raise _refusal("must be printable ASCII without spaces and without &, which would ring several at once")
    if len(_PLACEHOLDER.sub("", device)) + LONGEST_NUMBER > LONGEST_DEVICE:
        raise _refusal(f"is longer than the {LONGEST_DEVICE} characters that Asterisk dials, with a number in it")
    return template


class Extension(Destination):
    """An extension of the dialplan."""

    context: Context
    exten: str = Field(pattern=r"^[A-Za-z0-9*#+][A-Za-z0-9*#+._-]{0,78}$")
    priority: int = Field(default=1, ge=1)


class Stasis(Destination):
    """A Stasis application."""

    app: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,78}$")


class AsteriskConfig(BaseModel):
    """One trunk. `endpoint`: what is dialled, with {number} (+4930…) or {e164} (4930…) in it.

    `context`: in which the agents' extensions are looked for. `destinations`: what else agents may name, exactly so.
    `caller_id`: how the outbound number is written.
    `machine_variable`: the channel variable that is MACHINE when a machine has answered; AMD sets AMDSTATUS so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    url: Annotated[str, Field(max_length=500), AfterValidator(_url)]
    # HTTP's basic authentication separates the two by a colon.
    username: str = Field(min_length=1, max_length=255, pattern=r"^[^:\x00-\x1f\x7f]+$")
    password: str = Field(min_length=1, max_length=255, repr=False)
    endpoint: Annotated[str, Field(max_length=255), AfterValidator(_endpoint)]
    context: Context | None = None
    destinations: tuple[Extension | Stasis, ...] = Field(default=(), max_length=MOST_DESTINATIONS, strict=False)
    caller_id: CallerIdFormat = "e164"
    timeout_seconds: float = Field(default=5.0, gt=0, le=15, allow_inf_nan=False)
    machine_variable: str = Field(default="AMDSTATUS", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,79}$")

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            raise InvalidInput([_field_error(one["loc"], one["msg"]) for one in error.errors()]) from None

    def destination(self, connection: Mapping[str, Any]) -> Extension | Stasis | None:
        """Return where an answered call of this agent goes, in the trunk's own words; None: the trunk forbids it."""
        if self.context and (exten := extension_of(connection)):
            return Extension(context=self.context, exten=exten)
        return next((one for one in self.destinations if one.is_named_by(connection)), None)

    def dialled(self, number: str) -> str:
        """Return the endpoint of a number in E.164 with its plus."""
        return _PLACEHOLDER.sub(
            lambda found: number if found[1] == "number" else number.removeprefix("+"), self.endpoint
        )

    @property
    def technology(self) -> str:
        return self.endpoint.partition("/")[0]

    @property
    def peer(self) -> tuple[str, str] | None:
        """The technology and name of the endpoint that all calls go through, where it can be told and looked up."""
        technology, _, device = self.endpoint.partition("/")
        name = device.rpartition("@")[2] if "@" in device and "/" not in device else device.partition("/")[0]
        is_peer = technology.upper() == "PJSIP" and not _PLACEHOLDER.search(name)
        return (technology, name) if is_peer else None


def _field_error(path: tuple[int | str, ...], reason: str) -> FieldError:
    return FieldError(".".join(map(str, path)), reason[0].lower() + reason[1:])
