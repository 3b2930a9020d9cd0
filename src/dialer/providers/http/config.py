"""The config of a trunk to an HTTP platform, and an agent's `connection` on it."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from dialer.domain.ids import AttemptId
from dialer.domain.validation import Name, wrong_field
from dialer.providers.http_client import split_url
from dialer.providers.trunk_config import AgentConnection, TimeoutSeconds, TrunkConfig

ATTEMPT = "{attempt_id}"
MAX_URL = 2000


def _url(text: str) -> str:
    parts = split_url(text)
    if parts is None or not text.isascii() or not text.isprintable() or " " in text:
        raise wrong_field("must be a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise wrong_field("must hold no user or password: requests are signed instead")
    if parts.fragment:
        raise wrong_field("must have no #fragment")
    return text


def _without_braces(text: str) -> str:
    if "{" in text or "}" in text:
        raise wrong_field("must have no braces: it is the same for all calls")
    return text


def _with_attempt(text: str) -> str:
    """Require the placeholder of the attempt's id, after the host."""
    parts = urlsplit(text)
    rest = text.replace(ATTEMPT, "", 1)
    if ATTEMPT not in f"{parts.path}?{parts.query}" or "{" in rest or "}" in rest:
        raise wrong_field(f"must have {ATTEMPT} in it, once, where the call's id goes")
    return text


Url = Annotated[str, Field(max_length=MAX_URL), AfterValidator(_url), AfterValidator(_without_braces)]
CallUrl = Annotated[str, Field(max_length=MAX_URL), AfterValidator(_url), AfterValidator(_with_attempt)]
Reference = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$", max_length=255)]


class HttpConfig(TrunkConfig):
    """One platform. `timeout_seconds`: for one response, from connecting to its last byte."""

    url: Url
    secret: Reference
    look_up_url: CallUrl | None = None
    hang_up_url: CallUrl | None = None
    health_url: Url | None = None
    timeout_seconds: TimeoutSeconds = 5.0


class Platform(AgentConnection):
    """`agent`: which of the platform's own agents takes the call, where it has several."""

    agent: Name | None = None


def call_url(url: str, attempt_id: AttemptId) -> str:
    """Write the URL of one call."""
    return url.replace(ATTEMPT, str(attempt_id))
