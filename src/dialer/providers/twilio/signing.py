"""The signature of Twilio's webhook requests: HMAC-SHA1 over the URL and the sorted fields of the form.

As in https://www.twilio.com/docs/usage/webhooks/webhooks-security. Twilio signs the URL with or without the port.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

PORTS = {"https": 443, "http": 80}


def is_signed(url: str, form: Mapping[str, Sequence[str]], given: str, auth_token: str) -> bool:
    """Return whether this is the signature of the URL and the fields; raises ValueError if they cannot be signed."""
    fields = "".join(f"{name}{value}" for name in sorted(form) for value in sorted(set(form[name])))
    # Both are compared, whichever is right: the time says nothing.
    matches = [
        hmac.compare_digest(_signature(spelling + fields, auth_token), given.encode()) for spelling in _spellings(url)
    ]
    return any(matches)


def _signature(text: str, auth_token: str) -> bytes:
    return base64.b64encode(hmac.digest(auth_token.encode(), text.encode(), "sha1"))


def _spellings(url: str) -> tuple[str, str]:
    """Return the URL without a port, and with one."""
    parts = urlsplit(url)
    host = parts.netloc.removesuffix(f":{parts.port}")
    port = parts.port or PORTS.get(parts.scheme, 0)
    return parts._replace(netloc=host).geturl(), parts._replace(netloc=f"{host}:{port}").geturl()
