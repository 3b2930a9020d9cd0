"""Postgres and a Redis-protocol server on this machine, for `dialer up`, the demo and the tests.

In: a folder, in which everything is kept. Out: the URLs of two real servers on 127.0.0.1, for as long as the context
lasts. They are never reachable from other machines or without the password, and never outlive this process: on Linux
the kernel sees to that even after `kill -9`; elsewhere the next start stops what was left over.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dialer.embedded import postgres, valkey
from dialer.embedded.data_dir import announced, claimed, password_of
from dialer.embedded.processes import child, stop

__all__ = ["Servers", "child", "running", "running_at", "stop"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are, passwords included; "" for one that was not asked for."""

    database_url: str
    redis_url: str


@contextmanager
def running(
    data_dir: Path, *, durable: bool = True, need_postgres: bool = True, need_redis: bool = True
) -> Iterator[Servers]:
    """Run the servers on `data_dir`, created if need be, until the context ends.

    Enter it from a thread that lives as long as the servers shall (see `child`). Without `durable` a power cut may
    destroy the data: for tests. Raises `Unavailable`: no programs found, the folder is in use, a server does not start.
    """
    data_dir = data_dir.resolve()
    with ExitStack() as stack:
        claim = stack.enter_context(claimed(data_dir))
        password = password_of(data_dir)
        database_url = redis_url = ""
        if need_postgres:
            database_url = stack.enter_context(postgres.serving(data_dir, password, durable=durable))
        if need_redis:
            redis_url = stack.enter_context(valkey.serving(data_dir, password, durable=durable))
        claim.announce(database_url, redis_url)
        yield Servers(database_url, redis_url)


def running_at(data_dir: Path) -> Servers | None:
    """Return the servers that a live process runs on `data_dir`, or None; also None while they are starting."""
    urls = announced(data_dir)
    return Servers(*urls) if urls else None
