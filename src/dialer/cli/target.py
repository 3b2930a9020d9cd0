"""Where the engine is that a command talks to: a cluster, the `dialer up` of a data folder, or one of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dialer import embedded, log
from dialer.embedded import Servers
from dialer.errors import Unavailable
from dialer.settings import Settings


@dataclass(frozen=True, slots=True)
class Installation:
    """An engine at work. `tend`: to be called a few times a second; Unavailable when the engine is gone for good.

    `afterwards` says what becomes of a batch when the command that watches it is interrupted.
    """

    settings: Settings
    tend: Callable[[], None]
    afterwards: str


def configured(data_dir: Path | None = None) -> Settings:
    """Read the settings, with the data folder of the command line if one is given, and log as they say."""
    settings = Settings.load().at(data_dir)
    log.configure(settings.log_format, settings.log_level)
    return settings


def located(settings: Settings) -> Settings:
    """The settings, with the servers of a `dialer up` on the data folder where no URLs are set."""
    servers = None if settings.has_servers else embedded.running_at(settings.data_dir)
    return settings.with_servers(servers.database_url, servers.redis_url) if servers else settings


@contextmanager
def installation(settings: Settings, tell: Callable[[str], None]) -> Iterator[Installation]:
    """Join the engine that runs; where none does, run one for as long as the context lasts."""
    data_dir = settings.data_dir
    servers = None if settings.has_servers else embedded.running_at(data_dir)
    if settings.has_servers:
        yield Installation(settings, lambda: None, "The batch goes on where its workers run.")
    elif servers is not None:
        there = settings.with_servers(servers.database_url, servers.redis_url)
        afterwards = f"The batch goes on in the `dialer up` on {data_dir}."
        yield Installation(there, lambda: _check_still_up(data_dir, servers), afterwards)
    else:
        from dialer.cli.supervisor import machine  # with all that runs an engine, which others that look here need not

        with machine(settings, workers=1, network={}, tell=tell) as running:
            tell(f"No engine runs on {data_dir}; one was started for this run.")
            afterwards = f"Its engine stops too; it goes on at the next `dialer up` or `dialer run` on {data_dir}."
            yield Installation(running.settings, running.tend, afterwards)


def _check_still_up(data_dir: Path, servers: Servers) -> None:
    if embedded.running_at(data_dir) != servers:
        raise Unavailable(f"The `dialer up` on {data_dir} has ended; the batch goes on when it is started again")
