"""`dialer up`: the whole engine on this machine, until Ctrl-C or TERM."""

import time
from pathlib import Path
from typing import Annotated

import typer

from dialer.cli.options import Speed


def up(
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.  [default: .dialer]")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=64)] = 1,
    speed: Speed = 20,
) -> None:
    """Run everything on this machine: Postgres, Redis, worker, beat, listener and a simulated network.

    The servers are embedded unless DIALER_DATABASE_URL and DIALER_REDIS_URL are set. A process that dies is started
    again; one that keeps dying ends the whole with exit 1. Ctrl-C or TERM stops all of it and loses nothing: what is
    not finished goes on at the next start.
    """
    from dialer.cli.installation import configured
    from dialer.cli.machine import POLL_SECONDS, machine
    from dialer.cli.signals import stop_signals

    settings = configured(data_dir)
    stopped = stop_signals()
    with machine(settings, workers=workers, network={"speed": speed}, tell=typer.echo) as running:
        typer.echo(f"Dialer is up. Data: {settings.data_dir}; logs: {running.log_dir}. Call a list:")
        typer.echo(f"  dialer run FILE.csv --agent demo --data-dir {settings.data_dir}")
        while not stopped.is_set():
            running.tend()
            time.sleep(POLL_SECONDS)
        typer.echo("Stopping …")
    typer.echo("Stopped; nothing is lost.")
