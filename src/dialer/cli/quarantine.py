"""`dialer quarantine`: what fails by its own data, and trying it again. Straight on the database."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dialer.cli.options import AsJson, DataDir

quarantine = typer.Typer(
    help="What fails by its own data and is kept apart: list it, try it again.", no_args_is_help=True
)


@quarantine.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List what is in quarantine, with the error and since when.

    Reports wait here until they are tried again; batches and attempts are tried again by themselves.
    """
    from dialer.cli.diagnostics import opened
    from dialer.cli.tables import show_table
    from dialer.service import quarantine as service
    from dialer.store import health

    with opened(data_dir) as database:
        health.check_database(database)
        found = service.listed(database)
    columns = ("id", "kind", "subject", "attempt_id", "tries", "since", "error_kind", "error")
    show_table(found, columns, as_json=as_json)


@quarantine.command()
def retry(
    entry_ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids, as `list` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Try all of it again.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Try it again, once the cause is mended: reports go back into the inbox, the rest is due now.

    Exit 1 if some of it stays.
    """
    from dialer import wiring
    from dialer.cli.diagnostics import opened
    from dialer.service import quarantine as service
    from dialer.store import health

    if bool(entry_ids) == everything:
        raise typer.BadParameter("give the ids, or --all")
    with opened(data_dir) as database:
        health.check_database(database)
        done = service.retry(database, wiring.clock(), None if everything else entry_ids)
    tried = f"{len(done.tried):,} of {len(done.tried) + len(done.failed):,} are tried again."
    typer.echo(json.dumps(asdict(done)) if as_json else tried)
    for entry_id, reason in done.failed.items():
        typer.echo(f"{entry_id} stays: {reason}", err=True)
    if done.failed:
        raise typer.Exit(1)
