"""`dialer quarantine`: list and retry what fails because of its own data. Uses the database directly."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dialer.cli.options import AsJson, DataDir, Limit

group = typer.Typer(no_args_is_help=True)


@group.command("list")
def list_(limit: Limit = 50, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List what is in quarantine, with the error and since when.

    Call events stay until they are retried with `retry`; batches and attempts are retried automatically.
    """
    from dialer.cli.diagnostics import open_database
    from dialer.cli.tables import say_more, show_table
    from dialer.service import quarantine
    from dialer.store import server_checks

    with open_database(data_dir) as database:
        server_checks.check_database(database)
        entries = quarantine.list_entries(database, limit + 1)
    columns = ("id", "kind", "subject", "attempt_id=call", "tries", "since", "error_kind=type", "error")
    show_table(entries[:limit], columns, as_json=as_json)
    if len(entries) > limit:
        say_more(limit)


@group.command()
def retry(
    entry_ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids, as `list` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Retry all entries.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Retry entries once the cause is fixed: call events return to the inbox, the rest becomes due now.

    Exit 1 if some entries stay.
    """
    from dialer import wiring
    from dialer.cli.diagnostics import open_database
    from dialer.service import quarantine_retry
    from dialer.store import server_checks

    if bool(entry_ids) == everything:
        raise typer.BadParameter("give the ids, or --all")
    with open_database(data_dir) as database:
        server_checks.check_database(database)
        retried = quarantine_retry.retry(database, wiring.clock(), None if everything else entry_ids)
    summary = f"{len(retried.tried):,} of {len(retried.tried) + len(retried.failed):,} are retried."
    typer.echo(json.dumps(asdict(retried)) if as_json else summary)
    for entry_id, reason in retried.failed.items():
        typer.echo(f"{entry_id} stays: {reason}", err=True)
    if retried.failed:
        raise typer.Exit(1)
