"""The config of a trunk to Twilio, and an agent's `connection` there."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, Strict, ValidationInfo, field_validator

from dialer.domain.validation import Storable, wrong_field
from dialer.errors import InvalidInput
from dialer.providers.http_client import split_url
from dialer.providers.trunk_config import AgentConnection, TimeoutSeconds, TrunkConfig


def _written(pattern: str, reason: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise wrong_field(reason)
        return value

    return AfterValidator(check)


def _base_url(value: str) -> str:
    """Keep no slash at the end, so that a path can be added."""
    parts = split_url(value)
    if parts is None or "@" in parts.netloc or value.rstrip("/") != f"{parts.scheme}://{parts.netloc}":
        raise wrong_field("must look like https://api.twilio.com, without a path or credentials")
    return value.rstrip("/")


def _page_url(value: str) -> str:
    if split_url(value) is None:
        raise wrong_field("must be a URL that begins with http:// or https://")
    return value


_Place = Annotated[str, _written(r"[a-z0-9-]{1,32}", "must be a name of Twilio's, such as ie1 or dublin")]


class TwilioConfig(TrunkConfig):
    """How one trunk reaches Twilio.

    `listed_after_seconds`: Twilio lists a new call among the account's calls within this time; before it is over, a
    call that is not listed may still exist. `timeout_seconds`: for one response, connecting included.
    """

    account_sid: Annotated[str, _written("AC[0-9a-fA-F]{32}", "must be an account SID: AC and 32 hexadecimal digits")]
    auth_token: Annotated[
        str, _written("env:[A-Za-z_][A-Za-z0-9_]*", "must be env: and the variable of the environment that holds it")
    ]
    api_base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    region: _Place | None = None
    edge: _Place | None = None
    timeout_seconds: TimeoutSeconds = 5.0
    listed_after_seconds: float = Field(default=60.0, ge=0, le=3600, allow_inf_nan=False)

    @property
    def api_url(self) -> str:
        """The address of the API. An edge without a region enters the default region."""
        place = [part for part in (self.edge, self.region or (self.edge and "us1")) if part]
        return self.api_base_url or f"https://{'.'.join(['api', *place])}.twilio.com"

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        parsed = super().parse(config)
        if parsed.api_base_url and (parsed.region or parsed.edge):
            raise InvalidInput.of("api_base_url", "says where the API is: region and edge must not be given with it")
        return parsed


class ConnectionForms:
    """The forms of an agent's `connection`. Their names are part of the API: of its schema and of its field errors."""

    class Twilio(AgentConnection):
        """Either `url`, which Twilio asks what to do with an answered call, or `twiml`, which says it."""

        model_config = ConfigDict(
            json_schema_extra={
                "if": {"required": ["url"], "properties": {"url": {"type": "string"}}},
                "then": {"properties": {"twiml": {"type": "null"}}},
                "else": {"required": ["twiml"], "properties": {"twiml": {"type": "string"}}},
            },
        )

        twiml: Storable | None = Field(default=None, min_length=1, max_length=4000)
        url: Annotated[str, AfterValidator(_page_url)] | None = Field(
            default=None, min_length=1, max_length=2000, pattern="^https?://", validate_default=True
        )
        machine_detection: Annotated[bool, Strict()] = False

        @field_validator("url")
        @classmethod
        def _one_of_both(cls, url: str | None, info: ValidationInfo) -> str | None:
            """Require one of the two. What is wrong with `twiml` is reported there; it is not in `info.data` then."""
            if "twiml" in info.data and (url is None) == (info.data["twiml"] is None):
                raise wrong_field("is needed, or twiml in its place" if url is None else "must not be given with twiml")
            return url


TwilioConnection = ConnectionForms.Twilio
