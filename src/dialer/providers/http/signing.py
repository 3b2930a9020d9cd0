"""Signatures both ways, as Standard Webhooks 1.0 has it: HMAC-SHA256 over `id.timestamp.body`.

In: the secret that the trunk and its platform share. Out: headers for what is sent; NotSigned for a webhook request
that is not proved to be of that platform, or is not recent. The clock is not read: the library's own `verify` would.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pendulum import DateTime
from standardwebhooks import Webhook

from dialer.errors import NotSigned, Unavailable
from dialer.providers.base import WebhookRequest

TOLERANCE_SECONDS = 5 * 60
PREFIX = "whsec_"
# The specification asks for 192 bits at least.
LEAST_BYTES, MOST_BYTES = 24, 512
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)


class Signer:
    """Signs and proves with one secret."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(_key(secret))

    def headers(self, message_id: str, now: DateTime, body: bytes) -> dict[str, str]:
        """Sign one message. `message_id` must not hold a full stop, which divides what is signed."""
        sent = int(now.timestamp())
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(sent),
            "webhook-signature": self._sign(message_id, sent, body.decode()),
        }

    def prove(self, request: WebhookRequest) -> None:
        """Raise NotSigned unless one of the signatures is right and at most five minutes old or ahead."""
        message_id, timestamp, signatures = _signed_parts(request.headers)
        age = request.now.timestamp() - timestamp
        if abs(age) > TOLERANCE_SECONDS:
            kind = "older" if age > 0 else "newer"
            raise NotSigned(
                f"The signature is {kind} than {TOLERANCE_SECONDS // 60} minutes: is the sender's clock right?"
            )
        try:
            right = self._sign(message_id, timestamp, request.body.decode()).encode()
        except UnicodeError:
            raise NotSigned("The body is not UTF-8, so its signature cannot be checked") from None
        # There may be several: while its secret is rotated, a sender signs with the old one and the new one.
        if not any(hmac.compare_digest(right, given.encode()) for given in signatures.split(" ")):
            raise NotSigned("The signature is wrong: is the secret of the trunk that of the sender?")

    def _sign(self, message_id: str, timestamp: int, body: str) -> str:
        # The library reads the time as UTC, whatever its time zone.
        return self._webhook.sign(message_id, datetime.fromtimestamp(timestamp, UTC), body)


def _signed_parts(headers: Mapping[str, str]) -> tuple[str, int, str]:
    parts = [headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
    if not all(parts):
        raise NotSigned("The headers webhook-id, webhook-timestamp and webhook-signature are needed")
    message_id, timestamp, signatures = parts
    if not _TIMESTAMP.fullmatch(timestamp):
        raise NotSigned("The header webhook-timestamp must be a whole number of seconds since 1970")
    return message_id, int(timestamp), signatures


def _key(secret: str) -> bytes:
    """Read the secret; whatever is wrong with it, it is not repeated."""
    try:
        text = secret.removeprefix(PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise Unavailable(f"The trunk's secret must be {PREFIX} and, in base64, {LEAST_BYTES} to {MOST_BYTES} bytes")
    return key
