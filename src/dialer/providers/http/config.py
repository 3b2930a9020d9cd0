"""How a trunk to an HTTP platform is configured.

In: a trunk's `config`. Out: a frozen `Config`, or InvalidInput that names every wrong field at once. The secret is only
named here, never read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dialer.domain.ids import AttemptId
from dialer.providers.http.fields import invalid, refusal

ATTEMPT = "{attempt_id}"
LONGEST_URL = 2000


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not text.isascii() or not text.isprintable() or " " in text:
        raise refusal("must be a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise refusal("must hold no user or password: requests are signed instead")
    if parts.fragment:
        raise refusal("must have no #fragment")
    return text


def _without_braces(text: str) -> str:
    if "{" in text or "}" in text:
        raise refusal("must have no braces: it is the same for all calls")
    return text


def _of_a_call(text: str) -> str:
    """Demand the place where the attempt goes, after the host."""
    parts = urlsplit(text)
    rest = text.replace(ATTEMPT, "", 1)
    if ATTEMPT not in f"{parts.path}?{parts.query}" or "{" in rest or "}" in rest:
        raise refusal(f"must have {ATTEMPT} in it, once, where the call's id goes")
    return text


Url = Annotated[str, Field(max_length=LONGEST_URL), AfterValidator(_url), AfterValidator(_without_braces)]
CallUrl = Annotated[str, Field(max_length=LONGEST_URL), AfterValidator(_url), AfterValidator(_of_a_call)]
Reference = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$", max_length=255)]


class Config(BaseModel):
    """One platform. `timeout_seconds`: patience for one answer, from connecting to its last byte."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: Url
    secret: Reference
    look_up_url: CallUrl | None = None
    hang_up_url: CallUrl | None = None
    health_url: Url | None = None
    timeout_seconds: float = Field(default=5.0, gt=0, le=15, allow_inf_nan=False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            raise invalid(error) from None


def of_call(url: str, attempt_id: AttemptId) -> str:
    return url.replace(ATTEMPT, str(attempt_id))
