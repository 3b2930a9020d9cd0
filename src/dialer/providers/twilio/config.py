"""A trunk's config for Twilio, typed by people. Out: a frozen `Config`, or InvalidInput that names every wrong field.

The auth token stays in the environment: here is only the name of its variable.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from dialer.errors import FieldError, InvalidInput


def _written(pattern: str, reason: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise PydanticCustomError("refused", "{reason}", {"reason": reason})
        return value

    return AfterValidator(check)


def _base_url(value: str) -> str:
    """Keep no slash at the end, so that a path can be added."""
    try:
        parts = urlsplit(value)
        is_base = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        is_base = None
    if not is_base or value.rstrip("/") != f"{parts.scheme}://{parts.netloc}":
        reason = "must look like https://api.twilio.com, without a path or credentials"
        raise PydanticCustomError("refused", "{reason}", {"reason": reason})
    return value.rstrip("/")


_Place = Annotated[str, _written(r"[a-z0-9-]{1,32}", "must be a name of Twilio's, such as ie1 or dublin")]


class Config(BaseModel):
    """How one trunk reaches Twilio.

    `listed_after_seconds`: a call that was made is surely among the account's calls after so long; before that, not
    finding it there says nothing. `timeout_seconds`: the patience for one answer, the connection included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    account_sid: Annotated[str, _written("AC[0-9a-fA-F]{32}", "must be an account SID: AC and 32 hexadecimal digits")]
    auth_token: Annotated[
        str, _written("env:[A-Za-z_][A-Za-z0-9_]*", "must be env: and the variable of the environment that holds it")
    ]
    api_base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    region: _Place | None = None
    edge: _Place | None = None
    timeout_seconds: float = Field(default=5.0, gt=0, le=15, allow_inf_nan=False)
    listed_after_seconds: float = Field(default=60.0, ge=0, le=3600, allow_inf_nan=False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        try:
            found = cls.model_validate(dict(config))
        except ValidationError as error:
            raise InvalidInput([_field_error(one) for one in error.errors(include_url=False)]) from None
        if found.api_base_url and (found.region or found.edge):
            raise InvalidInput.of("api_base_url", "says where the API is: region and edge must not be given with it")
        return found


def _field_error(one: Any) -> FieldError:
    return FieldError(".".join(map(str, one["loc"])), one["msg"][0].lower() + one["msg"][1:])
