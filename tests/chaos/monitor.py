"""The one who sees everything and belongs to no process: asks Postgres who waits for whom, and cuts its connections."""

from collections.abc import Sequence
from threading import Event

import psycopg
import redis
from sqlalchemy.engine import make_url

POLL = Event()


class Monitor:
    """Connections of its own to both servers."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        url = make_url(database_url).set(drivername="postgresql")
        self.postgres = psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.raw_redis = redis.Redis.from_url(redis_url)

    def waiting(self, backends: Sequence[int | None]) -> list[tuple[int, ...]]:
        """Say of each backend who holds the locks it waits for: nobody, where it does not wait."""
        found = self.postgres.execute(
            "SELECT pg_blocking_pids(pid) FROM unnest(%s::int[]) WITH ORDINALITY AS asked (pid, nth) ORDER BY nth",
            [[backend or 0 for backend in backends]],
        )
        return [tuple(sorted(holders)) for (holders,) in found]

    def written_to(self) -> object:
        """Say how far Postgres has written."""
        return self._one("SELECT pg_current_wal_insert_lsn()")

    def cancel(self, backend: int | None) -> None:
        """Break off the statement of this backend."""
        self._one("SELECT pg_cancel_backend(%s)", backend or 0)

    def cut(self, backend: int) -> None:
        """End this backend's session, and return when it is gone."""
        self._one("SELECT pg_terminate_backend(%s)", backend)
        # To let Postgres wait for it takes a tenth of a second.
        while self.postgres.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone():
            POLL.wait(0.001)

    def close(self) -> None:
        self.postgres.close()
        self.redis.close()
        self.raw_redis.close()

    def _one(self, sql: str, *values: object) -> tuple[object, ...]:
        row = self.postgres.execute(sql.encode(), values).fetchone()
        assert row is not None
        return row
