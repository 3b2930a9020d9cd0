"""The rate limit of API keys: counted in Redis, so that all API processes share the limit."""

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import RedisError

log = structlog.get_logger()


class RateLimits:
    """A sliding window of one minute per key. While Redis is away all requests pass: better than refusing them."""

    def __init__(self, redis_url: str, per_minute: int) -> None:
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(
            RedisStorage(redis_url, key_prefix="{dialer}:requests", socket_timeout=1, socket_connect_timeout=1)
        )
        self._is_away = False

    def hit(self, name: str) -> bool:
        """Count one request of this key; False: it is over the limit."""
        try:
            is_allowed = self._limiter.hit(self._item, name)
        except RedisError as error:
            if not self._is_away:
                log.warning("requests are not counted", reason=str(error))
            self._is_away = True
            return True
        self._is_away = False
        return is_allowed

    def free_at(self, name: str) -> float:
        """Return when the next request is allowed, in seconds since the epoch."""
        return self._limiter.get_window_stats(self._item, name).reset_time
