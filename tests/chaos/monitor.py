"""Observes and controls the servers from outside of the processes: lock holders, sessions, the position of the WAL."""

from collections.abc import Sequence
from threading import Event

import psycopg
import redis
from sqlalchemy.engine import make_url

NEVER_SET = Event()


class Monitor:
    """Own connections to Postgres and Redis."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        url = make_url(database_url).set(drivername="postgresql")
        self.postgres = psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.raw_redis = redis.Redis.from_url(redis_url)

    def blockers(self, backends: Sequence[int | None]) -> list[tuple[int, ...]]:
        """Return for each backend the backends that block it; empty: it does not wait for a lock."""
        blockers = self.postgres.execute(
            "SELECT pg_blocking_pids(pid) FROM unnest(%s::int[]) WITH ORDINALITY AS asked (pid, nth) ORDER BY nth",
            [[backend or 0 for backend in backends]],
        )
        return [tuple(sorted(holders)) for (holders,) in blockers]

    def wal_position(self) -> object:
        """Return the write position of the WAL, which changes with every write."""
        return self._one("SELECT pg_current_wal_insert_lsn()")

    def cancel(self, backend: int | None) -> None:
        """Cancel the statement of this backend."""
        self._one("SELECT pg_cancel_backend(%s)", backend or 0)

    def terminate(self, backend: int) -> None:
        """Terminate this backend, and return when it is gone."""
        self._one("SELECT pg_terminate_backend(%s)", backend)
        # pg_terminate_backend with a timeout polls only every 100 ms.
        while self.postgres.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone():
            NEVER_SET.wait(0.001)

    def close(self) -> None:
        self.postgres.close()
        self.redis.close()
        self.raw_redis.close()

    def _one(self, sql: str, *values: object) -> tuple[object, ...]:
        row = self.postgres.execute(sql.encode(), values).fetchone()
        assert row is not None
        return row
