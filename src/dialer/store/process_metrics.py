"""What processes measure: kept in memory, added up in Redis about once a second, read by whoever is asked.

One hash, `{dialer}:measures`: field -> number. A field is a JSON list: name, labels, and for durations the bucket.
Losing them loses no call: where Redis is away, what was measured is kept for the next time, up to a limit.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import redis

KEY = "{dialer}:measures"
# Upper bounds in seconds, from a fast query to a slow provider.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FLUSH_SECONDS = 1.0
MAX_FIELDS = 10_000

Labels = Mapping[str, str]
Found = dict[tuple[str, tuple[tuple[str, str], ...], str], float]


class Measures:
    """The counts and durations of one process. Every method may be called by any thread, and none raises.

    `seconds`: a clock that never goes back.
    """

    def __init__(self, url: str, seconds: Callable[[], float]) -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=1, socket_connect_timeout=1)
        self._seconds = seconds
        self._lock = Lock()
        self._added: dict[str, float] = defaultdict(float)
        self._flushed_at = seconds()

    def count(self, name: str, labels: Labels, by: int = 1) -> None:
        """Add to a count."""
        if by:
            self._add({_field(name, labels): by})

    def duration(self, name: str, labels: Labels, seconds: float) -> None:
        """Add a duration to its bucket."""
        bucket = bisect_left(BUCKETS, seconds)
        self._add({_field(name, labels, str(bucket)): 1, _field(name, labels, "sum"): seconds})

    @contextmanager
    def timed(self, name: str, labels: Labels) -> Iterator[None]:
        """Measure how long something takes, also when it fails."""
        began = self._seconds()
        try:
            yield
        finally:
            self.duration(name, labels, self._seconds() - began)

    def flush(self) -> None:
        """Add what was measured to what is in Redis."""
        with self._lock:
            added, self._added, self._flushed_at = self._added, defaultdict(float), self._seconds()
        if not added:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for field, by in added.items():
                    pipe.hincrbyfloat(KEY, field, by)
                pipe.execute()
        except redis.RedisError:
            self._keep(added)

    def read(self) -> Found:
        """Return what all processes have measured: (name, labels, bucket or "") -> number; nothing if Redis is away."""
        self.flush()
        try:
            kept = self._redis.hgetall(KEY)
        except redis.RedisError:
            return {}
        found: Found = {}
        for field, value in kept.items():
            name, labels, bucket = json.loads(field)
            found[name, tuple((key, of) for key, of in labels), bucket] = float(value)
        return found

    def close(self) -> None:
        """Add what is left, and let go of the connection."""
        self.flush()
        self._redis.close()

    def _add(self, fields: Mapping[str, float]) -> None:
        self._keep(fields)
        if self._seconds() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def _keep(self, fields: Mapping[str, float]) -> None:
        with self._lock:
            if len(self._added) < MAX_FIELDS:
                for field, by in fields.items():
                    self._added[field] += by


def _field(name: str, labels: Labels, bucket: str = "") -> str:
    return json.dumps([name, sorted(labels.items()), bucket])
