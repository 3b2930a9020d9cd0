"""Counts the failures of each client per minute, and refuses those that had too many.

In memory, because requests without a key must not be able to fill Redis.
"""

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from dialer.errors import TooManyRequests


class FailureLimit:
    """The failures of one kind in this process; `message` is the refusal."""

    def __init__(self, message: str, per_minute: int = 60) -> None:
        self._message = message
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def check(self, *client: str) -> None:
        """Raise TooManyRequests if this client has failed too often."""
        if not self._limiter.test(self._limit, *client):
            raise TooManyRequests(self._message, retry_after_seconds=self._limit.get_expiry())

    def add(self, *client: str) -> None:
        self._limiter.hit(self._limit, *client)
