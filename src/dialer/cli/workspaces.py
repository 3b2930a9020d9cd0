"""`dialer workspaces`: what each workspace may call. Straight on the database: it is for the machine's owner alone."""

from typing import Annotated

import typer

from dialer.cli.options import AsJson, DataDir

workspaces = typer.Typer(help="What each workspace may call: list, limit.", no_args_is_help=True)


@workspaces.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the workspaces, with the countries and the kinds of numbers that they may call."""
    from dialer.cli.diagnostics import opened
    from dialer.cli.tables import show_table
    from dialer.service import workspaces as service

    with opened(data_dir) as database:
        found = service.listed(database)
    show_table(found, ("name", "countries", "premium_rate", "created_at"), as_json=as_json)


@workspaces.command()
def limit(
    name: Annotated[str, typer.Argument(help="The name of the workspace.")],
    countries: Annotated[
        str | None, typer.Option(help="The countries that it may call, as in DE,AT,CH; all: every country.")
    ] = None,
    premium_rate: Annotated[
        bool | None, typer.Option(help="Whether it may call premium-rate and shared-cost numbers.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Change what a workspace may call. It counts from the next call on, also for contacts that were loaded before."""
    from dialer.cli.diagnostics import opened
    from dialer.service import workspaces as service

    with opened(data_dir) as database:
        service.limit(database, name, None if countries is None else countries.split(","), premium_rate)
    typer.echo(f"Workspace {name} is changed.", err=True)
