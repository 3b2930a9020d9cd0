"""Postgres and Valkey (or Redis) on this machine, for `dialer up`, the demo and the tests.

In: a data folder. Out: the URLs of two real servers on 127.0.0.1, for as long as the context lasts. They are never
reachable from other machines or without the password, and never outlive this process: on Linux the kernel kills them
even after a `kill -9` of this process; elsewhere the next start stops them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dialer.embedded import postgres, valkey
from dialer.embedded.data_dir import password_of, published_urls, use_exclusively
from dialer.embedded.processes import child, stop
from dialer.embedded.server import RunningServer

__all__ = ["Servers", "child", "running", "running_at", "stop"]


@dataclass(frozen=True, slots=True)
class Servers:
    """The URLs of the servers, with passwords; "" for one that was not requested.

    `tend` restarts servers that have died, on the same ports, and returns messages about them. Call it a few times a
    second; it raises Unavailable if one of them keeps dying.
    """

    database_url: str
    redis_url: str
    tend: Callable[[], Sequence[str]] = field(default=tuple, compare=False)


@contextmanager
def running(
    data_dir: Path, *, durable: bool = True, need_postgres: bool = True, need_redis: bool = True
) -> Iterator[Servers]:
    """Run the servers until the context ends.

    Enter it from a thread that lives as long as the servers should (see `child`).

    Args:
        data_dir: the data folder; created if necessary.
        durable: False: a power cut may destroy the data. For tests.
        need_postgres: whether to run Postgres.
        need_redis: whether to run Valkey.

    Raises:
        Unavailable: the programs are not found, the folder is in use, or a server does not start.
    """
    data_dir = data_dir.resolve()
    with ExitStack() as stack:
        lock = stack.enter_context(use_exclusively(data_dir))
        password = password_of(data_dir)
        database_url = redis_url = ""
        servers: list[RunningServer] = []
        if need_postgres:
            servers.append(stack.enter_context(postgres.serving(data_dir, password, durable=durable)))
            database_url = servers[-1].url
        if need_redis:
            servers.append(stack.enter_context(valkey.serving(data_dir, password, durable=durable)))
            redis_url = servers[-1].url
        lock.publish(database_url, redis_url)
        yield Servers(database_url, redis_url, lambda: [message for server in servers if (message := server.tend())])


def running_at(data_dir: Path) -> Servers | None:
    """Return the servers that a live process runs on `data_dir`; None: there are none, or they are still starting."""
    urls = published_urls(data_dir)
    return Servers(*urls) if urls else None
