"""The engine that a command uses: a cluster, the running `dialer up` of a data folder, or an engine of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dialer.cli.data_folder import local_api_url
from dialer.errors import Unavailable
from dialer.settings import Settings, unknown_variables

if TYPE_CHECKING:
    from dialer.embedded import Servers


@dataclass(frozen=True, slots=True)
class Target:
    """A running engine."""

    settings: Settings  #: With the URLs of its servers.
    tend: Callable[[], None]  #: Call this a few times a second; raises Unavailable when the engine is gone for good.
    after_interrupt: str  #: For the user: what happens to the batch when the command is interrupted.


def load_settings(data_dir: Path | None = None) -> Settings:
    """Read the settings, with the data folder of the command line if one is given. Warns of unknown variables."""
    settings = Settings.load().at(data_dir)
    for warning in unknown_variables(environ):
        typer.echo(f"Warning: {warning}", err=True)
    return settings


def load_settings_and_log(data_dir: Path | None = None, *, for_process: bool = False) -> Settings:
    """Read the settings and configure logging, for commands that run steps or speak to networks.

    `for_process`: the command runs for long, and its log is its output. The others log only warnings and errors.
    """
    from dialer import log

    settings = load_settings(data_dir)
    is_chatty = not for_process and settings.log_level in ("debug", "info")
    log.configure(settings.log_format, "warning" if is_chatty else settings.log_level)
    return settings


def with_local_servers(settings: Settings) -> Settings:
    """Return the settings, with the servers of a `dialer up` on the data folder where no URLs are set."""
    servers = None if settings.has_servers else _running_at(settings.data_dir)
    return _at(settings, servers) if servers else settings


def _running_at(data_dir: Path) -> "Servers | None":
    from dialer.embedded import running_at

    return running_at(data_dir)


def _at(settings: Settings, servers: "Servers") -> Settings:
    """Return the settings with these servers and, like the processes of `dialer up`, with the URL of its API."""
    public_url = settings.public_url or local_api_url(settings.data_dir)
    with_urls = settings.with_servers(servers.database_url, servers.redis_url)
    return with_urls.model_copy(update={"public_url": public_url})


@contextmanager
def running_engine(settings: Settings, echo: Callable[[str], None]) -> Iterator[Target]:
    """Yield the engine that runs; where none runs, start one for the duration of the context."""
    data_dir = settings.data_dir
    servers = None if settings.has_servers else _running_at(data_dir)
    if settings.has_servers:
        yield Target(settings, lambda: None, "The batch continues on its workers.")
    elif servers is not None:
        after_interrupt = f"The batch continues in the `dialer up` on {data_dir}."
        yield Target(_at(settings, servers), lambda: _check_still_up(data_dir, servers), after_interrupt)
    else:
        # Imported here: it loads everything that runs an engine, which most commands do not need.
        from dialer.cli.supervisor import supervised_engine

        with supervised_engine(settings, workers=1, network={}, echo=echo) as supervisor:
            echo(f"No engine runs on {data_dir}; one was started for this run.")
            after_interrupt = (
                f"Its engine stops too; it continues at the next `dialer up` or `dialer run` on {data_dir}."
            )
            yield Target(supervisor.settings, supervisor.tend, after_interrupt)


def _check_still_up(data_dir: Path, servers: "Servers") -> None:
    if _running_at(data_dir) != servers:
        raise Unavailable(f"The `dialer up` on {data_dir} has ended; the batch continues when it is started again")
