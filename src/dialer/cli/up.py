"""`dialer up`: the whole engine on this machine, until Ctrl-C or TERM."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dialer.cli.options import Speed

if TYPE_CHECKING:
    from dialer.cli.supervisor import Supervisor


def up(
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all data and logs.  [default: .dialer]")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=64)] = 1,
    listeners: Annotated[
        int, typer.Option(help="Listener processes: while one restarts, the other receives.", min=1, max=8)
    ] = 2,
    port: Annotated[int, typer.Option(help="Port of the HTTP API; 0: any free port.", min=0, max=65535)] = 8000,
    speed: Speed = 20,
) -> None:
    """Run everything on this machine: Postgres, Redis, API, worker, beat, listener and a simulated network.

    The servers are embedded unless DIALER_DATABASE_URL and DIALER_REDIS_URL are set. A process that dies is restarted;
    if one keeps dying, everything stops with exit 1. Ctrl-C or TERM stops everything and loses nothing: unfinished
    batches continue at the next start.
    """
    from dialer.cli.signals import stop_signals
    from dialer.cli.supervisor import POLL_SECONDS, supervised_engine, wait_for_api
    from dialer.cli.target import load_settings_and_log

    settings = load_settings_and_log(data_dir, for_process=True)
    stopped = stop_signals()
    typer.echo(f"Starting Dialer on {settings.data_dir} …", err=True)
    with supervised_engine(
        settings, workers=workers, listeners=listeners, network={"speed": speed}, echo=typer.echo, api_port=port
    ) as supervisor:
        if wait_for_api(supervisor, stopped):
            _say_where(supervisor)
        while not stopped.is_set():
            supervisor.tend()
            time.sleep(POLL_SECONDS)
        typer.echo("Stopping …")
    typer.echo("Stopped; nothing is lost.")


def _say_where(supervisor: "Supervisor") -> None:
    from dialer.cli.data_folder import KEY_FILE

    data_dir = supervisor.settings.data_dir
    typer.echo(f"Dialer is up at {supervisor.url} (documentation: {supervisor.url}/docs).")
    typer.echo(f"Console: {supervisor.url}/console (sign in with the admin key)")
    typer.echo(f"Data: {data_dir}; logs: {supervisor.log_dir}; admin key: {data_dir / KEY_FILE}")
    # What is no terminal may be a journal, which others can read.
    if supervisor.new_key and sys.stdout.isatty():
        typer.echo(f"The admin key, shown this once: {supervisor.new_key}")
    typer.echo(f"Call a list: dialer run FILE.csv --agent demo --data-dir {data_dir}")
