"""Counters and durations of all processes: buffered in memory, added up in Redis about once a second.

One hash, `{dialer}:measures`: field -> number. A field is a JSON list: name, labels, and for durations the bucket.
Another one, `{dialer}:processes`: the name of a process -> when it last added something, by the clock of Redis.
No call depends on them: while Redis is away a process buffers its samples, up to a limit.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import redis

from dialer.store import redis_client

KEY = "{dialer}:measures"
PROCESSES = "{dialer}:processes"
# The clock of Redis, because those of the processes may differ.
_SEEN = "return redis.call('HSET', KEYS[1], ARGV[1], redis.call('TIME')[1])"
# A process that was not seen for an hour has ended.
FORGOTTEN_SECONDS = 3_600
# Upper bounds in seconds, from a fast query to a slow provider.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Of a metric with other durations: of conversations.
_OTHER_BUCKETS = {"dialer_talk_seconds": (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)}
FLUSH_SECONDS = 1.0
MAX_FIELDS = 10_000

Labels = Mapping[str, str]
Samples = dict[tuple[str, tuple[tuple[str, str], ...], str], float]


def buckets_of(name: str) -> tuple[float, ...]:
    """Return the upper bounds of a histogram's buckets, in seconds; the last bucket has none."""
    return _OTHER_BUCKETS.get(name, BUCKETS)


class ProcessMetrics:
    """The counters and durations of one process. Every method is thread-safe, and none raises.

    Args:
        url: where Redis is.
        seconds: a monotonic clock.
        process: the name by which operators know this process; empty: it is not listed.
    """

    def __init__(self, url: str, seconds: Callable[[], float], process: str = "") -> None:
        self._redis = redis_client.connect(url, timeout_seconds=1)
        self._seconds = seconds
        self._lock = Lock()
        self._process, self._others_seen = process, set[str]()
        self._added: dict[str, float] = defaultdict(float)
        self._flushed_at = seconds()

    def count(self, name: str, labels: Labels, by: int = 1) -> None:
        """Add to a counter."""
        if by:
            self._add({_field(name, labels): by})

    def duration(self, name: str, labels: Labels, seconds: float) -> None:
        """Add a duration to its bucket."""
        bucket = bisect_left(buckets_of(name), seconds)
        self._add({_field(name, labels, str(bucket)): 1, _field(name, labels, "sum"): seconds})

    @contextmanager
    def timed(self, name: str, labels: Labels) -> Iterator[None]:
        """Measure how long the body of a `with` takes, also when it raises."""
        started_at = self._seconds()
        try:
            yield
        finally:
            self.duration(name, labels, self._seconds() - started_at)

    def note_process(self, name: str) -> None:
        """Record that another process, which has no metrics of its own, was at work just now."""
        with self._lock:
            self._others_seen.add(name)
        self._add({})

    def flush(self) -> None:
        """Add the buffered samples to those in Redis."""
        with self._lock:
            added, self._added, self._flushed_at = self._added, defaultdict(float), self._seconds()
            seen, self._others_seen = self._others_seen, set()
        if not added and not seen:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for field, by in added.items():
                    pipe.hincrbyfloat(KEY, field, by)
                for process in {self._process, *seen} - {""}:
                    pipe.eval(_SEEN, 1, PROCESSES, process)
                pipe.execute()
        except redis.RedisError:
            self._buffer(added)

    def read(self) -> Samples:
        """Return the samples of all processes: (name, labels, bucket or "") -> number; empty if Redis is away."""
        self.flush()
        try:
            fields = self._redis.hgetall(KEY)
        except redis.RedisError:
            return {}
        samples: Samples = {}
        for field, total in fields.items():
            name, labels, bucket = json.loads(field)
            samples[name, tuple((key, value) for key, value in labels), bucket] = float(total)
        return samples

    def processes(self) -> dict[str, float]:
        """Return how many seconds ago each process was last seen; empty if Redis is away."""
        try:
            now, _ = self._redis.time()
            ages = {str(process): now - float(at) for process, at in self._redis.hgetall(PROCESSES).items()}
            if ended := [process for process, age in ages.items() if age > FORGOTTEN_SECONDS]:
                self._redis.hdel(PROCESSES, *ended)
        except redis.RedisError:
            return {}
        return {process: max(0.0, age) for process, age in ages.items() if age <= FORGOTTEN_SECONDS}

    def close(self) -> None:
        """Write the buffered samples and close the connection."""
        self.flush()
        self._redis.close()

    def _add(self, fields: Mapping[str, float]) -> None:
        self._buffer(fields)
        if self._seconds() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def _buffer(self, fields: Mapping[str, float]) -> None:
        with self._lock:
            if len(self._added) < MAX_FIELDS:
                for field, by in fields.items():
                    self._added[field] += by


def _field(name: str, labels: Labels, bucket: str = "") -> str:
    return json.dumps([name, sorted(labels.items()), bucket])
