"""Clients of Redis, with timeouts, for the leases and the metrics."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class _LeavesReplicas:
    """A connection that is made anew after its server has refused to write, as a replica: the one that was the primary
    keeps its connections after a failover, and its name leads to another server then.
    """

    def read_response(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return super().read_response(*arguments, **named)  # type: ignore[misc]
        except redis.ReadOnlyError:
            self.mark_for_reconnect()
            raise


def connect(url: str, timeout_seconds: float) -> redis.Redis:
    """Make a client; nothing is connected yet. `rediss://`: it verifies the server's certificate, if the URL does not
    say otherwise. Raises ValueError if this is no URL of Redis.
    """
    client = redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=30,
        # One retry, for a connection that was closed while idle; more retries could block a step for a minute.
        retry=Retry(NoBackoff(), 1),
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_LeavesReplicas, pool.connection_class), {})
    return client
