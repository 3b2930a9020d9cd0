"""The config of a trunk to an Asterisk, and an agent's `connection` on it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from dialer.domain.validation import wrong_field
from dialer.providers.http_client import split_url
from dialer.providers.switches import (
    MAX_DESTINATIONS,
    CallerIdFormat,
    Context,
    Destination,
    Place,
    Plain,
    extension_of,
)
from dialer.providers.trunk_config import AgentConnection, TimeoutSeconds, TrunkConfig

LONGEST_NUMBER = 16
# Asterisk copies what follows the technology into a buffer of 80 bytes, and calls whatever is left of it.
LONGEST_DEVICE = 79

_PLACEHOLDER = re.compile(r"\{(number|e164)\}")


def _url(url: str) -> str:
    """Return where ARI is, with its `/ari` and no slash at the end."""
    parts = split_url(url)
    if parts is None or not url.isprintable() or " " in url:
        raise wrong_field("must look like http://127.0.0.1:8088 or https://pbx.example.com:8089/prefix")
    if parts.username is not None or parts.password is not None:
        raise wrong_field("must not hold a username or password: they have fields of their own")
    if parts.query or parts.fragment:
        raise wrong_field("must end with its path")
    return f"{url.rstrip('/').removesuffix('/ari')}/ari"


def _endpoint(template: str) -> str:
    technology, slash, device = template.partition("/")
    if not slash or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", technology) or not device:
        raise wrong_field("must begin with a technology and a slash, as in PJSIP/{number}@provider")
    if len(_PLACEHOLDER.findall(device)) != 1 or re.search(r"[{}]", _PLACEHOLDER.sub("", device)):
        raise wrong_field("must have {number} or {e164} once, and no other braces")
    if not device.isascii() or not device.isprintable() or re.search(r"[\s&]", device):
        raise wrong_field("must be printable ASCII without spaces and without &, which would ring several at once")
    if len(_PLACEHOLDER.sub("", device)) + LONGEST_NUMBER > LONGEST_DEVICE:
        raise wrong_field(f"is longer than the {LONGEST_DEVICE} characters that Asterisk dials, with a number in it")
    return template


class Extension(Destination):
    """An extension of the dialplan."""

    context: Context
    exten: str = Field(pattern=r"^[A-Za-z0-9*#+][A-Za-z0-9*#+._-]{0,78}$")
    priority: int = Field(default=1, ge=1)


class Stasis(Destination):
    """A Stasis application."""

    app: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,78}$")


class AsteriskConfig(TrunkConfig):
    """One trunk. `endpoint`: what is dialled, with {number} (+4930…) or {e164} (4930…) in it.

    `context`: in which the agents' extensions are looked for. `destinations`: what else agents may name, exactly so.
    `caller_id`: how the outbound number is written.
    `machine_variable`: the channel variable that is MACHINE when a machine has answered; AMD sets AMDSTATUS so.
    """

    url: Annotated[str, Field(max_length=500), AfterValidator(_url)]
    # HTTP's basic authentication separates the two by a colon.
    username: str = Field(min_length=1, max_length=255, pattern=r"^[^:\x00-\x1f\x7f]+$")
    password: str = Field(min_length=1, max_length=255, repr=False)
    endpoint: Annotated[str, Field(max_length=255), AfterValidator(_endpoint)]
    context: Context | None = None
    destinations: tuple[Extension | Stasis, ...] = Field(default=(), max_length=MAX_DESTINATIONS, strict=False)
    caller_id: CallerIdFormat = "e164"
    timeout_seconds: TimeoutSeconds = 5.0
    machine_variable: str = Field(default="AMDSTATUS", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,79}$")

    def destination(self, connection: Mapping[str, Any]) -> Extension | Stasis | None:
        """Return where an answered call of this agent goes, in the trunk's own words; None: the trunk forbids it."""
        if self.context and (exten := extension_of(connection)):
            return Extension(context=self.context, exten=exten)
        return next((place for place in self.destinations if place.is_named_by(connection)), None)

    def dialled(self, number: str) -> str:
        """Return the endpoint of a number in E.164 with its plus."""
        return _PLACEHOLDER.sub(
            lambda match: number if match[1] == "number" else number.removeprefix("+"), self.endpoint
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


class ConnectionForms:
    """The forms of an agent's `connection`. Their names are part of the API: of its schema and of its field errors."""

    class Extension(AgentConnection):
        """One of the trunk's `destinations`, and so are the next two."""

        context: str = Place
        exten: str = Place
        priority: int = Field(default=1, ge=1)

    class Stasis(AgentConnection):
        app: str = Place


AsteriskConnection = Plain | ConnectionForms.Extension | ConnectionForms.Stasis
