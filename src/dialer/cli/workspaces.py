"""`dialer workspaces`: what each workspace may call, and how long it keeps batches. Uses the database directly, since
only the installation's owner may.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from dialer.cli.options import AsJson, DataDir, Limit

if TYPE_CHECKING:
    from dialer.store.database import Database

group = typer.Typer(no_args_is_help=True)


@group.command("list")
def list_(limit: Limit = 50, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the workspaces by name, with the countries and the types of numbers that they may call."""
    from dialer.cli.diagnostics import open_database
    from dialer.cli.tables import say_more, show_table
    from dialer.service import workspaces

    with open_database(data_dir) as database:
        rows = workspaces.list_all(database)
    show_table(
        rows[:limit],
        (
            "name",
            "countries",
            "premium_rate=premium",
            "person_limits",
            "keep_batches_days=keep_days",
            "created_at=created",
        ),
        as_json=as_json,
    )
    if len(rows) > limit:
        say_more(limit, len(rows))


@group.command()
def limit(
    name: Annotated[str, typer.Argument(help="The name of the workspace.")],
    countries: Annotated[
        str | None, typer.Option(help="The countries that it may call, as in DE,AT,CH; all: every country.")
    ] = None,
    premium_rate: Annotated[
        bool | None, typer.Option(help="Whether it may call premium-rate and shared-cost numbers.")
    ] = None,
    person_limits: Annotated[
        str | None,
        typer.Option(help="Attempts to one person per hours, over all batches, as in 3/24,7/168; none: no limit."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change what a workspace may call. Applies from the next call on, also to contacts that were imported before."""
    from dialer.cli.diagnostics import open_database
    from dialer.service import workspaces

    with open_database(data_dir) as database:
        workspaces.limit(database, name, _listed(countries), premium_rate, _listed(person_limits))
        _say_changed(database, name, as_json=as_json)


@group.command()
def keep(
    name: Annotated[str, typer.Argument(help="The name of the workspace.")],
    days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Days after its end for which a batch is kept; without: as installed."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change how long a workspace keeps batches that are over. Retention then deletes them with contacts and calls."""
    from dialer.cli.diagnostics import open_database
    from dialer.service import workspaces

    with open_database(data_dir) as database:
        workspaces.keep_batches(database, name, days)
        _say_changed(database, name, as_json=as_json)


def _say_changed(database: "Database", name: str, *, as_json: bool) -> None:
    from dialer.cli.tables import done
    from dialer.service import workspaces

    (changed,) = [workspace for workspace in workspaces.list_all(database) if workspace["name"] == name]
    done(changed, f"Workspace {name} is changed.", as_json=as_json)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")
